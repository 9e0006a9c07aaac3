from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipelines.cli import inspect, publish
from pipelines.cli.publish_view import show_comparisons
from pipelines.jobs.audit import Comparison
from pipelines.store.local import LocalObjectStore
from tests.jobs.colour_teacher import ColourTeacher
from tests.jobs.sample_root import build_root


@pytest.mark.parametrize("command", ["publish", "inspect"])
@pytest.mark.parametrize(("width", "codec"), [("60", False), ("80", True)])
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


def test_comparisons_fit_into_60_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    show_comparisons(
        [
            Comparison(
                split="coco/val2017",
                feature="memory.maskmem@bfloat16",
                file="features/a/c/0",
                row=0,
                cosine=1,
                difference=1e-3,
                least_cosine=0.999,
                tolerance=1e-3,
            )
        ]
    )
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "maskmem" in line)
    assert line.split() == ["memory.maskmem@bfloat16", "1", "1.000000", "1.0e-03", "1.0e-03"]
    assert len(line) <= 60
