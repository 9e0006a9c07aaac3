"""Which samples of a manifest can be trained on, and where their bytes are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.store.listed import list_files
from pipelines.store.objects import ObjectStore
from pipelines.store.row_index import (
    build_sample_index,
    column_present,
    column_values,
    sample_schema,
)
from pipelines.stream.indexed_array import IndexedArray, open_array, open_index_file
from pipelines.stream.selection import SelectedSplit
from schemas.errors import IntegrityError, UsageError
from schemas.features import View
from schemas.manifests import Manifest, ManifestFeature, ManifestSplit

Rows = npt.NDArray[np.int64]
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Runs of consecutive frames of a clip, as items of a stream."""

    frames: int
    hop: int
    """Frames from the begin of one to the begin of the next."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitIndex:
    """One split: its usable items, and columns over all its rows, used or not."""

    starts: npt.NDArray[np.uint32]
    """Row of each item, ascending; of a window its first frame's."""
    rows_per_shard: int
    offset: Rows
    size: npt.NDArray[np.uint32]
    """Byte range of the encoded image in the shard's tar."""
    digest: npt.NDArray[np.uint64]
    """First 8 bytes of the encoded image's blake3."""
    keys: pa.LargeStringArray
    arrays: dict[View, dict[str, IndexedArray]]
    """Features with one row per sample, by view and the caller's names."""

    def items_by_shard(self) -> Rows:
        """Return how many items begin in each shard."""
        shards = len(self.offset) // self.rows_per_shard
        borders = np.arange(shards + 1, dtype=np.uint32) * np.uint32(self.rows_per_shard)
        return np.diff(np.searchsorted(self.starts, borders)).astype(np.int64)


class SampleIndex:
    """Usable items in the order split, shard, row; opened in a moment, however many they are.

    An item is a sample, or a window of frames. The columns are mapped from the published indexes:
    in memory are four bytes per item, and the pages that were looked at.
    """

    def __init__(self, splits: Sequence[SplitIndex]) -> None:
        self.splits = tuple(splits)
        self._ends = np.cumsum([len(split.starts) for split in splits])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def firsts(self) -> list[int]:
        """Number of the first item of each split."""
        return [0, *self._ends[:-1].tolist()]

    def place(self, items: Rows) -> tuple[Rows, Rows]:
        """Return for each item the number of its split, and its row there."""
        numbers = np.searchsorted(self._ends, items, side="right")
        rows = np.empty_like(items)
        for number in np.unique(numbers):
            chosen = numbers == number
            rows[chosen] = self.splits[number].starts[items[chosen] - self.firsts[number]]
        return numbers.astype(np.int64), rows

    def key(self, number: int, row: int) -> str:
        """Return the key of the sample in a row of a split."""
        return str(self.splits[number].keys[row])


def open_index(
    store: ObjectStore,
    manifest: Manifest,
    splits: Sequence[SelectedSplit],
    windows: Windows | None = None,
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
    index = SampleIndex([_open_split(store, manifest, split, windows) for split in splits])
    if not len(index):
        rows = sum(split.published.part.rows for split in splits)
        what = "sample" if windows is None else f"run of {windows.frames} frames"
        raise UsageError(
            f"the manifest has no {what} to train on",
            expected="at least one that is sound in the split and in each feature",
            got=f"{rows} rows in {sum(split.published.part.shards for split in splits)} shards, "
            "none of them sound in all",
            fix="`samdistill inspect` lists the reasons; cache more and publish again.",
        )
    return index


def _open_split(
    store: ObjectStore, manifest: Manifest, selected: SelectedSplit, windows: Windows | None
) -> SplitIndex:
    published = selected.published
    samples = _open_samples(store, published)
    usable = column_present(samples, "offset")
    arrays: dict[View, dict[str, IndexedArray]] = {}
    for view in selected.by_view:
        arrays[view] = {}
        for name, feature in selected.of_kind("sample", view).items():
            array = _open_array(store, manifest, published, feature, samples.num_rows)
            usable &= column_present(array.index, "offset")
            arrays[view][name] = array
    if windows is not None:
        usable = _window_starts(samples, usable, windows)
    return SplitIndex(
        starts=_places(usable),
        rows_per_shard=published.split.rows_per_shard,
        offset=column_values(samples, "offset"),
        size=column_values(samples, "size"),
        digest=column_values(samples, "digest"),
        keys=samples.column("key"),
        arrays=arrays,
    )


def _open_array(
    store: ObjectStore,
    manifest: Manifest,
    split: ManifestSplit,
    feature: ManifestFeature,
    rows: int,
) -> IndexedArray:
    array = open_array(store, manifest, split, feature)
    if array.index.num_rows != rows:
        raise IntegrityError(
            f"index of {feature.array.key}",
            expected=f"{rows} rows, as its split has",
            got=array.index.num_rows,
            fix="The split was normalized anew after caching: cache and publish again.",
        )
    return array


def _places(chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint32]:
    """Return where ``chosen`` is set, in half of the memory that numpy's own 64 bits take."""
    places = np.empty(np.count_nonzero(chosen), dtype=np.uint32)
    done = 0
    for first in range(0, len(chosen), _PIECE):
        found = np.flatnonzero(chosen[first : first + _PIECE])
        places[done : done + len(found)] = found + first
        done += len(found)
    return places


def _window_starts(
    samples: pa.RecordBatch, usable: npt.NDArray[np.bool_], windows: Windows
) -> npt.NDArray[np.bool_]:
    """Return the rows that begin a window: whole, of one clip, each frame usable."""
    starts = np.zeros_like(usable)
    if "frame" not in samples.schema.names or len(usable) < windows.frames:
        return starts
    frame = column_values(samples, "frame").astype(np.int64)
    last = len(usable) - windows.frames + 1
    whole = frame[windows.frames - 1 :] - frame[:last] == windows.frames - 1
    sound = np.cumsum(np.concatenate([[0], usable]))
    whole &= sound[windows.frames :] - sound[:last] == windows.frames
    starts[:last] = whole & (frame[:last] % windows.hop == 0)
    return starts


def _open_samples(store: ObjectStore, published: ManifestSplit) -> pa.RecordBatch:
    return open_index_file(
        store,
        published.index,
        sample_schema(published.split.media),
        lambda: build_sample_index(store, published.split, list_files(store, published.part)),
    )
