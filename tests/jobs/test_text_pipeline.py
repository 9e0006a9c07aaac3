"""A split without images through every later step, on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli.main import build_app
from pipelines.store.arrays import FeatureArray, read_array_record
from pipelines.store.local import LocalObjectStore
from tests.normalize.text_files import pairs_file

PHRASES = {1: ("a cat", 2), 2: ("ufo", 0), 3: ("The cat", 1)}


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(build_app(), list(arguments), env={"COLUMNS": "100"})
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    pairs_file(folder / "in" / "gold_metaclip_merged_a_release_test.json", PHRASES)
    root = folder / "root"
    invoke("normalize", "sa-co-gold", "--from", str(folder / "in"), "--root", str(root))
    shown = invoke("cache", "sa-co-gold", "--teacher", "tiny", "--root", str(root))
    assert "no image features: the split has no images" in shown
    invoke("publish", "words", "--root", str(root))
    return root


def test_the_teacher_encodes_each_phrase_once(root: Path) -> None:
    store = LocalObjectStore(root)
    (place,) = root.rglob("text.tokens")
    array = FeatureArray(store, read_array_record(store, str(place.relative_to(root))))
    assert array.record.shards == 1
    tokens = array.read([0, 1, 2])
    assert tokens.shape[0] == array.record.rows_per_shard == 3
    assert tokens.any(axis=(1, 2)).all()


def test_it_verifies_in_full(root: Path) -> None:
    assert "words@1: 0 findings" in invoke("verify", "words", "--deep", "--root", str(root))


def test_it_is_shown_without_pictures(root: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    invoke("inspect", "words", "--root", str(root), "--out", str(page))
    text = page.read_text(encoding="utf-8")
    assert "phrases only" in text
    assert "The cat" in text
    assert "<h3>Samples</h3>" not in text


def test_asking_for_images_only_is_refused(root: Path) -> None:
    arguments = ["cache", "sa-co-gold", "--features", "image", "--teacher", "tiny"]
    result = CliRunner().invoke(build_app(), [*arguments, "--root", str(root)])
    assert result.exit_code != 0
    assert "the split has no images" in str(result.exception)
