"""Counts what a run has done so far, and estimates what is left. Prints nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

from pipelines.engine.work import Failure, UnitReport


class Progress:
    """A ``Listener`` that keeps the sums a progress bar shows.

    Parameters
    ----------
    units
        How many units the run has.
    clock
        Seconds that only grow.
    """

    def __init__(self, units: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.units = units
        self.done = self.skipped = self.rows = self.quarantined = self.bytes = 0
        self.failures: list[Failure] = []
        self._clock, self._begun = clock, clock()

    def unit_finished(self, report: UnitReport) -> None:
        """See ``Listener.unit_finished``."""
        if report.status == "skipped":
            self.skipped += 1
            return
        self.done += 1
        self.rows += report.rows
        self.quarantined += report.quarantined
        self.bytes += report.bytes

    def unit_failed(self, failure: Failure) -> None:
        """See ``Listener.unit_failed``."""
        self.failures.append(failure)

    @property
    def settled(self) -> int:
        """Units that need no more work in this run."""
        return self.done + self.skipped + len(self.failures)

    @property
    def seconds(self) -> float:
        """Time since the run began."""
        return self._clock() - self._begun

    @property
    def rows_per_second(self) -> float:
        """Rows that this run has completed per second of its time."""
        return self.rows / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Time for the units that are left, at the pace so far; None before the first is done."""
        if not self.done:
            return None
        return self.seconds / self.done * (self.units - self.settled)
