from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipelines.cli import inspect, publish
from pipelines.store.local import LocalObjectStore
from tests.jobs.colour_teacher import ColourTeacher
from tests.jobs.sample_root import build_root


@pytest.mark.parametrize("command", ["publish", "inspect"])
@pytest.mark.parametrize(("width", "codec"), [("50", False), ("80", True)])
def test_names_are_whole_at_every_width(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, width: str, codec: bool
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    build_root(LocalObjectStore(tmp_path), ColourTeacher())
    app = typer.Typer()
    for module in (publish, inspect):
        module.register(app)
    CliRunner().invoke(app, ["publish", "all", "--root", str(tmp_path)])
    shown = CliRunner().invoke(app, [command, "all", "--root", str(tmp_path)]).output
    tables = [line for line in shown.splitlines() if line.startswith((" memory.", " image."))]
    assert " memory.object_score " in "".join(tables)
    assert all(len(line) <= int(width) for line in tables)
    assert ("codec" in shown) == codec
