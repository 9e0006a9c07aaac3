"""The examples of docs/interchange.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipelines.cli import export, publish
from pipelines.store.local import LocalObjectStore
from tests.jobs.colour_teacher import ColourTeacher
from tests.jobs.sample_root import build_root

PAGE = Path(__file__).parents[2] / "docs/interchange.md"


@pytest.mark.filterwarnings("ignore")
def test_the_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("SAMDISTILL_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    build_root(LocalObjectStore(tmp_path / "root"), ColourTeacher())
    app = typer.Typer()
    for module in (publish, export):
        module.register(app)
    assert CliRunner().invoke(app, ["publish", "all"]).exit_code == 0
    page = PAGE.read_text(encoding="utf-8")
    commands = re.findall(r"^samdistill (export .*)$", page, re.MULTILINE)
    for command in commands:
        done = CliRunner().invoke(app, command.split())
        assert done.exit_code == 0, (command, done.output, done.exception)
        assert "album/val: 3 samples in 2 shards" in done.output
    examples = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert (len(commands), len(examples)) == (2, 2)
    for example in examples:
        exec(compile(example, str(PAGE), "exec"), {})
    shown = capsys.readouterr().out
    assert "astronaut (512, 512, 3) float16" in shown
    assert "astronaut (512, 512) " in shown


# WebDataset leaves the tar to the garbage collector.
@pytest.mark.filterwarnings("ignore")
def test_webdataset_opens_the_media_of_a_split(tmp_path: Path) -> None:
    import webdataset

    store = LocalObjectStore(tmp_path)
    build_root(store, ColourTeacher())
    tar = str(tmp_path / "normalized/album/val/media-00000.tar")
    keys = [sample["__key__"] for sample in webdataset.WebDataset(tar, shardshuffle=False)]
    assert keys == ["astronaut", "cat"]
