from __future__ import annotations

import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from pipelines.cli import gc
from pipelines.store import layout
from pipelines.store.local import LocalObjectStore
from schemas.errors import UsageError

KEY = layout.media_key("d", "s", 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    LocalObjectStore(tmp_path).put_if_absent(KEY, b"x" * 1500)
    old = (tmp_path / KEY).stat().st_mtime - 25 * 3600
    os.utime(tmp_path / KEY, (old, old))
    return tmp_path


def run(*arguments: str) -> Result:
    app = typer.Typer()
    gc.register(app)
    return CliRunner().invoke(app, [*arguments])


def test_it_removes_and_tells_what_is_older_than_a_day(root: Path) -> None:
    shown = run("--root", str(root), "--dry-run")
    assert f"file without commit  {KEY}  1.5 kB, 25.0 h" in shown.output
    assert "would be removed" in shown.output
    assert (root / KEY).exists()
    assert run("--root", str(root), "--older-than", "26").output.endswith("removed, 0 bytes\n")
    shown = run("--root", str(root))
    assert (shown.exit_code, "removed, 1.5 kB" in shown.output) == (0, True)
    assert not (root / KEY).exists()


def test_an_absent_root_is_wrong_usage(tmp_path: Path) -> None:
    error = run("--root", str(tmp_path / "none")).exception
    assert isinstance(error, UsageError)
    assert not (tmp_path / "none").exists()
