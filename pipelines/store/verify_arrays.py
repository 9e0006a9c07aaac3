"""Deep check of a feature array: rows, checksums, values, and zarr-python's opinion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.store import layout
from pipelines.store.arrays import FeatureArray, zarr_metadata
from pipelines.store.findings import Finding
from pipelines.store.rows import expected_rows
from pipelines.store.shard_file import ShardReader
from pipelines.store.splits import Split
from pipelines.store.tables import read_table
from pipelines.store.zarr_view import open_zarr
from schemas.errors import IntegrityError
from schemas.ids import canonical_json, digest_bytes
from schemas.tables import feature_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayShardCheck:
    """The rows of one shard: whom they belong to, that they are there, and their values."""

    array: FeatureArray
    split: Split
    shard: int
    rows: int
    """As published."""
    has_data: bool
    """Whether the manifest lists a data file for this shard."""

    @property
    def key(self) -> str:
        """The table of rows."""
        return layout.rows_key(self.array.folder, self.shard)

    def run(self) -> Iterator[Finding]:
        """Yield all differences between the split, the table of rows and the data."""
        table = read_table(self.array.store, self.key, feature_rows(self.array.feature.rows))
        rows: list[dict[str, Any]] = table.to_pylist()
        if len(rows) != self.rows:
            yield Finding(key=self.key, problem="rows", expected=str(self.rows), got=str(len(rows)))
        expected = expected_rows(self.split, self.array.record, self.shard)
        yield from compare_names(self.key, expected, rows)
        sound = {slot for slot, row in enumerate(rows) if row["quarantine"] is None}
        if not self.has_data:
            if sound:
                yield Finding(
                    key=self.key, problem=f"{len(sound)} sound rows", expected="a data file"
                )
            return
        reader = self.array.reader(self.shard)
        present = set(np.flatnonzero(reader.present).tolist())
        if present != sound:
            yield Finding(
                key=reader.key,
                problem=f"stored rows, first difference at row {min(present ^ sound)}",
                expected=f"{len(sound)}, the rows that are not quarantined",
                got=str(len(present)),
            )
        for slot in sorted(present & sound):
            yield from self._values(reader, slot, rows[slot])

    def _values(self, reader: ShardReader, slot: int, row: dict[str, Any]) -> Iterator[Finding]:
        stored = np.empty(self.array.feature.stored_shape, dtype=self.array.dtype)
        try:
            reader.read_into(slot, memoryview(stored.reshape(-1).view(np.uint8).data))
        except IntegrityError as error:
            yield Finding(key=reader.key, problem=str(error))
            return
        found = self.array.extent(stored)
        where = f"row {slot}, {row['key'] or row['phrase']!r}"
        if not np.isfinite(found).all():
            yield Finding(key=reader.key, problem=f"{where} is not finite", got=str(found))
            return
        stated = (row["minimum"], row["maximum"])
        if stated != found:
            yield Finding(
                key=reader.key,
                problem=f"least and greatest value of {where}",
                expected=str(stated),
                got=str(found),
            )


def compare_names(
    key: str, expected: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> Iterator[Finding]:
    """Compare what a table says that its rows are with what the split says (``expected_rows``)."""
    if len(expected) != len(rows):
        yield Finding(
            key=key,
            problem="rows against the split",
            expected=str(len(expected)),
            got=str(len(rows)),
        )
    named = [
        (want, {name: row[name] for name in want})
        for want, row in zip(expected, rows, strict=False)
    ]
    others = [(want, got) for want, got in named if want != got]
    if others:
        yield Finding(
            key=key,
            problem=f"{len(others)} rows of other samples, the first",
            expected=_listed(others[0][0]),
            got=_listed(others[0][1]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ZarrCheck:
    """What zarr-python makes of an array: its shape, its type, and a few of its rows."""

    array: FeatureArray
    metadata_digest: str
    """blake3 of zarr.json, as published."""
    shards: tuple[int, ...]
    """Shards that have a data file."""

    rows: int = 0

    @property
    def key(self) -> str:
        """The array's zarr.json."""
        return layout.array_metadata_key(self.array.folder)

    def run(self) -> Iterator[Finding]:
        """Yield all differences to our reader."""
        metadata = zarr_metadata(self.array.record)
        described = digest_bytes(canonical_json(metadata))
        if described != self.metadata_digest:
            yield Finding(
                key=self.key,
                problem="the manifest describes another array than it names",
                expected=f"blake3 {described[:16]}",
                got=f"blake3 {self.metadata_digest[:16]}",
            )
        opened = open_zarr(self.array.store, self.array.folder)
        got = (list(opened.shape), np.dtype(opened.dtype))
        expected = (metadata["shape"], self.array.dtype)
        if got != expected:
            yield Finding(key=self.key, problem="zarr", expected=str(expected), got=str(got))
            return
        for shard in _spread(self.shards):
            slots = np.flatnonzero(self.array.reader(shard).present)
            if not slots.size:
                continue
            row = shard * self.array.record.rows_per_shard + int(slots[-1])
            ours = np.empty(self.array.feature.stored_shape, dtype=self.array.dtype)
            self.array.read_into(row, ours)
            if np.asarray(opened[row]).tobytes() != ours.tobytes():
                yield Finding(
                    key=self.array.shard_key(shard),
                    problem=f"zarr-python and samdistill read array row {row} differently",
                )


def _spread(shards: tuple[int, ...]) -> list[int]:
    """Return the first, the middle and the last shard."""
    return sorted({*shards[:1], *shards[len(shards) // 2 :][:1], *shards[-1:]})


def _listed(named: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in named.items() if value is not None)
