from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipelines.cli.main import build_app
from pipelines.jobs.merge_phrases import merge_phrases
from pipelines.store.local import LocalObjectStore
from pipelines.store.splits import Split
from pipelines.store.tables import read_table
from schemas.errors import ConflictError, UsageError
from schemas.tables import PHRASES
from tests.normalize.archives import CocoSource
from tests.normalize.text_files import pairs_file


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(build_app(), list(arguments), env={"COLUMNS": "100"})


def run(*arguments: str) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merge")
    root = folder / "root"
    pairs_file(
        folder / "text" / "gold_metaclip_merged_a_release_test.json",
        {1: ("dog", 2), 2: ("ufo", 0), 3: ("The cat", 1)},
    )
    run("normalize", "sa-co-gold", "--from", str(folder / "text"), "--root", str(root))
    CocoSource().write(folder / "coco")
    arguments = ["--split", "val2017", "--any-count", "--max-quarantined", "100%"]
    run("normalize", "coco", "--from", str(folder / "coco"), "--root", str(root), *arguments)
    return root


def phrases(root: Path, split: str) -> dict[str, dict[str, Any]]:
    dataset, _, name = split.partition("/")
    key = f"normalized/{dataset}/{name}/phrases.parquet"
    rows = read_table(LocalObjectStore(root), key, PHRASES).to_pylist()
    assert [row["row"] for row in rows] == list(range(len(rows)))
    assert [row["phrase"] for row in rows] == sorted(row["phrase"] for row in rows)
    return {row["phrase"]: row for row in rows}


def counts(row: dict[str, Any]) -> tuple[int, ...]:
    return tuple(row[name] for name in ("objects", "captions", "negatives"))


def test_each_phrase_is_one_row_with_the_counts_of_its_splits(root: Path) -> None:
    shown = run("phrases", "merge", "words", "sa-co-gold", "coco/val2017", "--root", str(root))
    assert "phrases/words" in shown
    text, images = phrases(root, "sa-co-gold/test"), phrases(root, "coco/val2017")
    merged = phrases(root, "phrases/words")
    assert merged.keys() == text.keys() | images.keys()
    for phrase, row in merged.items():
        parts = [table[phrase] for table in (text, images) if phrase in table]
        assert counts(row) == tuple(map(sum, zip(*map(counts, parts), strict=True)))
    assert merged["dog"]["sources"] == [
        {"source": "coco/val2017", "count": sum(counts(images["dog"]))},
        {"source": "sa-co-gold/test/metaclip", "count": 1},
    ]


def test_it_is_a_split_for_every_later_step(root: Path) -> None:
    run("phrases", "merge", "later", "sa-co-gold", "coco", "--root", str(root))
    run("cache", "phrases", "--split", "later", "--teacher", "tiny", "--root", str(root))
    run("publish", "later", "--dataset", "phrases", "--root", str(root))
    assert "0 findings" in run("verify", "later", "--deep", "--root", str(root))


def test_again_is_the_same_and_other_splits_are_refused(root: Path) -> None:
    store = LocalObjectStore(root)
    text = Split.open(store, "sa-co-gold", "test")
    images = Split.open(store, "coco", "val2017")
    first = merge_phrases(store, "same", [text, images])
    body = store.get("normalized/phrases/same/split.json")
    assert merge_phrases(store, "same", [images, text]) == first
    assert store.get("normalized/phrases/same/split.json") == body
    assert first.sources == {
        "coco/val2017": f"blake3:{images.digest}",
        "sa-co-gold/test": f"blake3:{text.digest}",
    }
    with pytest.raises(ConflictError, match="made of other splits"):
        merge_phrases(store, "same", [text])


def test_what_would_count_twice_is_refused(root: Path) -> None:
    store = LocalObjectStore(root)
    text = Split.open(store, "sa-co-gold", "test")
    with pytest.raises(UsageError, match="given twice"):
        merge_phrases(store, "twice", [text, text])
    merge_phrases(store, "once", [text])
    with pytest.raises(UsageError, match=r"is a merged split.*sa-co-gold/test"):
        merge_phrases(store, "nested", [Split.open(store, "phrases", "once")])
    assert invoke("phrases", "merge", "x", "coc", "--root", str(root)).exit_code != 0


def test_the_order_of_splits_changes_no_byte(root: Path) -> None:
    names = ["sa-co-gold", "coco"]
    run("phrases", "merge", "one", *names, "--root", str(root))
    run("phrases", "merge", "two", *names[::-1], "--root", str(root))
    tables = [root / "normalized" / "phrases" / name / "phrases.parquet" for name in ("one", "two")]
    assert tables[0].read_bytes() == tables[1].read_bytes()
