from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from pipelines.cli import normalize
from schemas.errors import BudgetError, UsageError
from tests.normalize.archives import CocoSource, DavisSource


def invoke(*arguments: str, columns: int = 100) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    normalize.register(app)
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": str(columns)})


def test_it_prints_what_a_split_holds(tmp_path: Path) -> None:
    source = CocoSource()
    del source.images["000000000030.jpg"]
    archives = source.write(tmp_path / "coco")
    root = str(tmp_path / "root")
    result = invoke("coco", "--from", str(archives), "--root", root, "--max-quarantined", "25%")
    assert result.exit_code == 0, result.output
    lines = {" ".join(line.split()) for line in result.stdout.splitlines()}
    assert {"coco/val2017: 1 of 1 shards", "coco/val2017", "images 3", "crowd 1"} <= lines
    assert {"quarantined: missing 1", "phrases 4", "captions 2"} <= lines


def test_every_split_that_the_source_holds_is_normalized(tmp_path: Path) -> None:
    archives = DavisSource().write(tmp_path / "davis")
    root = tmp_path / "root"
    result = invoke("davis", "--from", str(archives), "--root", str(root))
    assert result.exit_code == 0, result.output
    found = sorted(path.parent.name for path in root.rglob("split.json"))
    assert found == ["train", "val"]


def test_a_narrow_terminal_cuts_nothing(tmp_path: Path) -> None:
    archives = DavisSource().write(tmp_path / "davis")
    arguments = ("davis", "--from", str(archives), "--root", str(tmp_path / "root"))
    result = invoke(*arguments, columns=40)
    assert result.exit_code == 0, result.output
    assert "…" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 40


def test_failures_and_wrong_usage_have_their_exit_codes(tmp_path: Path) -> None:
    source = CocoSource()
    source.images = {"000000000009.jpg": source.images["000000000009.jpg"]}
    arguments = ("coco", "--from", str(source.write(tmp_path / "coco")), "--root", str(tmp_path))
    failed = invoke(*arguments)
    assert isinstance(failed.exception, BudgetError)
    assert failed.exception.exit_code == 1
    wrong = invoke(*arguments, "--max-quarantined", "many")
    assert isinstance(wrong.exception, UsageError)
    assert wrong.exception.exit_code == 2
    assert invoke(*arguments, "--rows-per-shard", "0").exit_code == 2


def test_a_bucket_needs_a_local_folder_of_archives() -> None:
    result = invoke("coco", "--root", "s3://bucket/prefix")
    assert isinstance(result.exception, UsageError)
    assert "--raw" in str(result.exception)


@pytest.mark.ray
def test_ray_gives_the_same_bytes(tmp_path: Path) -> None:
    archives = CocoSource().write(tmp_path / "coco")
    for executor in ("local", "ray"):
        root = str(tmp_path / executor)
        arguments = ("--root", root, "--executor", executor, "--rows-per-shard", "2")
        result = invoke("coco", "--from", str(archives), *arguments)
        assert result.exit_code == 0, result.output
    local, ray = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in files}
        for name in ("local", "ray")
        if (files := [path for path in (tmp_path / name).rglob("*") if path.is_file()])
    )
    assert local == ray
