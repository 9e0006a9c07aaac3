"""Running a unit, and running many in this process. ``ray_executor`` runs many in others."""

from __future__ import annotations

import contextlib
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from pipelines.engine.pulse import PULSE
from pipelines.engine.unit_queue import UnitQueue
from pipelines.engine.work import (
    Failure,
    FailureKind,
    Leases,
    Listener,
    RunReport,
    Stage,
    UnitReport,
    WorkUnit,
)
from schemas.errors import SamdistillError, StorageError, UsageError

MAX_ATTEMPTS = 3
MAX_LOSSES = 10
_RETRY_SECONDS = 0.1


def run_unit(stage: Stage, unit: WorkUnit) -> UnitReport | Failure:
    """Complete a unit, or say why not. The one body of all executors; it never raises.

    An error that we raise on purpose is about the input and would come again; any other is worth
    another attempt.
    """
    PULSE.beat()
    try:
        if stage.is_committed(unit):
            return UnitReport(unit=unit, status="skipped")
        return stage.run(unit)
    except SamdistillError as error:
        kind: FailureKind = "storage" if isinstance(error, StorageError) else "data"
        name = type(error).__name__
        return Failure(unit=unit, kind=kind, error=one_line(error), error_type=name)
    except Exception as error:
        name, trace = type(error).__name__, traceback.format_exc()
        text = f"{name}: {one_line(error)}"
        return Failure(unit=unit, kind="code", error=text, error_type=name, trace=trace)


def one_line(error: object) -> str:
    """Return the text of an error without line breaks, cut to a length that a table can show."""
    return " ".join(str(error).split())[:500]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One of ``count`` equal parts of a list of units: what one task of a Slurm array does."""

    index: int = 0
    """From 0."""
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``i/n``, for example ``0/8`` to ``7/8``."""
        index, slash, count = text.partition("/")
        if slash and index.isdecimal() and count.isdecimal() and int(index) < int(count):
            return cls(index=int(index), count=int(count))
        raise UsageError(f"slice {text!r}", expected="i/n with 0 <= i < n, for example 0/8")

    def of(self, units: list[WorkUnit]) -> list[WorkUnit]:
        """Return this part: every ``count``-th unit, so that the parts are of nearly equal size."""
        return units[self.index :: self.count]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalExecutor:
    """Runs units in this process."""

    overlap: int = 1
    """Units at a time, for stages that read ahead for one unit while they compute another and
    write a third."""

    def session(self) -> contextlib.AbstractContextManager[None]:
        """See ``Executor.session``: there is nothing to keep."""
        return contextlib.nullcontext()

    def run(
        self,
        stage: Stage,
        units: list[WorkUnit],
        listener: Listener,
        leases: Leases | None = None,
    ) -> RunReport:
        """See ``Executor.run``."""
        begun = time.perf_counter()
        queue = UnitQueue(
            units, listener, max_attempts=MAX_ATTEMPTS, max_losses=MAX_LOSSES, leases=leases
        )
        if self.overlap == 1:
            _work(stage, queue)
        else:
            _work_in_threads(stage, queue, self.overlap)
        return queue.report(lost_workers=0, seconds=time.perf_counter() - begun)


def _work(stage: Stage, queue: UnitQueue) -> None:
    """Work until every unit is settled."""
    while queue.unsettled:
        unit = queue.take()
        if unit is None:
            # Another thread or another driver has what is left, and may fail to complete it. A
            # thread that was interrupted has left its unit unsettled for good.
            PULSE.check()
            time.sleep(_RETRY_SECONDS)
        else:
            queue.settle(unit, run_unit(stage, unit))


def _work_in_threads(stage: Stage, queue: UnitQueue, threads: int) -> None:
    """Do the same in threads; an interrupt ends them at the next step of their units."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="units")
    try:
        for work in [pool.submit(_work, stage, queue) for _ in range(threads)]:
            work.result()
    except BaseException:
        PULSE.stopping = True
        raise
    finally:
        pool.shutdown()
        PULSE.stopping = False
