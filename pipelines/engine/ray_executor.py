"""Runs units on Ray: plain actors, and a queue in the driver. The only module that imports ray.

Ray restarts and retries nothing here. A retry by Ray is invisible and has no end when a unit kills
its process; the driver counts losses and failures itself, and replaces what was lost.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import ray
from ray.exceptions import RayError, RayTaskError

from pipelines.engine.executor import MAX_ATTEMPTS, MAX_LOSSES, one_line, run_unit
from pipelines.engine.pulse import PULSE
from pipelines.engine.scratch import ScratchFolder
from pipelines.engine.unit_queue import UnitQueue
from pipelines.engine.work import (
    Failure,
    Leases,
    Listener,
    RunReport,
    Stage,
    UnitReport,
    WorkUnit,
)

_OBJECT_STORE_BYTES = 80 << 20
"""Only units and reports pass through it; the actor that computes a shard writes it."""
_POLL_SECONDS = 0.5
_WATCH_SECONDS = 10.0

_LOCAL_TOKEN = secrets.token_hex(32)
"""One for all runtimes of this process, because Ray reads its token only once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayExecutor:
    """Runs units in ``workers`` actors.

    With an ``address`` (or RAY_ADDRESS) they run on that cluster, which must have this project
    installed and see the same root; otherwise on a runtime of this machine that ends with the run.
    """

    workers: int = 1
    cpus_per_worker: float = 1
    gpus_per_worker: float = 0
    """A fraction puts several workers on one GPU."""
    address: str | None = None
    overlap: int = 1
    """Units at a time in each actor; see ``LocalExecutor.overlap``. A death loses all of them."""
    stall_seconds: float | None = None
    """An actor that finishes no step for so long, be it of loading or computing, is replaced.
    None: never; only for stages whose steps are counted (``engine.pulse``)."""
    max_attempts: int = MAX_ATTEMPTS
    max_losses: int = MAX_LOSSES

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
            units,
            listener,
            max_attempts=self.max_attempts,
            max_losses=self.max_losses,
            leases=leases,
        )
        lost = 0
        if units:
            with self.session(), _Pool(self, stage, queue) as pool:
                pool.drain()
                lost = pool.lost
        return queue.report(lost_workers=lost, seconds=time.perf_counter() - begun)

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Connect to a running Ray, or run one for the time of the block; see ``Executor``."""
        if ray.is_initialized():
            yield
            return
        address = self.address or os.environ.get("RAY_ADDRESS")
        if not address:
            with local_runtime(max(1, round(self.workers * self.cpus_per_worker))):
                yield
            return
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error")
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def local_runtime(cpus: int) -> Iterator[None]:
    """Run a Ray of this machine for the time of the block; it leaves no files and no processes."""
    with _local_environment(), _short_folder() as folder:
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="error",
                _temp_dir=folder,
            )
            yield
        finally:
            ray.shutdown()


class _Worker:
    """Lives in an actor; keeps its stage, and with it the teacher, from unit to unit."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def ready(self) -> None:
        """Return once the actor has a place to run."""

    def steps(self) -> int:
        """Return how many steps this process has finished."""
        return PULSE.steps

    def run(self, unit: WorkUnit) -> UnitReport | Failure:
        return run_unit(self._stage, unit)


@dataclass(slots=True, eq=False)
class _Actor:
    """What the driver knows of an actor."""

    handle: Any
    calls: dict[Any, WorkUnit | None]
    """What it does now: units, or (None) starting."""
    asking: Any = None
    """The question for its steps that it has not answered yet."""
    steps: int = -1
    steps_before: int = -1
    silent: float = 0.0
    """Seconds without a new step."""
    spoiled: bool = False

    @property
    def starting(self) -> bool:
        return None in self.calls.values()


