"""The memory states of the objects on the frames of a batch. Suffixes: M object-frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import torch

from pipelines.store import layout
from pipelines.store.objects import ObjectStore
from pipelines.stream.indexed_array import IndexedArray
from pipelines.stream.shard_tables import ShardTables
from pipelines.stream.stored_rows import empty_rows, typed
from schemas.manifests import ManifestFeature

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Memory:
    """One row for each object on each frame of a batch that the teacher has tracked."""

    image: torch.Tensor
    """int64 ``[M]``: which image of the batch, counted through windows, frame by frame."""
    object_id: torch.Tensor
    """int64 ``[M]``."""
    features: dict[str, torch.Tensor]
    """By the caller's names, ``[M, *item]`` as stored."""


class MemoryReader:
    """Memory features of one split."""

    def __init__(
        self,
        store: ObjectStore,
        features: Mapping[str, ManifestFeature],
        arrays: Mapping[str, IndexedArray],
        rows_per_shard: int,
        *,
        verify: bool,
    ) -> None:
        self.arrays, self._verify = dict(arrays), verify
        self._rows_per_shard = rows_per_shard
        first = next(iter(features.values()))
        folder = next(iter(arrays.values())).array.folder

        def rows_key(shard: int) -> str:
            return layout.rows_key(folder, shard)

        self._tables = ShardTables(store, first.part, rows_key, ["row", "key", "object_id"])

    def find(self, row: int, key: str) -> list[tuple[int, int]]:
        """Return object and array row of each object tracked on a sample, all features present."""
        table = self._tables.table(row // self._rows_per_shard)
        found = table.filter(pc.equal(table["key"], key))
        pairs = zip(found["object_id"].to_pylist(), found["row"].to_pylist(), strict=True)
        return [
            (object_id, place)
            for object_id, place in pairs
            if all(array.present[place] for array in self.arrays.values())
        ]


def gather_memory(
    readers: Sequence[MemoryReader],
    numbers: Rows,
    rows: Rows,
    keys: Sequence[str],
    threads: Executor,
    *,
    verify: bool,
) -> Memory:
    """Read the memory states on the images of a batch, in their order, then by object."""
    owners, images, objects, places = [], [], [], []
    for image, (number, row, key) in enumerate(
        zip(numbers.tolist(), rows.tolist(), keys, strict=True)
    ):
        for object_id, place in readers[number].find(row, key):
            owners.append(number)
            images.append(image)
            objects.append(object_id)
            places.append(place)
    array_rows, owner = np.array(places, dtype=np.int64), np.array(owners, dtype=np.int64)
    features = {}
    for name, array in readers[0].arrays.items():
        stored = empty_rows(len(places), array.array.feature)
        for number, reader in enumerate(readers):
            mine = np.flatnonzero(owner == number)
            _read(reader.arrays[name], array_rows, mine, stored, keys, images, threads, verify)
        features[name] = typed(stored, array.array.feature)
    return Memory(
        image=torch.tensor(images, dtype=torch.int64),
        object_id=torch.tensor(objects, dtype=torch.int64),
        features=features,
    )


def _read(
    array: IndexedArray,
    rows: Rows,
    mine: Rows,
    stored: torch.Tensor,
    keys: Sequence[str],
    images: Sequence[int],
    threads: Executor,
    verify: bool,
) -> None:
    work = [
        threads.submit(
            array.read,
            rows,
            stored.numpy(),
            mine[run],
            verify=verify,
            name=lambda place: f"sample {keys[images[place]]}",
        )
        for run in array.runs(rows[mine])
    ]
    for future in work:
        future.result()
