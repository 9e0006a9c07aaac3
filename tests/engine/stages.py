"""Small stages, real in all but their work: they commit marker files, and misbehave on demand."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.engine.work import Failure, UnitReport, WorkUnit
from schemas.errors import DataError, StorageError


def make_units(count: int) -> list[WorkUnit]:
    return [WorkUnit(stage="mark", dataset="d", split="s", shard=shard) for shard in range(count)]


@dataclass(frozen=True)
class MarkStage:
    """Leaves the file ``done-K`` for unit K, and ``attempt-K-I`` for its I-th attempt."""

    folder: Path
    raise_always: frozenset[int] = frozenset()
    raise_once: frozenset[int] = frozenset()
    bad_data: frozenset[int] = frozenset()
    refuse: frozenset[int] = frozenset()
    die_once: frozenset[int] = frozenset()
    die_always: frozenset[int] = frozenset()
    hang_once: frozenset[int] = frozenset()
    stop_once: frozenset[int] = frozenset()
    seconds: float = 0.0
    name: str = field(default="mark")

    def is_committed(self, unit: WorkUnit) -> bool:
        return (self.folder / f"done-{unit.shard}").exists()

    def run(self, unit: WorkUnit) -> UnitReport:
        attempt = self._count_attempt(unit.shard)
        time.sleep(self.seconds)
        self._misbehave(unit.shard, attempt)
        (self.folder / f"done-{unit.shard}").touch(exist_ok=False)
        return UnitReport(unit=unit, status="done", rows=1, seconds={"wall": self.seconds})

    def attempts(self, shard: int) -> int:
        return len(list(self.folder.glob(f"attempt-{shard}-*")))

    def pids(self) -> list[int]:
        return [int(path.read_text() or 0) for path in sorted(self.folder.glob("attempt-*"))]

    def done(self) -> set[int]:
        return {int(path.name.partition("-")[2]) for path in self.folder.glob("done-*")}

    def _count_attempt(self, shard: int) -> int:
        attempt = self.attempts(shard)
        (self.folder / f"attempt-{shard}-{attempt}").write_text(str(os.getpid()))
        return attempt

    def _misbehave(self, shard: int, attempt: int) -> None:
        if shard in self.die_always or (shard in self.die_once and attempt == 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if shard in self.stop_once and attempt == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
            # The thread that sends the signal may go on for a moment.
            threading.Event().wait()
        if shard in self.hang_once and attempt == 0:
            threading.Event().wait()
        if shard in self.raise_always or (shard in self.raise_once and attempt == 0):
            raise RuntimeError(f"unit {shard}\nattempt {attempt}")
        if shard in self.bad_data:
            raise DataError(f"unit {shard} is damaged")
        if shard in self.refuse:
            raise StorageError("disk full")


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.finished: list[UnitReport] = []
        self.failed: list[Failure] = []

    def unit_finished(self, report: UnitReport) -> None:
        self.finished.append(report)

    def unit_failed(self, failure: Failure) -> None:
        self.failed.append(failure)

    @property
    def shards(self) -> list[int]:
        units = [item.unit for item in self.finished] + [item.unit for item in self.failed]
        return sorted(unit.shard for unit in units)
