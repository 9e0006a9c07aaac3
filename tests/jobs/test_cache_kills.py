"""Real processes, really killed: afterwards the same command makes the same bytes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pipelines.engine.executor import LocalExecutor
from pipelines.engine.ray_executor import RayExecutor
from pipelines.store.splits import Split
from tests.engine.stages import Heard
from tests.jobs import normalized_split as made
from tests.jobs.misbehaving_teacher import load_killer

pytestmark = pytest.mark.ray

PROJECT = Path(__file__).parents[2]
SOURCE = made.Stills(count=60)

COMMAND = """
import typer
from pipelines.cli import cache
app = typer.Typer()
app.callback()(lambda: None)
cache.register(app)
app()
"""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the local executor makes of the source in one go."""
    split = made.normalize(tmp_path_factory.mktemp("whole"), SOURCE)
    cache_locally(split)
    return made.tree(Path(split.store.url))


def cache_locally(split: Split) -> None:
    (planned,) = made.plan(split, "image").stages
    report = LocalExecutor().run(planned.stage, list(planned.units), Heard())
    assert not report.failures


def test_a_worker_killed_within_a_unit(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    root = tmp_path / "root"
    split = made.normalize(root, SOURCE)
    (planned,) = made.plan(split, "image", load=partial(load_killer, tmp_path / "killed")).stages
    report = RayExecutor(workers=2, cpus_per_worker=1).run(
        planned.stage, list(planned.units), Heard()
    )
    assert (report.failures, report.lost_workers, report.done) == ((), 1, 15)
    assert made.tree(root) == uninterrupted


def test_the_driver_killed_within_a_run(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    split = made.normalize(tmp_path, SOURCE)
    mark = uuid.uuid4().hex
    command = [sys.executable, "-c", COMMAND, "cache", "made-up", "--root", str(tmp_path)]
    command += ["--teacher", "tiny", "--features", "image", "--batch", "3", "--device", "cpu"]
    command += ["--executor", "ray", "--workers", "2"]
    scratch = Path(tempfile.gettempdir(), mark[:8])
    environment = os.environ | {"MARK": mark, "RAY_TMPDIR": str(scratch)}
    with subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL
    ) as driver:
        wait_for(lambda: committed(tmp_path) > 0 or driver.poll() is not None)
        assert any("raylet" in process for process in left_over(mark))
        driver.send_signal(signal.SIGKILL)
    assert driver.returncode == -signal.SIGKILL
    assert 0 < committed(tmp_path) < 15
    wait_for(lambda: not left_over(mark))
    shutil.rmtree(scratch)
    assert all(uninterrupted[key] == body for key, body in made.tree(tmp_path).items())
    cache_locally(split)
    assert made.tree(tmp_path) == uninterrupted


def committed(root: Path) -> int:
    return len(list(root.glob("features/**/commits/[0-9]*.json")))


def left_over(mark: str) -> list[str]:
    """Return the command lines of processes that were started with this mark.

    Two idle agents of Ray give their dead head a minute to come back; they hold nothing of ours.
    """
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            marked = f"MARK={mark}".encode() in (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, UnicodeDecodeError):
            continue
        if marked and not command.startswith(("ray::DashboardAgent", "ray::RuntimeEnvAgent")):
            found.append(command)
    return found


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