class _Pool:
    """The actors of one run: starts, feeds, watches and replaces them."""

    def __init__(self, executor: RayExecutor, stage: Stage, queue: UnitQueue) -> None:
        self.lost = 0
        self._executor, self._queue = executor, queue
        self._failed_starts = 0
        self._stage = ray.put(stage)
        self._actor_class = ray.remote(
            num_cpus=executor.cpus_per_worker,
            num_gpus=executor.gpus_per_worker,
            max_restarts=0,
            max_task_retries=0,
            # One more, to answer while all others work.
            max_concurrency=executor.overlap + 1,
        )(_Worker)
        self._actors: list[_Actor] = []
        self._watched = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for actor in self._actors:
            _kill(actor.handle)

    def drain(self) -> None:
        """Work until every unit is settled."""
        while self._queue.unsettled:
            self._start_actors()
            self._feed_actors()
            calls = {call: actor for actor in self._actors for call in actor.calls}
            asked = {actor.asking: actor for actor in self._actors if actor.asking is not None}
            if not calls:
                # Others have what is left.
                time.sleep(_POLL_SECONDS)
                continue
            done, _ = ray.wait([*calls, *asked], num_returns=1, timeout=_POLL_SECONDS)
            for reference in done:
                if reference in asked:
                    self._hear(asked[reference], reference)
                else:
                    self._settle(calls[reference], reference)
            self._watch()

    def _start_actors(self) -> None:
        """Start as many as there is work for."""
        working = sum(bool(actor.calls) and not actor.starting for actor in self._actors)
        wanted = min(self._executor.workers, working + self._queue.waiting)
        while len(self._actors) < wanted:
            handle = self._actor_class.remote(self._stage)
            # It gets no unit before it runs: where resources are short, it may wait until another
            # is done, and the unit would wait with it.
            self._actors.append(_Actor(handle, {handle.ready.remote(): None}))

    def _feed_actors(self) -> None:
        for actor in list(self._actors):
            while not actor.spoiled and not actor.starting and self._has_room(actor):
                # A unit that has cost a process runs alone: it must not take another along.
                unit = self._queue.take(proven=bool(actor.calls))
                if unit is None:
                    break
                actor.calls[actor.handle.run.remote(unit)] = unit
            if not actor.calls and (actor.spoiled or not self._queue.waiting):
                self._end(actor)

    def _has_room(self, actor: _Actor) -> bool:
        if not actor.calls:
            return True
        hungry = sum(not other.calls or other.starting for other in self._actors)
        alone = any(self._queue.lost_before(unit) for unit in actor.calls.values() if unit)
        return (
            len(actor.calls) < self._executor.overlap and not alone and self._queue.waiting > hungry
        )

    def _settle(self, actor: _Actor, reference: Any) -> None:  # noqa: ANN401  ray has no types
        unit = actor.calls[reference]
        try:
            outcome = ray.get(reference)
        except RayTaskError as error:
            outcome = _escaped(unit, error)
        except RayError as error:
            self._replace(actor, one_line(error))
            return
        del actor.calls[reference]
        actor.silent = 0.0
        if unit is None:
            self._failed_starts = 0
        else:
            self._queue.settle(unit, outcome)
        # After an unforeseen error the next attempt gets a fresh process: what failed may be the
        # process itself, as a CUDA context is after an illegal access.
        actor.spoiled |= isinstance(outcome, Failure) and outcome.kind == "code"

    def _replace(self, actor: _Actor, error: str) -> None:
        """Count a loss. An actor that is merely unreachable may still run: end it."""
        self._end(actor)
        units = [unit for unit in actor.calls.values() if unit is not None]
        for unit in units:
            self._queue.lose(unit, error)
        if units:
            self.lost += 1
            return
        self._failed_starts += 1
        working = any(other.calls and not other.starting for other in self._actors)
        # One bad node must not end what others can do.
        if self._failed_starts >= self._executor.max_losses and not working:
            self._queue.abandon(f"no worker can be started: {error}")

    def _end(self, actor: _Actor) -> None:
        self._actors.remove(actor)
        _kill(actor.handle)

    def _watch(self) -> None:
        """Ask every busy actor for its steps, and replace those that have made none for long."""
        limit = self._executor.stall_seconds
        if limit is None:
            return
        interval = min(limit / 4, _WATCH_SECONDS)
        # No more than two intervals: if this process itself was stopped, nobody else is to blame.
        passed = min(time.monotonic() - self._watched, 2 * interval)
        if passed < interval:
            return
        self._watched = time.monotonic()
        for actor in list(self._actors):
            if not actor.calls or actor.starting:
                continue
            actor.silent = 0.0 if actor.steps != actor.steps_before else actor.silent + passed
            actor.steps_before = actor.steps
            if actor.silent >= limit:
                self._replace(actor, f"no step in {actor.silent:.0f} s: the process hangs")
            elif actor.asking is None:
                actor.asking = actor.handle.steps.remote()

    def _hear(self, actor: _Actor, reference: Any) -> None:  # noqa: ANN401
        actor.asking = None
        # A lost actor is found by its units.
        with contextlib.suppress(RayError):
            actor.steps = ray.get(reference)


def _escaped(unit: WorkUnit | None, error: RayTaskError) -> Failure | None:
    """Return the failure of what ``run_unit`` does not catch, such as an unreadable argument."""
    if unit is None:
        return None
    return Failure(unit=unit, kind="code", error=one_line(error.cause), trace=str(error))


def _kill(handle: Any) -> None:  # noqa: ANN401
    with contextlib.suppress(RayError):
        ray.kill(handle)


@contextlib.contextmanager
def _local_environment() -> Iterator[None]:
    """Set, for the processes of a local runtime, what the user has not set.

    Without a token Ray would write one, readable for all, into the home folder.
    """
    before = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
    if "RAY_AUTH_TOKEN_PATH" not in before:
        os.environ.setdefault("RAY_AUTH_TOKEN", _LOCAL_TOKEN)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("RAY_")]:
            del os.environ[name]
        os.environ.update(before)


@contextlib.contextmanager
def _short_folder() -> Iterator[str]:
    """Give Ray a folder of its own: short, because socket paths end at 107 bytes, and removed."""
    if chosen := os.environ.get("RAY_TMPDIR"):
        yield chosen
        return
    with ScratchFolder("ray", short=True) as scratch:
        yield str(scratch.path)
