"""Features whose rows belong to the objects of an image: memory states, prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

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


class ObjectRowReader:
    """Arrays of one split whose rows, of one kind, belong to objects on images.

    Parameters
    ----------
    columns
        What names a row beside its key, of the row table.
    """

    def __init__(
        self,
        store: ObjectStore,
        features: Mapping[str, ManifestFeature],
        arrays: Mapping[str, IndexedArray],
        rows_per_shard: int,
        columns: Sequence[str],
    ) -> None:
        self.arrays, self._rows_per_shard = dict(arrays), rows_per_shard
        self.columns = tuple(columns)
        first = next(iter(features.values()))
        folder = next(iter(arrays.values())).array.folder

        def rows_key(shard: int) -> str:
            return layout.rows_key(folder, shard)

        self._tables = ShardTables(store, first.part, rows_key, ["row", "key", *columns])

    def find(self, row: int, key: str) -> list[dict[str, Any]]:
        """Return the table's rows of a sample, in their order, all features of which are there."""
        table = self._tables.table(row // self._rows_per_shard)
        found = table.filter(pc.equal(table["key"], key)).to_pylist()
        return [
            item
            for item in found
            if all(array.present[item["row"]] for array in self.arrays.values())
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRows:
    """The rows of the images of a batch, image by image."""

    image: torch.Tensor
    """int64 ``[R]``: which image of the batch."""
    names: dict[str, list[Any]]
    """By column."""
    features: dict[str, torch.Tensor]
    """By the caller's names, ``[R, *item]`` as stored."""


def gather_rows(
    readers: Sequence[ObjectRowReader],
    numbers: Rows,
    rows: Rows,
    keys: Sequence[str],
    threads: Executor,
    *,
    verify: bool,
) -> ObjectRows:
    """Read what belongs to the images of a batch, by the split and row of each."""
    samples = list(zip(numbers.tolist(), rows.tolist(), keys, strict=True))
    by_image = list(threads.map(lambda at: readers[at[0]].find(at[1], at[2]), samples))
    found = [item for items in by_image for item in items]
    images = np.repeat(np.arange(len(samples)), [len(items) for items in by_image])
    owner = numbers[images]
    array_rows = np.array([item["row"] for item in found], dtype=np.int64)

    def name(place: int) -> str:
        return f"sample {keys[images[place]]}"

    features, work = {}, []
    for feature, array in readers[0].arrays.items():
        stored = empty_rows(len(found), array.array.feature)
        features[feature] = typed(stored, array.array.feature)
        for number, reader in enumerate(readers):
            mine = np.flatnonzero(owner == number)
            work += reader.arrays[feature].start(
                threads, array_rows, stored.numpy(), mine, verify=verify, name=name
            )
    for future in work:
        future.result()
    return ObjectRows(
        image=torch.from_numpy(images),
        names={column: [item[column] for item in found] for column in readers[0].columns},
        features=features,
    )
