"""Every path below a root, and nothing else. Keys are relative, with forward slashes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from schemas.ids import shard_name

NORMALIZED = "normalized"
FEATURES = "features"
RUNS = "runs"
LEASES = "leases"
MANIFESTS = "manifests"


def split_folder(dataset: str, split: str) -> str:
    """Folder of a normalized split."""
    return f"{NORMALIZED}/{dataset}/{split}"


def split_key(dataset: str, split: str) -> str:
    """The split's record, written after all its shards."""
    return f"{split_folder(dataset, split)}/split.json"


def media_key(dataset: str, split: str, shard: int) -> str:
    """WebDataset tar of the encoded images of a shard."""
    return f"{split_folder(dataset, split)}/media-{shard_name(shard)}.tar"


def samples_key(dataset: str, split: str, shard: int) -> str:
    """Parquet table of a shard's samples, one row per stored image."""
    return f"{split_folder(dataset, split)}/samples-{shard_name(shard)}.parquet"


def annotations_key(dataset: str, split: str, shard: int) -> str:
    """Parquet table of a shard's objects, one row per object and image."""
    return f"{split_folder(dataset, split)}/annotations-{shard_name(shard)}.parquet"


def phrases_key(dataset: str, split: str) -> str:
    """Parquet table of the unique phrases of a split."""
    return f"{split_folder(dataset, split)}/phrases.parquet"


def categories_key(dataset: str, split: str) -> str:
    """Parquet table of the categories of a split; absent when its objects have none."""
    return f"{split_folder(dataset, split)}/categories.parquet"


def ids_key(dataset: str, split: str) -> str:
    """Keys of the samples or clips of a part of a split, one per line; absent for a whole one."""
    return f"{split_folder(dataset, split)}/ids.txt"


def report_key(dataset: str, split: str) -> str:
    """What a split holds, in numbers; a split of phrases only has none."""
    return f"{split_folder(dataset, split)}/report.json"


def features_folder(dataset: str, split: str) -> str:
    """Folder of all feature arrays of a split, by teacher."""
    return f"{FEATURES}/{dataset}/{split}"


def array_folder(dataset: str, split: str, teacher: str, array: str) -> str:
    """Folder of a feature array, which is a zarr v3 array."""
    return f"{features_folder(dataset, split)}/{teacher}/{array}"


def array_metadata_key(folder: str) -> str:
    """The array's zarr.json."""
    return f"{folder}/zarr.json"


def array_shard_key(folder: str, shard: int, dimensions: int) -> str:
    """A shard of an array with that many dimensions: zarr's default chunk key encoding."""
    return "/".join([folder, "c", str(shard), *["0"] * (dimensions - 1)])


def rows_key(folder: str, shard: int) -> str:
    """Parquet table that says what each row of an array's shard is."""
    return f"{folder}/rows-{shard_name(shard)}.parquet"


def commits_folder(folder: str) -> str:
    """Folder of the commit records of a normalized split or a feature array."""
    return f"{folder}/commits"


def commit_key(folder: str, shard: int) -> str:
    """The commit record of one shard."""
    return f"{commits_folder(folder)}/{shard_name(shard)}.json"


def manifest_folder(name: str) -> str:
    """Folder of all versions of a manifest."""
    return f"{MANIFESTS}/{name}"


def manifest_key(name: str, version: int) -> str:
    """One version of a manifest."""
    return f"{manifest_folder(name)}/{version:04d}.json"


def part_key(name: str, digest: str) -> str:
    """A table that manifests of that name share, named by its content."""
    return f"{manifest_folder(name)}/parts/{digest}.parquet"


def index_key(name: str, digest: str) -> str:
    """An index that manifests of that name share, named by its content."""
    return f"{manifest_folder(name)}/parts/{digest}.arrow"


@dataclass(frozen=True, slots=True)
class ShardPlace:
    """A shard of a product, by the product's folder."""

    folder: str
    shard: int


_SHARD_FILES = re.compile(
    rf"(?P<split>{NORMALIZED}/[^/]+/[^/]+)/(?:media|samples|annotations)-(?P<cut>\d{{5,}})\.\w+"
    rf"|(?P<array>{FEATURES}/[^/]+/[^/]+/[^/]+/[^/]+)"
    r"/(?:c/(?P<stored>\d+)(?:/0)*|rows-(?P<rows>\d{5,})\.parquet)"
)


def shard_of(key: str) -> ShardPlace | None:
    """Return the shard that a data file is a part of; None for what is not part of one."""
    found = _SHARD_FILES.fullmatch(key)
    if found is None:
        return None
    number = found["cut"] or found["stored"] or found["rows"]
    return ShardPlace(found["split"] or found["array"], int(number))


def run_key(run: str, number: int) -> str:
    """The record of a driver, written for the ``number``-th time."""
    return f"{RUNS}/{run}/{number:08d}.json"


def lease_folder(group: str) -> str:
    """Folder of the leases on the shards of a group of arrays."""
    return f"{LEASES}/{group}"


def lease_key(group: str, shard: int) -> str:
    """Which run works on a shard now."""
    return f"{lease_folder(group)}/{shard_name(shard)}.json"
