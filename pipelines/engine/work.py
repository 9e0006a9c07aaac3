"""What the engine is about: units of work, stages that do them, reports of what happened."""

from __future__ import annotations

import contextlib
from typing import Literal, Protocol

import msgspec

FailureKind = Literal["code", "data", "infrastructure", "storage"]


class WorkUnit(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One shard of one product: the smallest thing that is done, retried or lost."""

    stage: str
    dataset: str
    split: str
    shard: int

    @property
    def id(self) -> str:
        """``stage/dataset/split/shard``, for people and logs."""
        return f"{self.stage}/{self.dataset}/{self.split}/{self.shard:05d}"


class UnitReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one unit did. It travels to the driver, so it holds counts and never data.

    A stage that has more to say to its own listener returns a subclass.
    """

    unit: WorkUnit
    status: Literal["done", "skipped"]
    """``skipped``: another process had completed it."""
    rows: int = 0
    quarantined: int = 0
    bytes: int = 0
    """Bytes of published files."""
    seconds: dict[str, float] = {}
    """Busy time by step, for example decode, forward, write; waiting, as ``wait_decode``; ``wall``.

    ``turn`` is the time in which the unit had the device, ``gap`` the time before it in which no
    unit had.
    """


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A unit that was given up."""

    unit: WorkUnit
    kind: FailureKind
    """``code``: it raised, each time; ``data``: its input cannot be used, which no second attempt
    would change; ``infrastructure``: its process was lost too often; ``storage``: the root refused
    to take it, which ends the run."""
    error: str
    """One line."""
    error_type: str = ""
    """The name of its class; empty when a process was lost."""
    trace: str = ""
    attempts: int = 1


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did over all its units."""

    reports: tuple[UnitReport, ...]
    failures: tuple[Failure, ...]
    lost_workers: int
    """Processes that died and were replaced."""
    seconds: float

    @property
    def done(self) -> int:
        """Units that this run completed."""
        return sum(report.status == "done" for report in self.reports)

    @property
    def skipped(self) -> int:
        """Units that were complete before."""
        return sum(report.status == "skipped" for report in self.reports)

    @property
    def device_busy(self) -> float:
        """Share of the time from the first to the last forward pass in which devices computed."""
        return self.total("forward") / max(self.total("turn") + self.total("gap"), 1e-9)

    def total(self, step: str) -> float:
        """Return the busy seconds of one step, over all units and workers."""
        return sum(report.seconds.get(step, 0.0) for report in self.reports)


class Stage(Protocol):
    """Knows how to complete units of one kind. Must survive being killed anywhere.

    A stage is picklable and cheap to make; it loads what is heavy (a teacher) in its first ``run``.
    """

    @property
    def name(self) -> str:
        """For example ``image``; the ``stage`` of its units."""
        ...

    def is_committed(self, unit: WorkUnit) -> bool:
        """Say whether the unit is complete, from the store alone."""
        ...

    def run(self, unit: WorkUnit) -> UnitReport:
        """Complete the unit. Any number of processes may do the same unit at once."""
        ...


class Listener(Protocol):
    """Hears of a run's progress, in the driver."""

    def unit_finished(self, report: UnitReport) -> None:
        """Record that a unit is complete, by this run or before it."""
        ...

    def unit_failed(self, failure: Failure) -> None:
        """Record that a unit was given up."""
        ...


class Leases(Protocol):
    """Who works on what, where several drivers share one root.

    A lease saves work, no more: two drivers that do the same unit at once end with the same shard.
    """

    def acquire(self, unit: WorkUnit) -> bool:
        """Reserve a unit for this driver, or return False: another that is alive has it."""
        ...

    def release(self, unit: WorkUnit) -> None:
        """Give the unit free, complete or not."""
        ...


class Executor(Protocol):
    """Runs units through a stage."""

    def session(self) -> contextlib.AbstractContextManager[None]:
        """Keep what runs need (a Ray runtime) for all runs of the block; each can do without."""
        ...

    def run(
        self,
        stage: Stage,
        units: list[WorkUnit],
        listener: Listener,
        leases: Leases | None = None,
    ) -> RunReport:
        """Complete all units that can be completed; never raises for a unit that fails."""
        ...
