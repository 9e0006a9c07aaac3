"""Which samples of a manifest can be trained on, and where their bytes are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.store.arrays import FeatureArray
from pipelines.store.listed import list_files
from pipelines.store.objects import ObjectStore
from pipelines.store.published import array_record
from pipelines.store.row_index import (
    build_feature_index,
    build_sample_index,
    column_present,
    column_values,
    decode_index,
    sample_schema,
)
from pipelines.stream.mapped import map_file
from pipelines.stream.selection import SelectedSplit
from schemas.errors import IntegrityError, UsageError
from schemas.manifests import FileRecord, Manifest, ManifestFeature, ManifestSplit
from schemas.tables import FEATURE_INDEX

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitIndex:
    """One split: its usable rows, and columns over all its rows, used or not."""

    rows: npt.NDArray[np.uint32]
    """Usable rows of the split's arrays, ascending."""
    rows_per_shard: int
    offset: Rows
    size: npt.NDArray[np.uint32]
    """Byte range of the encoded image in the shard's tar."""
    digest: npt.NDArray[np.uint64]
    """First 8 bytes of the encoded image's blake3."""
    keys: pa.LargeStringArray
    features: tuple[Rows, ...]
    """For each feature where its rows lie in their shard's file."""


class SampleIndex:
    """Usable samples in the order split, shard, row; opened in a moment, however many they are.

    The columns are mapped from the published indexes: in memory are four bytes per sample, and the
    pages that were looked at. A copy that travels to another process is opened there.
    """

    def __init__(
        self, store: ObjectStore, manifest: Manifest, selected: Sequence[SelectedSplit]
    ) -> None:
        self._opened_from = (store, manifest, tuple(selected))
        self.splits = tuple(_open_split(store, manifest, split) for split in selected)
        self._ends = np.cumsum([len(split.rows) for split in self.splits])

    def __reduce__(
        self,
    ) -> tuple[type[SampleIndex], tuple[ObjectStore, Manifest, tuple[SelectedSplit, ...]]]:
        return SampleIndex, self._opened_from

    def __len__(self) -> int:
        return int(self._ends[-1])

    def place(self, sample: int) -> tuple[int, int]:
        """Return the number of a sample's split, and its row there."""
        number = int(np.searchsorted(self._ends, sample, side="right"))
        split = self.splits[number]
        return number, int(split.rows[sample - self._ends[number] + len(split.rows)])

    def key(self, sample: int) -> str:
        """Return the key of one sample."""
        number, row = self.place(sample)
        return str(self.splits[number].keys[row])


def open_index(
    store: ObjectStore, manifest: Manifest, splits: Sequence[SelectedSplit]
) -> SampleIndex:
    """Open the samples that are sound in their split and in each wanted feature.

    A manifest of before version 2 has no indexes: they are made here, from every shard's table.

    Raises
    ------
    IntegrityError
        An index or a table is not the published one.
    UsageError
        No sample is left.
    """
    index = SampleIndex(store, manifest, splits)
    if not len(index):
        rows = sum(split.published.part.rows for split in splits)
        raise UsageError(
            "the manifest has no sample to train on",
            expected="at least one row that is sound in the split and in each feature",
            got=f"{rows} rows in {sum(split.published.part.shards for split in splits)} shards, "
            "none of them sound in all",
            fix="`samdistill inspect` lists the reasons; cache more and publish again.",
        )
    return index


def _open_split(store: ObjectStore, manifest: Manifest, selected: SelectedSplit) -> SplitIndex:
    published = selected.published
    samples = _open_samples(store, published)
    offset = column_values(samples, "offset")
    usable = column_present(samples, "offset")
    features = []
    for feature in selected.features:
        rows = _open_feature(store, manifest, published, feature)
        if len(rows) != len(samples):
            raise IntegrityError(
                f"index of {feature.array.key}",
                expected=f"{len(samples)} rows, as its split has",
                got=len(rows),
                fix="The split was normalized anew after caching: cache and publish again.",
            )
        usable &= column_present(rows, "offset")
        features.append(column_values(rows, "offset"))
    return SplitIndex(
        rows=np.flatnonzero(usable).astype(np.uint32),
        rows_per_shard=published.split.rows_per_shard,
        offset=offset,
        size=column_values(samples, "size"),
        digest=column_values(samples, "digest"),
        keys=samples.column("key"),
        features=tuple(features),
    )


def _open_samples(store: ObjectStore, published: ManifestSplit) -> pa.RecordBatch:
    def build() -> pa.Table:
        return build_sample_index(store, published.split, list_files(store, published.part))

    return _open(store, published.index, sample_schema(published.split.media), build)


def _open_feature(
    store: ObjectStore, manifest: Manifest, split: ManifestSplit, feature: ManifestFeature
) -> pa.RecordBatch:
    def build() -> pa.Table:
        record = array_record(manifest, split, feature)
        array = FeatureArray(store, msgspec.structs.replace(record, shards=split.split.shards))
        return build_feature_index(array, list_files(store, feature.part))

    return _open(store, feature.index, FEATURE_INDEX, build)


def _open(
    store: ObjectStore, record: FileRecord | None, schema: pa.Schema, build: Callable[[], pa.Table]
) -> pa.RecordBatch:
    if record is not None:
        return decode_index(map_file(store, record), schema, record.key)
    table = build()
    return pa.RecordBatch.from_arrays(
        [column.combine_chunks() for column in table.columns], schema=schema
    )
