"""Writing one shard of one feature array, and publishing it: file, row table, commit record.

Whoever publishes the data file first has decided its content. Two devices round differently, so a
process that comes second, or that repeats a killed one, adopts the file: it describes the bytes
that are there, and never replaces them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.jobs.stored_rows import StoredRow
from pipelines.store import layout
from pipelines.store.arrays import FeatureArray, StagedShard, as_bytes
from pipelines.store.commits import hash_file, is_committed, write_commit
from pipelines.store.shard_file import ShardReader
from pipelines.store.tables import encode_table, read_table, table_record
from schemas.codec_base import Extent
from schemas.errors import DataError, IntegrityError
from schemas.manifests import CommitRecord, FileRecord
from schemas.tables import feature_rows

LEFT_OUT = "left-out: another attempt published this shard without the row"


class FeatureShard:
    """One shard being written; rows in any order, each at most once.

    Parameters
    ----------
    target
        The open, unpublished file.
    names
        What each row is (``store.rows.expected_rows``), also those that stay without features.
    """

    def __init__(
        self,
        array: FeatureArray,
        shard: int,
        target: StagedShard,
        names: Sequence[Mapping[str, Any]],
    ) -> None:
        self.array, self.rows = array, len(names)
        self._columns = feature_rows(array.feature.rows)
        self._shard, self._target, self._names = shard, target, names
        self._ranges: dict[int, Extent] = {}
        self._reasons: dict[int, str] = {}
        self._adopted: FileRecord | None = None

    @property
    def missing(self) -> set[int]:
        """Rows that are neither written nor quarantined."""
        return set(range(self.rows)) - self._ranges.keys() - self._reasons.keys()

    def adopt(self) -> None:
        """Take over the data file that an earlier attempt has published, if there is one.

        What it holds needs no computing. A row that it lacks is asked for all the same: whether it
        can be computed decides the reason under which it is left out.
        """
        key = self.array.shard_key(self._shard)
        if self.array.store.size(key) is None:
            return
        try:
            self._adopted, found = self._adopt_data()
        except IntegrityError as damage:
            self._discard(key, damage)
        else:
            self._ranges = dict(found)

    def write(self, row: int, found: StoredRow) -> None:
        """Append a row."""
        if self._adopted is not None:
            self._reasons.setdefault(row, LEFT_OUT)
            return
        self._target.writer.write(row, as_bytes(found.stored))
        self._ranges[row] = found.extent

    def quarantine(self, row: int, reason: str) -> None:
        """Leave a row out, with the reason ``kind: detail``."""
        self._reasons[row] = reason

    def publish(self, inputs: tuple[FileRecord, ...]) -> CommitRecord:
        """Complete the shard and return its commit record.

        Raises
        ------
        IntegrityError
            A file of this shard is damaged, and a commit record names it.
        """
        data, ranges = self._publish_data()
        rows, quarantined = self._publish_rows(ranges)
        record = CommitRecord(
            product=self.array.feature.array_name,
            dataset=self.array.record.dataset,
            split=self.array.record.split,
            shard=self._shard,
            rows=self.rows,
            identity=self.array.record.teacher.digest,
            files=(data, rows),
            inputs=inputs,
            counts={"stored": len(ranges)},
            quarantined=quarantined,
        )
        write_commit(self.array.store, self.array.folder, record)
        return record

    def _publish_data(self) -> tuple[FileRecord, Mapping[int, Extent]]:
        if self._adopted is not None:
            return self._adopted, self._ranges
        record = self._target.writer.finish()
        while not self._target.staged.publish():
            try:
                return self._adopt_data()
            except IntegrityError as damage:
                self._discard(record.key, damage)
        return record, self._ranges

    def _adopt_data(self) -> tuple[FileRecord, Mapping[int, Extent]]:
        """Return record and ranges of the published file, all of whose checksums hold."""
        array, key = self.array, self.array.shard_key(self._shard)
        item = array.feature
        reader = ShardReader(array.store, key, array.record.rows_per_shard, item.item_bytes)
        stored = np.empty(item.stored_shape, dtype=array.dtype)
        ranges = {}
        for row in np.flatnonzero(reader.present).tolist():
            if row >= self.rows:
                raise IntegrityError(f"{key} holds row {row}", expected=f"{self.rows} rows at most")
            reader.read_into(row, as_bytes(stored))
            ranges[row] = array.extent(stored)
        return hash_file(array.store, key), ranges

    def _publish_rows(self, ranges: Mapping[int, Extent]) -> tuple[FileRecord, dict[str, int]]:
        """Store the row table; return its record and the quarantined rows by reason."""
        store, key = self.array.store, layout.rows_key(self.array.folder, self._shard)
        rows = [self._row(row, ranges.get(row)) for row in range(self.rows)]
        body = encode_table(rows, self._columns)
        while not store.put_if_absent(key, body):
            try:
                found = read_table(store, key, self._columns).to_pylist()
                if _facts(found) != _facts(rows):
                    raise IntegrityError(f"{key} describes other rows than the data file holds")
                return hash_file(store, key), _by_kind(found)
            except (DataError, IntegrityError) as damage:
                self._discard(key, damage)
        return table_record(key, body), _by_kind(rows)

    def _row(self, row: int, found: Extent | None) -> dict[str, Any]:
        return {
            **dict.fromkeys(self._columns.names),
            **self._names[row],
            "row": self._shard * self.array.record.rows_per_shard + row,
            "quarantine": None if found else self._reasons.get(row, LEFT_OUT),
            "minimum": found[0] if found else None,
            "maximum": found[1] if found else None,
        }

    def _discard(self, key: str, damage: Exception) -> None:
        """Remove what a broken disk left of an uncommitted file."""
        if is_committed(self.array.store, self.array.folder, self._shard):
            raise IntegrityError(
                f"{key} is committed and damaged: {damage}",
                fix="Remove the file and its commit record, then run the same command again.",
            ) from damage
        self.array.store.delete(key)


def _facts(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows without the wording of their reasons, in which two attempts may differ."""
    return [{**row, "quarantine": row["quarantine"] is not None} for row in rows]


def _by_kind(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return dict(Counter(row["quarantine"].partition(":")[0] for row in rows if row["quarantine"]))
