"""Compares rows of one shard of one array, as they are computed, and sums up what was seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.jobs.audit_channels import ChannelRanges, Signatures
from pipelines.jobs.compare_rows import RowComparison, compare_rows, noise_of
from pipelines.jobs.live_features import LiveRow
from pipelines.store import layout
from pipelines.store.arrays import FeatureArray
from pipelines.store.findings import Finding
from pipelines.store.tables import read_table
from pipelines.store.verify_arrays import compare_names
from pipelines.teachers.base import Float32
from schemas.errors import DataError, IntegrityError, SamdistillError
from schemas.tables import feature_rows

_LISTED = 5

_DIFFERS = "is not what the teacher computes"
_ABSENT = "is absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardAudit:
    """What was compared of one shard of one array."""

    split: str
    """``dataset/split``."""
    array: str
    shard: int
    file: str
    rows: int
    """Of the shard."""
    compared: tuple[RowComparison, ...]
    """In the order in which the teacher computed them."""
    absent: int
    """Rows that are not stored, and rightly so."""
    excess_allowed: float
    channel_excess_allowed: float
    minimum: float | None
    """Of the compared rows that are finite, as stored; None when there is none."""
    maximum: float | None
    dead_channels: tuple[int, ...]
    """Channels that have one value in all compared rows; that may be the teacher's doing."""
    not_finite: int
    """Values of the rows looked at."""
    findings: tuple[Finding, ...]


