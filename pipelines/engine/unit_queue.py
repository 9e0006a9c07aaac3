"""The driver's book of a run: which units wait, which are out, which are settled, and how."""

from __future__ import annotations

import threading
from collections import Counter, deque

import msgspec

from pipelines.engine.work import Failure, Leases, Listener, RunReport, UnitReport, WorkUnit


class UnitQueue:
    """Gives each unit out until it is settled; a unit is out at most once at any time.

    Losing a process says little about the unit that it ran: one node that dies can cost two
    attempts. So losses and failures have budgets of their own. Safe to use from several threads.

    Parameters
    ----------
    leases
        Asked before a unit is given out; one that another driver works on waits until it is free.
    max_attempts
        How often a unit may raise before it is given up.
    max_losses
        How often the process of a unit may be lost before the unit is given up.
    """

    def __init__(
        self,
        units: list[WorkUnit],
        listener: Listener,
        *,
        max_attempts: int,
        max_losses: int,
        leases: Leases | None = None,
    ) -> None:
        self._waiting, self._out = deque(units), set[WorkUnit]()
        self._leases = leases
        self._lock = threading.RLock()
        self._ended = False
        self._attempts, self._losses = Counter[WorkUnit](), Counter[WorkUnit]()
        self._reports: list[UnitReport] = []
        self._failures: list[Failure] = []
        self._listener = listener
        self._max_attempts, self._max_losses = max_attempts, max_losses

    @property
    def unsettled(self) -> int:
        """Units that wait or are out; 0 ends the run."""
        return len(self._waiting) + len(self._out)

    @property
    def waiting(self) -> int:
        """Units that wait."""
        return len(self._waiting)

    def take(self, *, proven: bool = False) -> WorkUnit | None:
        """Return the next unit, or None when there is none to be had now.

        Parameters
        ----------
        proven
            Only a unit that has cost no process yet: it may share one with others.
        """
        with self._lock:
            for _ in range(len(self._waiting)):
                unit = self._waiting.popleft()
                if (proven and self._losses[unit]) or not self._acquire(unit):
                    self._waiting.append(unit)
                    continue
                self._out.add(unit)
                return unit
            return None

    def lost_before(self, unit: WorkUnit) -> bool:
        """Say whether a process was lost with this unit in it."""
        return self._losses[unit] > 0

    def settle(self, unit: WorkUnit, outcome: UnitReport | Failure) -> None:
        """Record what became of a unit; one that raised waits again while it has attempts left."""
        with self._lock:
            self._release(unit)
            if not self._ended or isinstance(outcome, UnitReport):
                self._settle(unit, outcome)

    def _settle(self, unit: WorkUnit, outcome: UnitReport | Failure) -> None:
        if isinstance(outcome, UnitReport):
            self._reports.append(outcome)
            self._listener.unit_finished(outcome)
            return
        self._attempts[unit] += 1
        if outcome.kind == "code" and self._attempts[unit] < self._max_attempts:
            self._waiting.append(unit)
            return
        self._give_up(outcome)
        if outcome.kind == "storage":
            self._end()

    def lose(self, unit: WorkUnit, error: str) -> None:
        """Record that the process of a unit is gone; the unit waits again, up to the budget."""
        with self._lock:
            self._release(unit)
            self._losses[unit] += 1
            if self._losses[unit] < self._max_losses:
                self._waiting.append(unit)
            else:
                self._give_up(Failure(unit=unit, kind="infrastructure", error=error))

    def abandon(self, error: str) -> None:
        """Give up all units that wait: no process can be started to run them."""
        while self._waiting:
            unit = self._waiting.popleft()
            self._give_up(Failure(unit=unit, kind="infrastructure", error=error))

    def report(self, *, lost_workers: int, seconds: float) -> RunReport:
        """Return the account of the run."""
        return RunReport(
            reports=tuple(self._reports),
            failures=tuple(self._failures),
            lost_workers=lost_workers,
            seconds=seconds,
        )

    def _give_up(self, failure: Failure) -> None:
        attempts = self._attempts[failure.unit] + self._losses[failure.unit]
        failure = msgspec.structs.replace(failure, attempts=attempts)
        self._failures.append(failure)
        self._listener.unit_failed(failure)

    def _acquire(self, unit: WorkUnit) -> bool:
        return self._leases is None or self._leases.acquire(unit)

    def _release(self, unit: WorkUnit) -> None:
        self._out.discard(unit)
        if self._leases is not None:
            self._leases.release(unit)

    def _end(self) -> None:
        """Forget the rest: it would meet the same refusal, and the same command goes on later."""
        self._ended = True
        self._waiting.clear()
        for unit in tuple(self._out):
            self._release(unit)
