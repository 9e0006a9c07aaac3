from __future__ import annotations

import io
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

from pipelines.cli import cache
from pipelines.cli.progress import open_progress
from pipelines.engine.work import Failure, UnitReport
from pipelines.teachers.base import TeacherOptions
from schemas.errors import StorageError, UnknownNameError, UsageError
from tests.chaos.small_disk import small_disk
from tests.engine.stages import make_units
from tests.jobs import normalized_split as made


def invoke(root: Path, *arguments: str, columns: int = 100) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    cache.register(app)
    command = ["cache", "made-up", "--root", str(root), "--teacher", "tiny", "--device", "cpu"]
    return CliRunner().invoke(app, [*command, *arguments], env={"COLUMNS": str(columns)})


def test_it_says_what_it_will_do_and_what_it_did(tmp_path: Path) -> None:
    made.normalize(tmp_path, made.Stills())
    result = invoke(tmp_path)
    assert result.exit_code == 0, result.output
    for text in (
        f"Sam3VideoModel {made.load_tiny().spec.digest}, float32",
        "64x16x16",
        "no memory features: the split has no tracked objects",
        "made-up/stills image: 3 of 3 shards",
        "10, 1 of them quarantined",
        "busy    ",
        "forward 0.",
    ):
        assert text in result.output
    assert result.output.index("to write") < result.output.index("3 of 3 shards")


def test_names_and_numbers_are_whole_on_a_narrow_terminal(tmp_path: Path) -> None:
    made.normalize(tmp_path, made.Stills())
    features = ("--features", "image.trunk@bfloat16", "--views", "identity,hflip")
    result = invoke(tmp_path, *features, columns=60)
    lines = [line.split() for line in result.output.splitlines()]
    assert ["array", "to", "do", "bytes"] in lines
    assert ["image.trunk~hflip@bfloat16", "3"] in [words[:2] for words in lines]


def test_the_same_command_resumes_and_then_has_nothing_to_do(tmp_path: Path) -> None:
    made.normalize(tmp_path, made.Stills())
    assert invoke(tmp_path, "--features", "image", "--slice", "0/2").exit_code == 0
    result = invoke(tmp_path, "--features", "image")
    assert "made-up/stills image: 1 of 1 shards" in result.output
    before = made.tree(tmp_path)
    result = invoke(tmp_path, "--features", "image")
    assert "made-up/stills image: complete" in result.output
    assert made.tree(tmp_path) == before


def test_failed_units_are_named_and_exit_1(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, made.Stills())
    for row in (0, 1, 2):
        made.damage_image(split, 0, row)
    result = invoke(tmp_path, "--features", "image,text")
    assert result.exit_code == 1
    assert "failed image/made-up/stills/00000 (data)" in result.output
    assert "failed image/made-up/stills/00000, data: 2 of 4 rows" in result.output
    assert "2 done, 0 by others, 1 failed" in result.output
    # Other stages go on.
    assert "made-up/stills text: 1 of 1 shards" in result.output
    result = invoke(tmp_path, "--features", "image", "--max-quarantined", "3")
    assert result.exit_code == 0


def test_small_shards_do_not_add_up_past_the_share(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, made.Stills())
    # The other of the two is missing since the split was normalized.
    made.damage_image(split, 0, 0)
    result = invoke(tmp_path, "--features", "image")
    assert result.exit_code == 1
    assert "3 of 3 shards" in result.output
    assert "2 of 10 rows are quarantined, expected 1 at most." in result.output


def test_a_share_that_allows_them_all_is_kept(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, made.Stills())
    made.damage_image(split, 0, 0)
    assert invoke(tmp_path, "--features", "image", "--max-quarantined", "20%").exit_code == 0


@pytest.mark.parametrize(
    ("workers", "gpus", "share"),
    [(1, 2, 1.0), (2, 2, 1.0), (3, 2, 0.5), (4, 2, 0.5), (5, 2, 1 / 3)],
)
def test_all_workers_find_room_on_the_gpus(
    monkeypatch: pytest.MonkeyPatch, workers: int, gpus: int, share: float
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    place = cache._place("ray", workers, "cuda", None, None)
    assert place.gpus_per_worker == share
    assert gpus * int(1 / share) >= workers


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("--features", "imagine"), UnknownNameError, "Did you mean image"),
        (("--split", "still"), UnknownNameError, "Did you mean stills"),
        (("--teacher", "tinny"), UnknownNameError, "Did you mean tiny"),
        (("--slice", "3/2"), UsageError, "i/n"),
        (("--executor", "local", "--workers", "2"), UsageError, "one worker"),
        (("--address", "auto", "--device", "auto"), UsageError, "Add --device"),
    ],
)
def test_wrong_usage(
    tmp_path: Path, arguments: tuple[str, ...], error: type[Exception], text: str
) -> None:
    made.normalize(tmp_path, made.Stills(count=1))
    result = invoke(tmp_path, *arguments)
    assert isinstance(result.exception, error)
    assert text in str(result.exception)


def test_what_does_not_fit_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made.normalize(tmp_path, made.Stills())
    monkeypatch.setattr("pipelines.jobs.cache.free_bytes", lambda _folder: 1000)
    result = invoke(tmp_path, "--features", "image")
    assert isinstance(result.exception, StorageError)
    assert not Path(tmp_path, "features").exists()
    assert invoke(tmp_path, "--features", "image", "--force").exit_code == 0


def test_a_teacher_that_has_cached_is_not_loaded_by_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = made.normalize(tmp_path, made.Stills(count=1))
    (planned,) = made.plan(split, "image").stages
    expected = made.load_tiny().spec

    class LoadedError(Exception):
        pass

    def load(*_: object) -> None:
        raise LoadedError

    monkeypatch.setattr("pipelines.teachers.load.load_teacher", load)
    with pytest.raises(LoadedError):
        cache._identity([split], "tiny", TeacherOptions())
    planned.stage.run(planned.units[0])
    assert cache._identity([split], "tiny", TeacherOptions()).spec == expected


def test_a_small_disk_is_found_too_small(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kibibytes=300) as disk:
        split = made.normalize(disk, made.Stills())
        needed = made.plan(split, "image").bytes_left
        result = invoke(disk, "--features", "image")
        assert isinstance(result.exception, StorageError)
        assert f"expected {needed} bytes free" in str(result.exception)
        assert not Path(disk, "features").exists()
        assert invoke(disk, "--features", "text").exit_code == 0
        forced = invoke(disk, "--features", "image", "--force")
        assert forced.exit_code == 1
        assert "No space left" in forced.output


def test_a_terminal_gets_one_bar() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, highlight=False)
    first, second = make_units(2)
    with open_progress(console, "coco/val2017 image", 2) as listener:
        listener.unit_finished(UnitReport(unit=first, status="done", rows=64))
        listener.unit_failed(Failure(unit=second, kind="code", error="[red]x"))
    shown = screen.getvalue()
    assert "2/2" in shown
    assert "rows/s, 1 failed" in shown
    assert f"failed {second.id} (code)" in shown
