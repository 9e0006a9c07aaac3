"""A stage of caching: which arrays, by which teacher, filled how."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import torch

from pipelines.engine.work import UnitReport, WorkUnit
from pipelines.jobs.finish_split import Budget
from pipelines.jobs.turn import Turn
from pipelines.jobs.unit_writer import UnitWriter, open_unit
from pipelines.store.arrays import FeatureArray
from pipelines.store.commits import is_committed
from pipelines.store.splits import Split
from pipelines.teachers.base import Teacher, TeacherOptions
from pipelines.teachers.load import load_teacher
from schemas.features import TeacherSpec

_TORCH_THREADS = 1
"""Sums over several threads may depend on their number; more cores are used by more workers."""


class Source(Protocol):
    """Where features come from: a teacher that computes them, or what one has left behind."""

    @property
    def spec(self) -> TeacherSpec:
        """Whose features they are."""

    @property
    def device(self) -> torch.device:
        """Where they come into being."""


AnySource = TypeVar("AnySource", bound=Source)
TakenSource = TypeVar("TakenSource", bound=Source, contravariant=True)


class Encoder(Protocol[TakenSource]):
    """Makes the features of one shard. Frozen and picklable; it holds settings only."""

    def encode(self, teacher: TakenSource, split: Split, shard: int, writer: UnitWriter) -> None:
        """Put or quarantine every row that the writer misses.

        What is batched together must be a function of the shard alone: features depend on it in
        their last bits.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureStage(Generic[AnySource]):
    """Fills shards of the arrays of one split, all of the same unit in one pass."""

    name: str
    split: Split
    arrays: tuple[FeatureArray, ...]
    """At least one; all of the same teacher."""
    encoder: Encoder[AnySource]
    load: Callable[[], AnySource]
    """Returns the teacher, loaded once per process; see ``teacher_loader``."""
    budget: Budget = field(default_factory=Budget)
    turn: Turn = field(default_factory=Turn, repr=False, compare=False)
    """Of this process: its units overlap, and one at a time computes."""

    @property
    def units(self) -> list[WorkUnit]:
        """One unit for each shard of the arrays."""
        record = self.split.record
        return [
            WorkUnit(stage=self.name, dataset=record.dataset, split=record.split, shard=shard)
            for shard in range(self.arrays[0].record.shards)
        ]

    def is_committed(self, unit: WorkUnit) -> bool:
        """See ``Stage.is_committed``."""
        return all(is_committed(array.store, array.folder, unit.shard) for array in self.arrays)

    def run(self, unit: WorkUnit) -> UnitReport:
        """See ``Stage.run``."""
        teacher = self._teacher()
        begun = time.perf_counter()
        with open_unit(
            self.split, self.arrays, unit.shard, self.budget, teacher.device, self.turn
        ) as writer:
            self.encoder.encode(teacher, self.split, unit.shard, writer)
            writer.leave_turn()
            commits = writer.publish(self.split, unit.shard)
        return UnitReport(
            unit=unit,
            status="done",
            rows=max((commit.rows for commit in commits), default=0),
            quarantined=max((sum(commit.quarantined.values()) for commit in commits), default=0),
            bytes=sum(file.bytes for commit in commits for file in commit.files),
            seconds={
                **writer.busy.seconds,
                **_take_startup(),
                "wall": time.perf_counter() - begun,
            },
        )

    def _teacher(self) -> AnySource:
        torch.set_num_threads(_TORCH_THREADS)
        teacher = self.load()
        array = self.arrays[0]
        # The libraries of this process may differ from those of the process that planned.
        array.record.teacher.require_same(teacher.spec, f"{array.store.url}/{array.folder}")
        return teacher


def teacher_loader(name: str, options: TeacherOptions) -> Callable[[], Teacher]:
    """Return a picklable function that loads this teacher once per process."""
    return functools.partial(_loaded, name, options)


def forget_teachers() -> None:
    """Drop the teacher of this process, and with it the memory of its device."""
    _load_once.cache_clear()


_loading = threading.Lock()
"""Units that overlap ask for the teacher at once; it is loaded once."""
_startup: dict[str, float] = {}
"""What loading took, in seconds by step, until a report has told it."""


def _loaded(name: str, options: TeacherOptions) -> Teacher:
    with _loading:
        return _load_once(name, options)


@functools.lru_cache(maxsize=1)
def _load_once(name: str, options: TeacherOptions) -> Teacher:
    begun = time.perf_counter()
    teacher = load_teacher(name, options)
    _startup["load"] = time.perf_counter() - begun
    if options.compile:
        _startup["warm_up"] = _warm_up(teacher, options.image_batch)
    return teacher


def _warm_up(teacher: Teacher, batch: int) -> float:
    """Compile for full batches; return the seconds that it took."""
    torch.set_num_threads(_TORCH_THREADS)
    size = teacher.spec.preprocess.image_size
    begun = time.perf_counter()
    teacher.encode_images(torch.zeros((batch, 3, size, size), dtype=torch.uint8))
    return time.perf_counter() - begun


def _take_startup() -> dict[str, float]:
    with _loading:
        told = dict(_startup)
        _startup.clear()
        return told
