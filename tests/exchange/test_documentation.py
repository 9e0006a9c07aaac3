"""The examples of docs/interchange.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner

from pipelines.cli import export, publish
from pipelines.exchange.export import Export
from pipelines.jobs.publish import publish as publish_manifest
from pipelines.jobs.publish import select
from pipelines.store import layout
from pipelines.store.arrays import FeatureArray
from pipelines.store.local import LocalObjectStore
from pipelines.store.published import find_manifest
from pipelines.store.splits import Split
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


@pytest.mark.filterwarnings("ignore")
def test_datasets_opens_a_root_and_a_webdataset_export_too(tmp_path: Path) -> None:
    import datasets

    store = LocalObjectStore(tmp_path / "root")
    build_root(store, ColourTeacher())
    publish_manifest(store, "all", select(store, []))
    made = Export(store, find_manifest(store, "all"), "webdataset", splits=["album/val"])
    made.run(LocalObjectStore(tmp_path / "out"), lambda *_: None)

    def load(kind: str, pattern: str) -> Any:
        files = sorted(str(path) for path in tmp_path.glob(pattern))
        cache = str(tmp_path / "cache")
        return datasets.load_dataset(kind, data_files={"val": files}, split="val", cache_dir=cache)

    split = Split.open(store, "album", "val")
    exported = load("webdataset", "out/album/val/*.tar")
    media = load("webdataset", "root/normalized/album/val/media-*.tar")
    assert exported["__key__"] == media["__key__"] == ["astronaut", "cat", "dahlia"]
    array = FeatureArray.open(
        store, layout.array_folder("album", "val", ColourTeacher().spec.digest, "image.trunk")
    )
    for row, number in zip(exported, (0, 1, 3), strict=True):
        assert np.array_equal(
            np.asarray(row["image.trunk.npy"], np.float32), array.read([number])[0]
        )
        assert row["jpg"].size == tuple(row["json"][name] for name in ("width", "height"))
    tables = {
        "samples": split.samples_table,
        "annotations": split.annotations_table,
    }
    for name, table in tables.items():
        found = load("parquet", f"root/normalized/album/val/{name}-*.parquet")
        expected = pa.concat_tables([table(shard) for shard in range(2)])
        assert list(found) == expected.to_pylist()


# WebDataset leaves the tar to the garbage collector.
@pytest.mark.filterwarnings("ignore")
def test_webdataset_opens_the_media_of_a_split(tmp_path: Path) -> None:
    import webdataset

    store = LocalObjectStore(tmp_path)
    build_root(store, ColourTeacher())
    tar = str(tmp_path / "normalized/album/val/media-00000.tar")
    keys = [sample["__key__"] for sample in webdataset.WebDataset(tar, shardshuffle=False)]
    assert keys == ["astronaut", "cat"]
