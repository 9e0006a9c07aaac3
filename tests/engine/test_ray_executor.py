from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.ray_executor import RayExecutor, local_runtime
from pipelines.engine.work import Executor, RunReport
from tests.contracts.executor_contract import ExecutorContract
from tests.engine.stages import Heard, MarkStage, make_units

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def _runtime() -> Iterator[None]:
    with local_runtime(2):
        yield


def _settled(report: RunReport) -> int:
    """Count units done. A process that dies may take the report of the unit before along: that one
    is given out again, and found done."""
    return report.done + report.skipped


class TestRayExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self) -> Executor:
        return RayExecutor(workers=2, cpus_per_worker=0.5, max_attempts=3)


def test_a_killed_worker_is_replaced_and_its_unit_done(tmp_path: Path) -> None:
    stage, heard = MarkStage(tmp_path, die_once=frozenset({0, 2})), Heard()
    report = RayExecutor(workers=2, cpus_per_worker=0.5).run(stage, make_units(4), heard)
    assert stage.done() == {0, 1, 2, 3}
    assert (_settled(report), report.failures, report.lost_workers) == (4, (), 2)
    assert heard.shards == [0, 1, 2, 3]


def test_a_unit_that_kills_its_worker_is_given_up(tmp_path: Path) -> None:
    stage, heard = MarkStage(tmp_path, die_always=frozenset({0})), Heard()
    report = RayExecutor(workers=1, cpus_per_worker=0.5, max_losses=2).run(
        stage, make_units(2), heard
    )
    assert stage.done() == {1}
    assert [(item.kind, item.attempts) for item in report.failures] == [("infrastructure", 2)]
    assert report.lost_workers == 2


def test_overlapping_units_share_a_process_and_its_death(tmp_path: Path) -> None:
    stage, heard = MarkStage(tmp_path, die_once=frozenset({1}), seconds=0.3), Heard()
    report = RayExecutor(workers=1, cpus_per_worker=0.5, overlap=2).run(stage, make_units(5), heard)
    assert (_settled(report), report.failures, report.lost_workers) == (5, (), 1)
    assert heard.shards == [0, 1, 2, 3, 4]
    assert len(set(stage.pids())) == 2


def test_a_deadly_unit_takes_no_other_along_for_good(tmp_path: Path) -> None:
    stage, heard = MarkStage(tmp_path, die_always=frozenset({0}), seconds=0.1), Heard()
    report = RayExecutor(workers=1, cpus_per_worker=0.5, overlap=2, max_losses=3).run(
        stage, make_units(3), heard
    )
    assert stage.done() == {1, 2}
    assert [(item.unit.shard, item.attempts) for item in report.failures] == [(0, 3)]


@pytest.mark.parametrize("answers", [True, False])
def test_an_actor_without_a_pulse_is_replaced(tmp_path: Path, answers: bool) -> None:
    """A deadlock still answers and makes no step; a stopped process does not even answer."""
    one, none = frozenset({1}), frozenset[int]()
    stage = MarkStage(
        tmp_path, hang_once=one if answers else none, stop_once=none if answers else one
    )
    heard = Heard()
    report = RayExecutor(workers=1, cpus_per_worker=0.5, stall_seconds=4).run(
        stage, make_units(3), heard
    )
    assert (_settled(report), report.failures, report.lost_workers) == (3, (), 1)
    assert stage.done() == {0, 1, 2}
    assert (stage.attempts(0), stage.attempts(1), stage.attempts(2)) == (1, 2, 1)
    wait_until_gone(set(stage.pids()))


def test_a_retry_gets_a_fresh_process(tmp_path: Path) -> None:
    stage = MarkStage(tmp_path, raise_once=frozenset({0}))
    RayExecutor(workers=1, cpus_per_worker=0.5).run(stage, make_units(1), Heard())
    first, second = stage.pids()
    assert first != second


def test_more_workers_than_the_cluster_has_room_for(tmp_path: Path) -> None:
    stage = MarkStage(tmp_path, seconds=0.05)
    report = RayExecutor(workers=4, cpus_per_worker=1).run(stage, make_units(12), Heard())
    assert report.done == 12


class _Unstartable(MarkStage):
    def __setstate__(self, state: Any) -> None:
        if os.environ.get("DRIVER_OF_TEST") != str(os.getpid()):
            raise RuntimeError("no such library here")
        self.__dict__.update(state)


def test_a_stage_that_no_worker_can_load_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIVER_OF_TEST", str(os.getpid()))
    stage, heard = _Unstartable(tmp_path), Heard()
    report = RayExecutor(workers=1, cpus_per_worker=0.5, max_losses=2).run(
        stage, make_units(2), heard
    )
    assert [item.kind for item in report.failures] == ["infrastructure"] * 2
    assert "no such library here" in report.failures[0].error


def test_workers_are_gone_after_the_run(tmp_path: Path) -> None:
    stage = MarkStage(tmp_path)
    RayExecutor(workers=2, cpus_per_worker=0.5).run(stage, make_units(4), Heard())
    wait_until_gone(set(stage.pids()))


_DRIVER = """
import sys
from pathlib import Path
from pipelines.engine.ray_executor import RayExecutor
from tests.engine.stages import Heard, MarkStage, make_units

stage = MarkStage(Path(sys.argv[1]), seconds=0.1)
try:
    RayExecutor(workers=1).run(stage, make_units(1000), Heard())
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_an_interrupted_driver_takes_its_workers_along(tmp_path: Path) -> None:
    stage = MarkStage(tmp_path)
    command = [sys.executable, "-c", _DRIVER, str(tmp_path)]
    home = tmp_path / "home"
    home.mkdir()
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"HOME": str(home)}) as driver:
        wait_for(lambda: bool(stage.done()))
        driver.send_signal(2)
        assert driver.wait(60) == 130
    wait_until_gone(set(stage.pids()))
    assert not list(home.iterdir())
    done = len(stage.done())
    assert 0 < done < 1000
    report = RayExecutor(workers=1, cpus_per_worker=0.5).run(stage, make_units(done), Heard())
    assert report.done + report.skipped == done


def wait_for(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def wait_until_gone(pids: set[int]) -> None:
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
