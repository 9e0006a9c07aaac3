"""Lets a complete split take more shards, as long as nobody has published it.

Its shards stay byte for byte, and with them the features of each. What closes the split is made
anew: split.json, the tables beside it, and the metadata of its feature arrays, which state the
number of shards and the digest of split.json. Features of phrases stay those of the earlier split,
which `cache` refuses by name: a new phrase moves the rows of those after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from pipelines.store import layout
from pipelines.store.arrays import FeatureArray, find_array_record
from pipelines.store.objects import ObjectStore
from pipelines.store.published import manifest_names, manifest_versions, read_version
from pipelines.store.splits import Split
from schemas.errors import ConflictError
from schemas.features import RowKind
from schemas.manifests import ArrayRecord, SplitRecord


def require_growable(
    store: ObjectStore, dataset: str, split: str, capacities: Mapping[RowKind, int]
) -> None:
    """Refuse to change what is published, and features whose shards would need more slots.

    Parameters
    ----------
    capacities
        Rows per shard that arrays of the grown split have, by what a row is.

    Raises
    ------
    ConflictError
        A manifest names the split, or an array has another capacity.
    """
    if published := list(_manifests_of(store, dataset, split)):
        raise ConflictError(
            f"{dataset}/{split} is published as {', '.join(published)}, which must not change",
            fix="Let a copy grow: of a local root `cp -al ROOT COPY` takes no space; remove "
            "COPY/manifests, and normalize with --root COPY --grow.",
        )
    for folder, array in _arrays(store, dataset, split):
        capacity = capacities.get(array.feature.rows, array.rows_per_shard)
        if array.rows_per_shard != capacity:
            raise ConflictError(
                f"{folder} has shards of {array.rows_per_shard} rows",
                expected=f"{capacity} rows, for the longest clip of the grown split",
                fix=f"Remove {folder}, run this again, and cache those features anew.",
            )


def reopen_split(store: ObjectStore, dataset: str, split: str) -> None:
    """Remove split.json, and then the files that it closes; shards stay as they are."""
    for key_of in (
        layout.split_key,
        layout.phrases_key,
        layout.categories_key,
        layout.report_key,
        layout.ids_key,
    ):
        store.delete(key_of(dataset, split))


def adopt_features(store: ObjectStore, record: SplitRecord) -> None:
    """Give the features of the split that has grown to it: what they hold needs no computing."""
    digest = Split.open(store, record.dataset, record.split).digest
    for folder, array in list(_arrays(store, record.dataset, record.split)):
        if array.split_digest != digest and array.feature.rows != "phrase":
            # Without its metadata an array is none, so dying here leaves no wrong one.
            store.delete(layout.array_metadata_key(folder))
            grown = replace(array, split_digest=digest, shards=record.shards)
            FeatureArray(store, grown).create()


def _manifests_of(store: ObjectStore, dataset: str, split: str) -> Iterator[str]:
    for name in manifest_names(store):
        for version in manifest_versions(store, name):
            manifest = read_version(store, name, version).manifest
            if (dataset, split) in {(s.split.dataset, s.split.split) for s in manifest.splits}:
                yield f"{name}@{version}"


def _arrays(store: ObjectStore, dataset: str, split: str) -> Iterator[tuple[str, ArrayRecord]]:
    """Yield folder and record of each array that is cached of the split."""
    top = layout.features_folder(dataset, split)
    for teacher in store.folders(top):
        for name in store.folders(f"{top}/{teacher}"):
            folder = layout.array_folder(dataset, split, teacher, name)
            record = find_array_record(store, folder)
            if record is not None:
                yield folder, record
