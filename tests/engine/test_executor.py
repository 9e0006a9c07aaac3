from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from pipelines.engine.executor import LocalExecutor, Slice
from pipelines.engine.pulse import PULSE
from pipelines.engine.work import Executor, UnitReport, WorkUnit
from schemas.errors import UsageError
from tests.contracts.executor_contract import ExecutorContract
from tests.engine.stages import Heard, MarkStage, make_units


class TestLocalExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self) -> Executor:
        return LocalExecutor()


class TestOverlappingLocalExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self) -> Executor:
        return LocalExecutor(overlap=2)


@pytest.mark.parametrize("overlap", [1, 2])
def test_an_interrupt_goes_through(tmp_path: Path, overlap: int) -> None:
    class Interrupted(MarkStage):
        def is_committed(self, unit: object) -> bool:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LocalExecutor(overlap=overlap).run(Interrupted(tmp_path), make_units(2), Heard())


def test_an_interrupt_ends_the_units_of_other_threads(tmp_path: Path) -> None:
    working, ended = threading.Event(), threading.Event()

    class Interrupted(MarkStage):
        def run(self, unit: WorkUnit) -> UnitReport:
            if unit.shard == 0:
                assert working.wait(30)
                raise KeyboardInterrupt
            working.set()
            try:
                while True:
                    PULSE.beat()
                    time.sleep(0.01)
            finally:
                ended.set()

    with pytest.raises(KeyboardInterrupt):
        LocalExecutor(overlap=2).run(Interrupted(tmp_path), make_units(2), Heard())
    assert ended.is_set()
    assert not PULSE.stopping


def test_an_interrupt_ends_a_thread_that_waits_for_the_last_unit(tmp_path: Path) -> None:
    class Interrupted(MarkStage):
        def run(self, unit: WorkUnit) -> UnitReport:
            raise KeyboardInterrupt

    ended: list[BaseException] = []

    def run() -> None:
        try:
            LocalExecutor(overlap=2).run(Interrupted(tmp_path), make_units(1), Heard())
        except KeyboardInterrupt as interrupt:
            ended.append(interrupt)

    driver = threading.Thread(target=run, daemon=True)
    driver.start()
    driver.join(30)
    assert len(ended) == 1


def test_overlapping_units_run_at_the_same_time(tmp_path: Path) -> None:
    meeting = threading.Barrier(2, timeout=30)

    class Meeting(MarkStage):
        def run(self, unit: WorkUnit) -> UnitReport:
            meeting.wait()
            return super().run(unit)

    report = LocalExecutor(overlap=2).run(Meeting(tmp_path), make_units(4), Heard())
    assert (report.done, report.failures) == (4, ())


def test_slices_part_the_units() -> None:
    units = make_units(11)
    parts = [Slice.parse(f"{index}/4").of(units) for index in range(4)]
    assert sorted(unit for part in parts for unit in part) == units
    assert [len(part) for part in parts] == [3, 3, 3, 2]


def test_the_default_slice_is_everything() -> None:
    assert Slice().of(make_units(3)) == make_units(3)


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "a/b", "0/0", "1/2/3", "1.0/2"])
def test_bad_slices_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="i/n"):
        Slice.parse(text)
