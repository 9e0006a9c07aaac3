"""One shard of a manifest as an exporter sees it: the sound rows, checked as they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.store import layout
from pipelines.store.arrays import FeatureArray
from pipelines.store.listed import Listing, list_files, read_listed_table
from pipelines.store.objects import ObjectStore
from pipelines.store.published import array_record
from pipelines.store.splits import Split, StoredSample
from pipelines.stream.selection import SelectedSplit
from schemas.errors import IntegrityError, UsageError
from schemas.manifests import FileRecord, Manifest
from schemas.samples import VIDEO
from schemas.tables import ANNOTATIONS, FEATURE_ROWS, SAMPLES

FACTS = (
    "key", "clip", "frame", "width", "height", "extension",
    "captions", "negatives", "not_exhaustive", "void",
)  # fmt: skip
"""Columns of the samples table that every format carries; with ``objects`` beside them."""

_OF_AN_OBJECT = [
    field.with_nullable(True)
    for field in ANNOTATIONS
    if field.name not in {"row", "key", "clip", "frame"}
]
FACT_SCHEMA = pa.schema(
    [SAMPLES.field(name).with_nullable(True) for name in FACTS]
    + [pa.field("objects", pa.list_(pa.struct(_OF_AN_OBJECT)))]
)
_ROWS_AT_ONCE = 16


class ShardContent:
    """The rows of one shard that are sound in the split and in each exported feature.

    ``facts`` has the columns ``FACTS`` and ``objects``: per sample a list of what ``annotations``
    says of each object. Images and features are read one by one, so that memory stays small.
    """

    def __init__(
        self,
        split: Split,
        arrays: Sequence[FeatureArray],
        shard: int,
        samples: pa.Table,
        annotations: pa.Table,
    ) -> None:
        self._split, self._arrays, self._shard = split, arrays, shard
        self._samples = samples
        objects = _objects_by_row(samples["row"].to_numpy(), annotations)
        columns = [samples[name] for name in FACTS]
        self.facts: pa.Table = pa.table([*columns, objects], schema=FACT_SCHEMA)

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def image_sizes(self) -> list[int]:
        """Bytes of each encoded image."""
        sizes: list[int] = self._samples["size"].to_pylist()
        return sizes

    def images(self) -> Iterator[bytes]:
        """Yield each encoded image as published; a damaged one is an ``IntegrityError``."""
        names = list(StoredSample.__dataclass_fields__)
        for row in self._samples.select(names).to_pylist():
            yield self._split.read_image(self._shard, StoredSample(**row))

    def features(self) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Yield by array name what is stored for each sample; each array is the taker's."""
        for slot in self._samples["row"].to_pylist():
            yield {array.feature.array_name: self._feature(array, slot) for array in self._arrays}

    def described(self) -> Iterator[dict[str, Any]]:
        """Yield the facts of each sample, masks as COCO writes them in JSON."""
        for start in range(0, len(self), _ROWS_AT_ONCE):
            for facts in self.facts.slice(start, _ROWS_AT_ONCE).to_pylist():
                facts["void"] = _coco_mask(facts["void"])
                for item in facts["objects"]:
                    item["mask"] = _coco_mask(item["mask"])
                yield facts

    def _feature(self, array: FeatureArray, slot: int) -> npt.NDArray[Any]:
        stored = np.empty(array.feature.stored_shape, dtype=array.dtype)
        array.read_into(self._shard * array.record.rows_per_shard + slot, stored)
        return stored


@dataclass(frozen=True, slots=True)
class _Tables:
    samples: FileRecord
    annotations: FileRecord
    rows: tuple[FileRecord, ...]


