from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from pipelines.cli import inspect, publish, verify
from pipelines.store import layout
from pipelines.store.local import LocalObjectStore
from schemas.errors import IdentityError
from tests.jobs.colour_teacher import ColourTeacher
from tests.jobs.sample_root import STILLS, build_root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    build_root(LocalObjectStore(tmp_path / "root"), ColourTeacher())
    return tmp_path / "root"


def run(root: Path, *arguments: str) -> Result:
    app = typer.Typer()
    for module in (publish, verify, inspect):
        module.register(app)
    return CliRunner().invoke(app, [*arguments, "--root", str(root)])


def test_publish_shows_version_digest_and_products(root: Path) -> None:
    shown = run(root, "publish", "all")
    assert shown.exit_code == 0
    assert "all@1  blake3 " in shown.output
    for word in ("album/val", "camera/val", "image.trunk", "24x36x36", "memory.object_score"):
        assert word in shown.output
    assert run(root, "publish", "all").output == shown.output


def test_publish_takes_a_choice(root: Path) -> None:
    shown = run(
        root, "publish", "some", "--dataset", "camera", "--feature", "image.trunk",
        "--teacher", ColourTeacher().spec.digest,
    )  # fmt: skip
    assert shown.exit_code == 0
    assert "camera/val" in shown.output
    assert "album" not in shown.output
    assert "memory" not in shown.output


def test_verify_exits_1_with_a_line_for_each_finding(root: Path) -> None:
    run(root, "publish", "all")
    sound = run(root, "verify", "all", "--deep")
    assert (sound.exit_code, "0 findings" in sound.output) == (0, True)
    key = layout.media_key(*STILLS, 0)
    (root / key).unlink()
    damaged = run(root, "verify", "all@1")
    assert damaged.exit_code == 1
    assert f"{key}: missing; expected" in damaged.output
    assert "1 findings" in damaged.output


def test_verify_refuses_another_teacher(root: Path) -> None:
    run(root, "publish", "all")
    shown = run(root, "verify", "all", "--recompute", "1", "--teacher", "tiny")
    assert isinstance(shown.exception, IdentityError)
    assert "architecture: 'ColourTeacher' != 'Sam3VideoModel'" in str(shown.exception)


def test_inspect_shows_numbers_json_and_a_page(root: Path, tmp_path: Path) -> None:
    run(root, "publish", "all")
    page = tmp_path / "page.html"
    shown = run(root, "inspect", "all", "--out", str(page), "--samples", "2")
    assert shown.exit_code == 0
    assert "quarantined 1: undecodable (coins)" in shown.output
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    numbers = json.loads(run(root, "inspect", "all", "--json").output)
    assert [split["dataset"] for split in numbers["splits"]] == ["album", "camera"]


def test_publish_copies_to_another_root_and_back(root: Path, tmp_path: Path) -> None:
    there, back = str(tmp_path / "there"), str(tmp_path / "back")
    planned = run(root, "publish", "all", "--to", there, "--dry-run")
    assert planned.exit_code == 0, planned.output
    assert "files to copy" in planned.output
    assert not (tmp_path / "there").exists()
    assert not (root / "manifests").exists()
    copied = run(root, "publish", "all", "--to", there)
    assert copied.exit_code == 0, copied.output
    assert f"all@1 is published in {there}" in copied.output
    assert run(tmp_path / "there", "publish", "all@latest", "--to", back).exit_code == 0
    assert run(tmp_path / "back", "verify", "all", "--deep").exit_code == 0
    again = run(root, "publish", "all@1", "--to", there)
    assert "0 files to copy, 0 bytes" in again.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["all@1"], "expected a name alone, or --to ROOT"),
        (["all@1", "--to", "x", "--feature", "text.mask"], "got text.mask"),
        (["all@7", "--to", "x"], "manifest all has no version 7; expected one of 1"),
        (["ell@1", "--to", "x"], "Did you mean all?"),
    ],
)
def test_publish_refuses_what_it_cannot_do(
    root: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    run(root, "publish", "all")
    assert message in str(run(root, "publish", *arguments).exception)


@pytest.mark.parametrize(("width", "shown"), [("60", False), ("120", True)])
def test_manifests_lists_versions(
    root: Path, monkeypatch: pytest.MonkeyPatch, width: str, shown: bool
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    run(root, "publish", "all", "--feature", "image.trunk")
    run(root, "publish", "all")
    listed = run(root, "manifests").output
    assert all(len(line) <= int(width) for line in listed.splitlines())
    assert ("memory.maskmem" in listed) == shown
    facts = json.loads(run(root, "manifests", "all", "--json").output)
    assert [item["manifest"] for item in facts] == ["all@1", "all@2"]
    assert facts[0]["features"] == ["image.trunk"]
    assert facts[1]["teachers"] == [ColourTeacher().spec.digest]
    assert facts[1]["splits"] == ["album/val", "camera/val"]
    for item in facts:
        assert f"{item['manifest']} " in listed
        assert item["blake3"][:12] in listed
    assert "Did you mean all?" in str(run(root, "manifests", "ell").exception)
