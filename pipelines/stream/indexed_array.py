"""A published feature array with its index: any row by one read of its shard's file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.store.arrays import FeatureArray, as_bytes
from pipelines.store.listed import list_files
from pipelines.store.objects import ObjectStore
from pipelines.store.published import array_record
from pipelines.store.row_index import (
    build_feature_index,
    column_present,
    column_values,
    decode_index,
)
from pipelines.store.shard_file import CHECKSUM_BYTES, Chunk, read_chunks
from pipelines.stream.mapped import map_file
from pipelines.stream.naming import named
from pipelines.stream.runs import Places, find_runs
from schemas.errors import SamdistillError
from schemas.manifests import FileRecord, Manifest, ManifestFeature, ManifestSplit
from schemas.tables import FEATURE_INDEX


@dataclass(frozen=True, kw_only=True)
class IndexedArray:
    """Rows of one array, read from many threads at once. Keeps no file open."""

    array: FeatureArray
    index: pa.RecordBatch

    @cached_property
    def offset(self) -> npt.NDArray[np.int64]:
        """Where each row's chunk lies in its shard's file; arbitrary where there is none."""
        return column_values(self.index, "offset")

    @cached_property
    def present(self) -> npt.NDArray[np.bool_]:
        """Which rows there are."""
        return column_present(self.index, "offset")

    def runs(self, rows: npt.NDArray[np.int64]) -> list[Places]:
        """Return the places in ``rows`` grouped by the requests that read them."""
        size = self.array.feature.item_bytes + CHECKSUM_BYTES
        shards = rows // self.array.record.rows_per_shard
        return find_runs(shards, self.offset[rows], np.full(len(rows), size, dtype=np.int64))

    def read(
        self,
        rows: npt.NDArray[np.int64],
        out: npt.NDArray[Any],
        places: Places,
        *,
        verify: bool,
        name: Callable[[int], str],
    ) -> None:
        """Fill ``out[place]`` with row ``rows[place]`` for each place of one run.

        Parameters
        ----------
        name
            What an error says that a place is.
        """
        try:
            self._read(rows, out, places.tolist(), verify=verify)
        except (SamdistillError, FileNotFoundError):
            # One by one, to name the row that is at fault; a passing fault may be over.
            for place in places.tolist():
                with named(name(place)):
                    self._read(rows, out, [place], verify=verify)

    def start(
        self,
        threads: Executor,
        rows: npt.NDArray[np.int64],
        out: npt.NDArray[Any],
        places: Places,
        *,
        verify: bool,
        name: Callable[[int], str],
    ) -> list[Future[None]]:
        """Let ``threads`` read these places, run by run; see ``read``."""
        return [
            threads.submit(self.read, rows, out, places[run], verify=verify, name=name)
            for run in self.runs(rows[places])
        ]

    def _read(
        self,
        rows: npt.NDArray[np.int64],
        out: npt.NDArray[Any],
        places: Sequence[int],
        *,
        verify: bool,
    ) -> None:
        slots = self.array.record.rows_per_shard
        chunks = [
            Chunk(
                int(rows[place]) % slots, int(self.offset[rows[place]]), as_bytes(out[place, ...])
            )
            for place in places
        ]
        key = self.array.shard_key(int(rows[places[0]]) // slots)
        read_chunks(self.array.store, key, chunks, verify=verify)


def open_array(
    store: ObjectStore, manifest: Manifest, split: ManifestSplit, feature: ManifestFeature
) -> IndexedArray:
    """Open an array; one that was published without index is indexed here, shard by shard.

    Raises
    ------
    IdentityError
        Its zarr.json is of another array than the manifest names; the message names the fields.
    """
    record = array_record(manifest, split, feature)
    if feature.feature.rows == "sample":
        record = msgspec.structs.replace(record, shards=split.split.shards)
    array = FeatureArray(store, record)
    array.require_same()
    index = open_index_file(
        store,
        feature.index,
        FEATURE_INDEX,
        lambda: build_feature_index(array, list_files(store, feature.part)),
    )
    return IndexedArray(array=array, index=index)


def open_index_file(
    store: ObjectStore, record: FileRecord | None, schema: pa.Schema, build: Callable[[], pa.Table]
) -> pa.RecordBatch:
    """Return a published index, or the one that ``build`` makes when none was published."""
    if record is not None:
        return decode_index(map_file(store, record), schema, record.key)
    columns = [column.combine_chunks() for column in build().columns]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