class PublishedShards:
    """The shards of one split of a manifest that are published with all wanted features."""

    def __init__(self, store: ObjectStore, manifest: Manifest, selected: SelectedSplit) -> None:
        published = selected.published
        self._store = store
        self._split = Split(store, published.split, published.split_file.blake3)
        self.arrays = [
            FeatureArray(store, array_record(manifest, published, feature))
            for feature in selected.features.values()
        ]
        files = list_files(store, published.part)
        listings = [list_files(store, feature.part) for feature in selected.features.values()]
        found = {
            shard: self._find(files, listings, shard) for shard in range(published.split.shards)
        }
        self._tables = {shard: tables for shard, tables in found.items() if tables is not None}

    @property
    def name(self) -> str:
        """``dataset/split``."""
        return self._split.name

    @property
    def shards(self) -> list[int]:
        """Their numbers, ascending."""
        return sorted(self._tables)

    def require_images(self) -> None:
        """Refuse a split of kept videos, which no format holds by frame.

        Raises
        ------
        UsageError
            The first shard that has a sound sample says so: all others are made like it.
        """
        if self._split.record.media != "video":
            return
        for tables in self._tables.values():
            samples = read_listed_table(self._store, tables.samples, ["extension", "quarantine"])
            sound = samples.filter(samples["quarantine"].is_null())
            if VIDEO in sound["extension"].unique().to_pylist():
                raise UsageError(
                    f"{self.name} keeps the videos of its clips, and no export format has frames "
                    "of videos",
                    fix="Export other splits (--split), or normalize it without --keep-video.",
                )
            if len(sound):
                return

    def open(self, shard: int) -> ShardContent:
        """Read the tables of a shard.

        Raises
        ------
        IntegrityError
            A table is not the published one, or lists other samples than the split's.
        """
        tables = self._tables[shard]
        samples = read_listed_table(self._store, tables.samples, SAMPLES.names)
        sound = samples["quarantine"].is_null().to_numpy()
        for record in tables.rows:
            rows = read_listed_table(self._store, record, FEATURE_ROWS.names)
            if not rows["key"].equals(samples["key"]):
                raise IntegrityError(
                    f"{record.key} lists other samples than {tables.samples.key}",
                    fix="The split was normalized anew after caching: cache and publish again.",
                )
            sound = sound & rows["quarantine"].is_null().to_numpy()
        annotations = read_listed_table(self._store, tables.annotations, ANNOTATIONS.names)
        chosen = samples.filter(pa.array(sound))
        return ShardContent(self._split, self.arrays, shard, chosen, annotations)

    def _find(self, files: Listing, listings: Sequence[Listing], shard: int) -> _Tables | None:
        place = (self._split.record.dataset, self._split.record.split, shard)
        keys = [layout.samples_key(*place), layout.annotations_key(*place)]
        found = [files.get(key) for key in keys]
        for array, listing in zip(self.arrays, listings, strict=True):
            rows = listing.get(layout.rows_key(array.folder, shard))
            found.append(rows if array.shard_key(shard) in listing else None)
        if layout.media_key(*place) not in files:
            return None
        present = [record for record in found if record is not None]
        if len(present) < len(found):
            return None
        return _Tables(present[0], present[1], tuple(present[2:]))


def _objects_by_row(rows: npt.NDArray[np.int32], annotations: pa.Table) -> pa.Array:
    """Return the objects of each row as a list column; annotations come in row order."""
    numbers = annotations["row"].to_numpy()
    starts, stops = np.searchsorted(numbers, rows), np.searchsorted(numbers, rows, side="right")
    places = [np.arange(start, stop) for start, stop in zip(starts, stops, strict=True)]
    taken = np.concatenate([*places, np.empty(0, dtype=np.int64)]).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(stops - starts)]).astype(np.int32)
    chosen = annotations.take(pa.array(taken)).combine_chunks()
    columns = [chosen[field.name].combine_chunks() for field in _OF_AN_OBJECT]
    objects = pa.StructArray.from_arrays(columns, fields=_OF_AN_OBJECT)
    return pa.ListArray.from_arrays(pa.array(offsets), objects)


def _coco_mask(cell: dict[str, Any] | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    return {"size": [cell["height"], cell["width"]], "counts": cell["counts"].decode("ascii")}
