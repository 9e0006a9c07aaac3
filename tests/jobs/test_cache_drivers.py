"""Several drivers on one root: they share the work, and outlive each other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.engine.executor import LocalExecutor
from pipelines.engine.progress import Progress
from pipelines.engine.work import UnitReport
from pipelines.jobs.cache_run import run_stage
from pipelines.jobs.status import root_status
from pipelines.store import leases
from pipelines.store.leases import StoreLeases
from pipelines.store.local import LocalObjectStore
from pipelines.store.run_log import RunLog
from pipelines.store.splits import Split
from pipelines.teachers.base import Teacher
from tests.jobs import normalized_split as made

PROJECT = Path(__file__).parents[2]
SOURCE = made.Stills(count=48)
SHARDS = 12

DRIVER = """
import sys, time
from pathlib import Path
from tests.jobs import normalized_split as made
from tests.jobs.misbehaving_teacher import MisbehavingTeacher
from tests.jobs.test_cache_drivers import drive

def slow(batch):
    with open(sys.argv[2], "a") as file:
        file.write("x" * len(batch))
    time.sleep(float(sys.argv[3]))

teacher = MisbehavingTeacher(slow)
print("ready", flush=True)
sys.stdin.readline()
print(drive(Path(sys.argv[1]), lambda: teacher), flush=True)
"""


def drive(root: Path, load: Callable[[], Teacher]) -> int:
    """Cache the images as a driver of its own; return how many shards it completed."""
    split = Split.open(LocalObjectStore(root), "made-up", "stills")
    (planned,) = made.plan(split, "image", load=load).stages
    with RunLog(split.store, 1, beat=0.5) as log:
        progress = Progress(len(planned.units))
        report = run_stage(planned, LocalExecutor(), "stills image", progress, log)
    assert not report.failures
    return report.done


def start(root: Path, images: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(root), str(images), str(seconds)],
        cwd=PROJECT,
        env=os.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def go(*drivers: subprocess.Popen[str]) -> None:
    """Let drivers begin, all at once when all are ready."""
    for driver in drivers:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "ready\n"
    for driver in drivers:
        assert driver.stdin is not None
        driver.stdin.write("go\n")
        driver.stdin.flush()


def test_two_drivers_compute_each_image_once(tmp_path: Path) -> None:
    root = tmp_path / "root"
    made.normalize(root, SOURCE)
    drivers = [start(root, tmp_path / name, 0.05) for name in ("a", "b")]
    go(*drivers)
    done = [int(driver.communicate(timeout=90)[0]) for driver in drivers]
    images = [(tmp_path / name).stat().st_size for name in ("a", "b")]
    # One picture is missing since the split was normalized.
    assert sum(images) == 47
    assert sum(done) == SHARDS
    assert min(done) > 0
    assert not list(root.glob("leases/*/*"))
    status = root_status(LocalObjectStore(root))
    assert [(run.state, run.failed) for run in status.runs] == [("ended", 0)] * 2
    assert sum(run.rows for run in status.runs) == 48


def test_the_units_of_a_killed_driver_are_free_at_once(tmp_path: Path) -> None:
    root = tmp_path / "root"
    made.normalize(root, SOURCE)
    with start(root, tmp_path / "a", 0.2) as driver:
        go(driver)
        wait_for(lambda: bool(list(root.glob("features/**/commits/*.json"))))
        wait_for(lambda: bool(list(root.glob("leases/*/*"))))
        driver.send_signal(signal.SIGKILL)
    lost = root_status(LocalObjectStore(root))
    assert [run.state for run in lost.runs] == ["lost"]
    assert list(root.glob("leases/*/*"))
    before = len(list(root.glob("features/**/commits/*.json")))
    begun = time.monotonic()
    assert drive(root, made.load_tiny) == SHARDS - before
    assert time.monotonic() - begun < 60
    assert not list(root.glob("leases/*/*"))


def test_a_unit_that_another_driver_holds_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_ASK_AGAIN_SECONDS", 0.1)
    split = made.normalize(tmp_path, made.Stills(count=8))
    (planned,) = made.plan(split, "image").stages
    folders = [array.folder for array in planned.stage.arrays]
    mine, theirs = planned.units

    class Watched(Progress):
        def unit_finished(self, report: UnitReport) -> None:
            super().unit_finished(report)
            if report.unit == mine:
                planned.stage.run(theirs)
                held.release(theirs)

    with RunLog(split.store, 1) as other, RunLog(split.store, 1) as log:
        held = StoreLeases(split.store, folders, other.run)
        assert held.acquire(theirs)
        report = run_stage(planned, LocalExecutor(), "stills image", Watched(2), log)
    assert (report.done, report.skipped, report.failures) == (1, 1, ())


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
