from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.jobs.phrase_table import PhraseTable
from pipelines.normalize.phrases_of import PhraseUse
from pipelines.store.local import LocalObjectStore
from pipelines.store.tables import read_table
from schemas.errors import ConflictError
from schemas.tables import PHRASES

USES = st.lists(
    st.builds(
        PhraseUse,
        st.text(st.sampled_from("aAß\U0001f600 "), min_size=1, max_size=2),
        st.sampled_from(["x", "y", None]),
        objects=st.integers(0, 3),
        captions=st.integers(0, 1),
        negatives=st.integers(0, 1),
    ),
    max_size=40,
)


def put(folder: Path, uses: list[PhraseUse], in_memory: int) -> bytes:
    store = LocalObjectStore(folder)
    with PhraseTable(in_memory) as table:
        for use in uses:
            table.add(use)
        record, rows = table.put(store, "phrases.parquet")
    body = store.get("phrases.parquet")
    assert record.bytes == len(body)
    assert rows == len({use.phrase for use in uses})
    return body


@given(uses=USES)
@settings(deadline=None, max_examples=40, derandomize=True)
def test_spilling_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, uses: list[PhraseUse]
) -> None:
    whole = put(tmp_path_factory.mktemp("whole"), uses, 1000)
    assert put(tmp_path_factory.mktemp("spilled"), uses[::-1], 2) == whole


def test_counts_are_sums_and_rows_are_sorted_by_code_point(tmp_path: Path) -> None:
    uses = [
        PhraseUse("b", "y", objects=2),
        PhraseUse("a", "x", captions=1),
        PhraseUse("b", "x", negatives=1),
        PhraseUse("b", "x", objects=1),
        PhraseUse("Z", objects=1),
    ]
    put(tmp_path, uses, 1)
    table = read_table(LocalObjectStore(tmp_path), "phrases.parquet", PHRASES)
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        (0, "Z", 1, 0, 0, None),
        (1, "a", 0, 1, 0, [{"source": "x", "count": 1}]),
        (2, "b", 3, 0, 1, [{"source": "x", "count": 2}, {"source": "y", "count": 1}]),
    ]


def test_totals_count_every_use() -> None:
    with PhraseTable(1) as table:
        for use in (PhraseUse("a", objects=2), PhraseUse("b", captions=1), PhraseUse("a")):
            table.add(use)
        assert table.totals == Counter(uses=3, objects=2, captions=1, negatives=0)


def test_other_content_under_its_key_is_refused(tmp_path: Path) -> None:
    put(tmp_path, [PhraseUse("a")], 10)
    with pytest.raises(ConflictError):
        put(tmp_path, [PhraseUse("b")], 10)
