"""Runs units on Ray: plain actors, and a queue in the driver. The only module that imports ray.

Ray restarts and retries nothing here. A retry by Ray is invisible and has no end when a unit kills
its process; the driver counts losses and failures itself, and replaces what was lost.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import ray
from ray.exceptions import RayError, RayTaskError

from pipelines.engine.executor import MAX_ATTEMPTS, MAX_LOSSES, one_line, run_unit
from pipelines.engine.unit_queue import UnitQueue
from pipelines.engine.work import Failure, Listener, RunReport, Stage, UnitReport, WorkUnit

_OBJECT_STORE_BYTES = 80 << 20
"""Only units and reports pass through it; the actor that computes a shard writes it."""
_POLL_SECONDS = 0.5

_LOCAL_TOKEN = secrets.token_hex(32)
"""One for all runtimes of this process, because Ray reads its token only once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayExecutor:
    """Runs units in ``workers`` actors, one unit at a time in each.

    With an ``address`` (or RAY_ADDRESS) they run on that cluster, which must have this project
    installed and see the same root; otherwise on a runtime of this machine that ends with the run.
    """

    workers: int = 1
    cpus_per_worker: float = 1
    gpus_per_worker: float = 0
    """A fraction puts several workers on one GPU."""
    address: str | None = None
    max_attempts: int = MAX_ATTEMPTS
    max_losses: int = MAX_LOSSES

    def run(self, stage: Stage, units: list[WorkUnit], listener: Listener) -> RunReport:
        """See ``Executor.run``."""
        begun = time.perf_counter()
        queue = UnitQueue(
            units, listener, max_attempts=self.max_attempts, max_losses=self.max_losses
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

    def run(self, unit: WorkUnit) -> UnitReport | Failure:
        return run_unit(self._stage, unit)


@dataclass(frozen=True, slots=True)
class _Call:
    """What an actor does now: a unit, or (None) starting."""

    actor: Any
    unit: WorkUnit | None


class _Pool:
    """The actors of one run. Each has one call in flight, so that a loss costs one unit."""

    def __init__(self, executor: RayExecutor, stage: Stage, queue: UnitQueue) -> None:
        self.lost = 0
        self._queue, self._workers = queue, executor.workers
        self._max_failed_starts = executor.max_losses
        self._failed_starts = 0
        self._stage = ray.put(stage)
        self._actor_class = ray.remote(
            num_cpus=executor.cpus_per_worker,
            num_gpus=executor.gpus_per_worker,
            max_restarts=0,
            max_task_retries=0,
        )(_Worker)
        self._calls: dict[Any, _Call] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for call in self._calls.values():
            _kill(call.actor)

    def drain(self) -> None:
        """Work until every unit is settled."""
        while self._queue.unsettled:
            # A new actor gets no unit before it runs: where resources are short, it may wait
            # until another is done, and the unit would wait with it.
            while len(self._calls) < min(self._workers, self._queue.unsettled):
                actor = self._actor_class.remote(self._stage)
                self._calls[actor.ready.remote()] = _Call(actor, None)
            done, _ = ray.wait(list(self._calls), num_returns=1, timeout=_POLL_SECONDS)
            for reference in done:
                self._settle(reference, self._calls.pop(reference))

    def _settle(self, reference: Any, call: _Call) -> None:  # noqa: ANN401  ray has no types
        try:
            outcome = ray.get(reference)
        except RayTaskError as error:
            outcome = _escaped(call, error)
        except RayError as error:
            self._replace(call, error)
            return
        if call.unit is None:
            self._failed_starts = 0
        else:
            self._queue.settle(call.unit, outcome)
        self._feed(call.actor, outcome)

    def _feed(self, actor: Any, outcome: UnitReport | Failure | None) -> None:  # noqa: ANN401
        """Give the actor its next unit, or end it.

        After an unforeseen error the next attempt gets a fresh process: what failed may be the
        process itself, as a CUDA context is after an illegal access.
        """
        spoiled = isinstance(outcome, Failure) and outcome.kind == "code"
        unit = None if spoiled else self._queue.take()
        if unit is None:
            _kill(actor)
        else:
            self._calls[actor.run.remote(unit)] = _Call(actor, unit)

    def _replace(self, call: _Call, error: RayError) -> None:
        """Count a loss. An actor that is merely unreachable may still run: end it."""
        _kill(call.actor)
        if call.unit is not None:
            self.lost += 1
            self._queue.lose(call.unit, one_line(error))
            return
        self._failed_starts += 1
        working = any(call.unit is not None for call in self._calls.values())
        # One bad node must not end what others can do.
        if self._failed_starts >= self._max_failed_starts and not working:
            self._queue.abandon(f"no worker can be started: {one_line(error)}")


def _escaped(call: _Call, error: RayTaskError) -> Failure | None:
    """Return the failure of what ``run_unit`` does not catch, such as an unreadable argument."""
    if call.unit is None:
        return None
    return Failure(unit=call.unit, kind="code", error=one_line(error.cause), trace=str(error))


def _kill(actor: Any) -> None:  # noqa: ANN401
    with contextlib.suppress(RayError):
        ray.kill(actor)


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
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp" if Path("/tmp").is_dir() else None)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
