from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pipelines.cli import status as command
from pipelines.engine.executor import LocalExecutor
from pipelines.engine.progress import Progress
from pipelines.jobs.cache_run import run_stage
from pipelines.jobs.encode_images import ImageEncoder
from pipelines.jobs.status import root_status
from pipelines.jobs.unit_writer import UnitWriter
from pipelines.store import layout
from pipelines.store.local import LocalObjectStore
from pipelines.store.run_log import RunLog
from pipelines.store.splits import Split
from pipelines.teachers.base import Teacher
from schemas.errors import DataError
from schemas.runs import RunFailure, StageProgress
from tests.jobs import normalized_split as made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten pictures in three shards, of which the second, with the missing picture, is cached."""
    split = made.normalize(tmp_path, made.Stills())
    (planned,) = made.plan(split, "image").stages
    planned.stage.run(planned.units[1])
    return tmp_path


def invoke(root: Path, *arguments: str) -> str:
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    result = CliRunner().invoke(app, ["status", "--root", str(root), *arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(("columns", "left"), [("48", False), ("80", True)])
def test_names_are_whole_at_every_width(
    root: Path, monkeypatch: pytest.MonkeyPatch, columns: str, left: bool
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    shown = invoke(root, "--quarantined").splitlines()
    assert f"made-up/stills, teacher {made.load_tiny().spec.digest}" in shown
    (line,) = (line for line in shown if line.startswith(" image.trunk "))
    assert line.split()[:2] == ["image.trunk", "1/3"]
    assert len(line) <= int(columns)
    assert any("rows left" in line for line in shown) == left
    assert "image.trunk: 1 rows missing" in shown


def test_without_drivers_it_counts_commits(root: Path) -> None:
    status = root_status(LocalObjectStore(root), quarantined=True)
    (array,) = status.arrays
    assert (array.array, array.shards, array.done) == ("image.trunk", 3, 1)
    assert (array.rows, array.rows_left) == (10, 7)
    assert array.quarantined == {"missing": 1}
    assert (array.rows_per_second, array.seconds_left) == (0, None)
    assert (status.runs, status.workers) == ((), 0)


def test_running_drivers_give_the_pace(root: Path) -> None:
    store = LocalObjectStore(root)
    folder = layout.array_folder("made-up", "stills", made.load_tiny().spec.digest, "image.trunk")
    failure = RunFailure(unit="image/made-up/stills/00002", kind="code", error="RuntimeError: x")
    stage = StageProgress(
        title="t",
        arrays=(folder,),
        units=2,
        rows=6,
        seconds=3.0,
        quarantined=1,
        failed=1,
        failures=(failure,),
    )
    with RunLog(store, 2) as one, RunLog(store, 3) as two:
        for log in (one, two):
            log.note(stage)
            log.write()
        status = root_status(store)
        assert status.workers == 5
        (array,) = status.arrays
        assert (array.rows_per_second, array.seconds_left) == (4.0, 7 / 4)
        assert [run.state for run in status.runs] == ["running"] * 2
        shown = invoke(root)
    for text in ("made-up/stills", "1/3", "4.0", "2 drivers with 5 workers run now", "00002, code"):
        assert text in shown
    status = root_status(store)
    assert [(run.state, run.rows, run.quarantined) for run in status.runs] == [("ended", 6, 1)] * 2
    assert status.arrays[0].seconds_left is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(ImageEncoder):
    """Waits before the second shard, and fails for the third."""

    reached: Event = field(default_factory=Event)
    go_on: Event = field(default_factory=Event)

    def encode(self, teacher: Teacher, split: Split, shard: int, writer: UnitWriter) -> None:
        if shard == 2:
            raise DataError("shard 2", expected="pictures", got="none")
        if shard == 1:
            self.reached.set()
            assert self.go_on.wait(60)
        ImageEncoder.encode(self, teacher, split, shard, writer)


def test_a_run_is_seen_from_another_machine_while_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = made.normalize(tmp_path, made.Stills())
    (planned,) = made.plan(split, "image").stages
    held = Held()
    planned = replace(planned, stage=replace(planned.stage, encoder=held))
    monkeypatch.setattr("pipelines.jobs.cache_run.random.Random.shuffle", lambda *_: None)

    def run() -> None:
        with RunLog(split.store, 1, beat=0.02) as log:
            run_stage(planned, LocalExecutor(), "made-up/stills image", Progress(3), log)

    def seen() -> dict[str, Any]:
        with pytest.MonkeyPatch.context() as elsewhere:
            elsewhere.setattr("pipelines.store.run_log.socket.gethostname", lambda: "elsewhere")
            found: dict[str, Any] = json.loads(invoke(tmp_path, "--json", "--quarantined"))
        return found

    worker = Thread(target=run)
    worker.start()
    try:
        assert held.reached.wait(60)
        while not (now := seen())["runs"][0]["rows"]:
            time.sleep(0.02)
        (array,), (driver,) = now["arrays"], now["runs"]
        assert (array["done"], array["shards"], array["rows_left"]) == (1, 3, 7)
        assert array["rows_per_second"] > 0
        assert array["seconds_left"] == pytest.approx(7 / array["rows_per_second"])
        assert (driver["state"], driver["workers"], driver["rows"]) == ("running", 1, 4)
        assert driver["silent_seconds"] < 90
    finally:
        held.go_on.set()
        worker.join()
    (array,), (driver,) = (now := seen())["arrays"], now["runs"]
    assert (array["done"], array["seconds_left"]) == (2, None)
    assert array["quarantined"] == {"missing": 1}
    assert (driver["state"], driver["failed"], driver["quarantined"]) == ("ended", 1, 1)
    (failure,) = driver["failures"]
    assert (failure["unit"], failure["kind"]) == ("image/made-up/stills/00002", "data")
    assert "expected pictures; got none" in failure["error"]


def test_json_holds_all_numbers(root: Path) -> None:
    found = json.loads(invoke(root, "--json", "--quarantined"))
    assert found["arrays"][0]["done"] == 1
    assert found["arrays"][0]["quarantined"] == {"missing": 1}
    assert found["runs"] == []


def test_reasons_are_shown_when_asked_for(root: Path) -> None:
    assert "\nimage.trunk: 1 rows missing\n" in invoke(root, "--quarantined")


def test_a_root_without_features_says_what_makes_them(tmp_path: Path) -> None:
    assert "samdistill cache DATASET" in invoke(tmp_path)


def test_features_whose_split_is_gone_are_counted_all_the_same(root: Path) -> None:
    Path(root, "normalized/made-up/stills/split.json").unlink()
    (array,) = root_status(LocalObjectStore(root)).arrays
    assert (array.done, array.rows) == (1, 12)
