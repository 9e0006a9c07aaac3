"""Tables of a split, shard by shard, as a stream meets them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.store.listed import read_listed_table
from pipelines.store.objects import ObjectStore
from pipelines.store.published import read_part
from schemas.errors import IntegrityError
from schemas.manifests import FileRecord, PartRecord

_KEPT = 16


class ShardTables:
    """One kind of table; the shards that were used last are kept.

    Parameters
    ----------
    part
        What lists the tables.
    key
        The table's key, by shard.
    """

    def __init__(
        self,
        store: ObjectStore,
        part: PartRecord,
        key: Callable[[int], str],
        columns: Sequence[str],
    ) -> None:
        self._store, self._part, self._key, self._columns = store, part, key, tuple(columns)
        self._kept: OrderedDict[int, pa.Table] = OrderedDict()
        self._lock = threading.Lock()

    def table(self, shard: int) -> pa.Table:
        """Return the columns of a shard's table, checked against its digest."""
        with self._lock:
            if (kept := self._kept.get(shard)) is not None:
                self._kept.move_to_end(shard)
                return kept
            record = self._record(shard)
        table = read_listed_table(self._store, record, self._columns).combine_chunks()
        with self._lock:
            self._kept[shard] = table
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return table

    def _record(self, shard: int) -> FileRecord:
        key = self._key(shard)
        found = self._listing.filter(
            pc.and_(pc.equal(self._listing["shard"], shard), pc.equal(self._listing["key"], key))
        )
        if not found.num_rows:
            raise IntegrityError(f"{self._part.file.key} does not list {key}")
        (row,) = found.select(["key", "bytes", "blake3"]).to_pylist()
        return FileRecord(**row)

    @cached_property
    def _listing(self) -> pa.Table:
        return read_part(self._store, self._part)
