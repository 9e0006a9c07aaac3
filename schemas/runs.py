"""Records of drivers: what runs on a root now, and how earlier runs ended.

They describe; no product depends on them, and no manifest names them.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class RunFailure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A unit that a run gave up."""

    unit: str
    kind: str
    error: str


class StageProgress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a run has come with one stage."""

    title: str
    """``dataset/split stage``."""
    arrays: tuple[str, ...]
    """Folders of the arrays that it fills."""
    units: int
    done: int = 0
    skipped: int = 0
    """Completed by others meanwhile."""
    rows: int = 0
    quarantined: int = 0
    bytes: int = 0
    seconds: float = 0.0
    failures: tuple[RunFailure, ...] = ()
    """The last ones."""
    failed: int = 0

    @property
    def rows_per_second(self) -> float:
        """Pace since the stage began."""
        return self.rows / self.seconds if self.seconds else 0.0


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One driver, as it was at its last beat. Times are seconds since 1970, UTC."""

    schema_version: Literal[1] = 1
    run: str
    """Sorts by the time of the start."""
    host: str
    process: str
    """Names the process on its host for ever: boot, process id and start time."""
    workers: int
    begun: float
    beat: float
    ended: bool = False
    stages: tuple[StageProgress, ...] = ()


class LeaseRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which run works on a unit. It is valid as long as that run beats."""

    schema_version: Literal[1] = 1
    run: str
    unit: str