class ShardTally:
    """Takes live rows of one shard; ``result`` says how the stored ones compare.

    Parameters
    ----------
    names
        What each row is (``expected_rows``).
    unusable
        Why the split keeps a row without features, or None (``unusable_rows``).
    """

    def __init__(
        self,
        array: FeatureArray,
        shard: int,
        names: Sequence[Mapping[str, Any]],
        unusable: Sequence[str | None],
    ) -> None:
        self._array, self._shard, self._names = array, shard, names
        self._noise = noise_of(array.record)
        self._findings: list[Finding] = []
        self._noted: dict[str, dict[int, Finding]] = {}
        self._compared: list[RowComparison] = []
        self._absent = sum(reason is not None for reason in unusable)
        self._not_finite = 0
        self._stored_ranges = ChannelRanges(array.feature)
        self._live_ranges = ChannelRanges(array.feature)
        self._signatures = Signatures()
        self._reasons: list[str | None] = [None] * len(names)
        self._present = np.zeros(len(names), dtype=bool)
        self._suspects: list[int] = []
        self._readable = False
        try:
            self._open(unusable)
        except (SamdistillError, OSError, pa.ArrowException) as error:
            self._findings.append(self._unreadable(error))

    @property
    def suspects(self) -> Iterable[int]:
        """Rows that are not stored although the split would let them have features."""
        return self._suspects

    def add(self, live: LiveRow) -> None:
        """Compare one row."""
        if not self._readable:
            return
        if live.error is not None:
            self._uncomputable(live.row, live.error)
            return
        value = live.features[self._array.feature.name]
        try:
            encoded = self._array.encode(value, "computed")
        except DataError as error:
            self._uncomputable(live.row, error)
        else:
            coded = self._array.codec.decode(encoded, self._array.feature.item_shape)
            self._compare(live.row, np.asarray(value, dtype=np.float32), coded)

    def result(self) -> ShardAudit:
        """Return what was seen."""
        record, ends = self._array.record, self._stored_ranges.ends
        self._find_differing()
        for noted in self._noted.values():
            self._findings.append(_first_of(noted))
        self._find_dead()
        return ShardAudit(
            split=f"{record.dataset}/{record.split}",
            array=record.feature.array_name,
            shard=self._shard,
            file=self._array.shard_key(self._shard),
            rows=len(self._names),
            compared=tuple(self._compared),
            absent=self._absent,
            excess_allowed=self._noise.peak,
            channel_excess_allowed=self._noise.channel,
            minimum=ends[0] if ends else None,
            maximum=ends[1] if ends else None,
            dead_channels=tuple(np.flatnonzero(self._stored_ranges.spans == 0).tolist()),
            not_finite=self._not_finite,
            findings=tuple(self._findings),
        )

    def _open(self, unusable: Sequence[str | None]) -> None:
        """Find out which rows are stored, and what the table of rows says of them."""
        key = layout.rows_key(self._array.folder, self._shard)
        schema = feature_rows(self._array.feature.rows)
        rows = read_table(self._array.store, key, schema).to_pylist()
        self._findings += compare_names(key, self._names, rows)
        count = len(self._names)
        self._reasons = [row["quarantine"] for row in rows[:count]]
        self._reasons += ["not in the table of rows"] * (count - len(rows))
        held = self._array.reader(self._shard).present
        unmarked = np.array([reason is None for reason in self._reasons], dtype=bool)
        self._present = held[:count] & unmarked
        for row in [*np.flatnonzero(self._present).tolist(), *range(count, len(held))]:
            if held[row] and (row >= count or unusable[row] is not None):
                why = unusable[row] if row < count else "the shard has no such row"
                self._note("is stored", row, "no features", f"{why} in the split")
        self._suspects = [
            row for row, reason in enumerate(unusable) if reason is None and not self._present[row]
        ]
        self._readable = True

    def _unreadable(self, error: Exception) -> Finding:
        last = len(self._names) - 1
        return Finding(
            key=self._array.shard_key(self._shard),
            problem=f"rows 0 to {last}, {self._name(0)} to {self._name(last)}, cannot be read",
            expected="a whole shard",
            got=str(error),
        )

    def _uncomputable(self, row: int, error: Exception) -> None:
        """Count a row of damaged input as rightly absent; what else cannot be computed is wrong."""
        if isinstance(error, DataError | IntegrityError) and not self._present[row]:
            self._absent += 1
            return
        place = "is stored" if self._present[row] else "is absent"
        self._note(f"{place} and cannot be computed", row, "an input that gives it", str(error))

    def _compare(self, row: int, live: Float32, coded: Float32) -> None:
        if not self._present[row]:
            reason = self._reasons[row] or "no reason"
            self._note(_ABSENT, row, "features, which the teacher computes", reason)
            return
        try:
            number = self._shard * self._array.record.rows_per_shard + row
            stored = self._array.read([number])[0]
        except (SamdistillError, OSError) as error:
            self._note("cannot be read", row, "a whole row", str(error))
            return
        if not self._is_finite(row, stored, live):
            return
        values = (stored, live, coded)
        self._compared.append(compare_rows(self._array.feature, row, self._name(row), values))
        self._stored_ranges.add(stored)
        self._live_ranges.add(coded)
        self._signatures.add(row, stored, live)

    def _is_finite(self, row: int, stored: Float32, live: Float32) -> bool:
        wrong = np.argwhere(~np.isfinite(stored))
        if not len(wrong):
            return True
        self._not_finite += len(wrong)
        place = tuple(wrong[0].tolist())
        got = f"{len(wrong)} that are not, the first {stored[place]} at {list(place)}"
        self._note("is not finite", row, f"finite values, there {live[place]:.4g}", got)
        return False

    def _find_differing(self) -> None:
        for item in self._compared:
            apart = item.excess > self._noise.peak
            if apart or item.channel_excess > self._noise.channel:
                expected, got = self._difference(item, apart=apart)
                other = self._signatures.found_in(item.row)
                if other is not None:
                    got += f"; it holds row {other}, {self._name(other)}"
                self._note(_DIFFERS, item.row, expected, got)

    def _difference(self, item: RowComparison, *, apart: bool) -> tuple[str, str]:
        cosine = f"cosine {item.cosine:.6f}"
        if apart:
            within = f"within {self._noise.peak:.2g} of the row's largest value"
            return (
                f"{item.computed:.4g} at {list(item.place)}, {within}",
                f"{item.stored:.4g}; largest difference {item.excess:.2g}, {cosine}",
            )
        return (
            f"channel {item.channel} within {self._noise.channel:.2g} (rms)",
            f"{item.channel_excess:.2g}; {cosine}",
        )

    def _find_dead(self) -> None:
        """Report channels that are constant although the teacher's are not."""
        alive = self._live_ranges.spans > self._noise.peak * self._live_ranges.largest
        dead = np.flatnonzero((self._stored_ranges.spans == 0) & alive).tolist()
        if dead:
            first = self._compared[0]
            more = f" and {len(dead) - _LISTED} more" if len(dead) > _LISTED else ""
            listed = ", ".join(map(str, dead[:_LISTED]))
            span = float(self._live_ranges.spans[dead[0]])
            rows = f"{len(self._compared)} compared rows from row {first.row}, {first.name}, on"
            self._findings.append(
                Finding(
                    key=self._array.shard_key(self._shard),
                    problem=f"dead channels {listed}{more}: constant in {rows}",
                    expected=f"values that span {span:.4g} in channel {dead[0]}",
                )
            )

    def _note(self, problem: str, row: int, expected: str, got: str) -> None:
        self._noted.setdefault(problem, {})[row] = Finding(
            key=self._array.shard_key(self._shard),
            problem=f"row {row}, {self._name(row)}, {problem}",
            expected=expected,
            got=got,
        )

    def _name(self, row: int) -> str:
        """Return the key, phrase or object of a row."""
        named = self._names[row] if 0 <= row < len(self._names) else {}
        name = repr(named.get("key") or named.get("phrase", "beyond the last"))
        if "object_id" in named:
            name += f" object {named['object_id']}"
        return f"{name} {named['prompt']}" if "prompt" in named else name


def _first_of(noted: Mapping[int, Finding]) -> Finding:
    """Return the finding of the first row, which names the others with the same problem."""
    first, *others = sorted(noted)
    finding = noted[first]
    if not others:
        return finding
    listed = ", ".join(map(str, others[:_LISTED]))
    more = f" and {len(others) - _LISTED} more" if len(others) > _LISTED else ""
    return Finding(
        key=finding.key,
        problem=f"{finding.problem}, like rows {listed}{more}",
        expected=finding.expected,
        got=finding.got,
    )
