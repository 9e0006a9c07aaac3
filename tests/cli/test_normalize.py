from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from pipelines.cli import normalize
from schemas.errors import BudgetError, ConflictError, UsageError
from schemas.ids import parse_json
from schemas.manifests import SplitRecord
from tests.normalize.archives import CocoSource, DavisSource
from tests.normalize.sa1b_source import members, write_tar
from tests.normalize.text_files import pairs_file


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


def test_the_report_is_printed_and_differences_are_warned_of(tmp_path: Path) -> None:
    archives = CocoSource().write(tmp_path / "coco")
    result = invoke("coco", "--from", str(archives), "--root", str(tmp_path / "root"))
    assert result.exit_code == 0, result.output
    lines = {" ".join(line.split()) for line in result.stdout.splitlines()}
    assert {"median image 20x16", "categories 2", "without objects 1"} <= lines
    assert "objects per image 0 to 2, median 1" in lines
    assert "warning: coco/val2017: 4 images, published 5,000" in result.stderr


def test_json_leaves_nothing_else_on_standard_output(tmp_path: Path) -> None:
    archives = CocoSource().write(tmp_path / "coco")
    arguments = ("coco", "--from", str(archives), "--root", str(tmp_path / "root"), "--json")
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    (described,) = json.loads(result.stdout)
    assert described["record"]["rows"] == described["report"]["images"] == 4
    assert described["bytes"] > 0


def test_a_split_of_phrases_is_printed_and_not_made_twice(tmp_path: Path) -> None:
    pairs_file(tmp_path / "in" / "silver_sav_merged_test.json", {1: ("a cat", 2), 2: ("ufo", 0)})
    root = tmp_path / "root"
    arguments = ("sa-co-silver", "--from", str(tmp_path / "in"), "--root", str(root))
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    lines = {" ".join(line.split()) for line in result.stdout.splitlines()}
    assert {"sa-co-silver/test", "uses 2", "objects 2", "negatives 1", "phrases 2"} <= lines
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert invoke(*arguments).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    other = invoke(*arguments, "--limit", "1")
    assert isinstance(other.exception, ConflictError)
    assert "sa-co-silver-1 --limit=1 of in unverified:" in str(other.exception)


def test_a_share_is_a_split_of_its_own(tmp_path: Path) -> None:
    for name, first in (("sa_000020.tar", 1), ("sa_000021.tar", 41)):
        write_tar(tmp_path / name, members(*range(first, first + 40)))
    root = tmp_path / "root"
    arguments = ("--from", str(tmp_path), "--root", str(root), "--split", "train")
    result = invoke("sa-1b@20%", *arguments)
    assert result.exit_code == 0, result.output
    again = invoke("sa-1b", "--subset", "20.0%", *arguments)
    assert again.exit_code == 0, again.output
    (path,) = root.rglob("split.json")
    record = parse_json(path.read_bytes(), SplitRecord, path.name)
    assert (record.split, record.shards) == ("train-20pct", 2)
    assert record.subset is not None
    assert record.subset.startswith("20% blake3:")
    assert 4 < record.rows < 30
    both = invoke("sa-1b@20%", "--subset", "20%", *arguments)
    assert isinstance(both.exception, UsageError)
