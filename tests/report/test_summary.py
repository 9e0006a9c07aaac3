from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.jobs.publish import publish, select
from pipelines.report.markup import count, plural, size, text
from pipelines.report.summary import LISTED_KEYS, ManifestSummary, summarize
from pipelines.store.local import LocalObjectStore
from pipelines.store.published import PublishedManifest
from schemas.ids import canonical_json, parse_json
from schemas.samples import Sample, Source
from tests.jobs.sample_root import normalize


def test_says_what_is_stored(store: LocalObjectStore, published: PublishedManifest) -> None:
    summary = summarize(store, published)
    album, camera = summary.splits
    assert (summary.name, summary.version, summary.digest) == ("all", 1, published.digest)
    assert (album.rows, album.shards, camera.rows, camera.media) == (4, 2, 8, "video")
    features = {item.feature.name: item for item in album.features}
    assert features["image.trunk"].quarantined == {"undecodable": 1}
    assert features["text.mask"].rows == album.phrases
    folder = store.root / "features"
    stored = sum(
        f.stat().st_size for f in folder.rglob("*") if f.is_file() and f.name != "zarr.json"
    )
    assert sum(item.bytes for split in summary.splits for item in split.features) == stored


def test_lists_quarantined_keys_by_reason(
    store: LocalObjectStore, published: PublishedManifest
) -> None:
    (found,) = summarize(store, published).splits[0].quarantined
    assert (found.reason, found.count, found.keys) == ("undecodable", 1, ("coins",))


def test_lists_no_more_keys_than_are_read(tmp_path: Path) -> None:
    bad = [
        Sample(
            key=f"k{number:03d}",
            source=Source(archive="a", member="b"),
            width=1,
            height=1,
            quarantine="truncated: short" if number % 2 else "undecodable: bad",
        )
        for number in range(4 * LISTED_KEYS)
    ]
    store = LocalObjectStore(tmp_path / "root")
    normalize(store, ("bad", "val"), [bad[:LISTED_KEYS], bad[LISTED_KEYS:]])
    (split,) = summarize(store, publish(store, "bad", select(store, []))).splits
    found = {item.reason: (item.count, len(item.keys), item.keys[0]) for item in split.quarantined}
    assert found == {
        "truncated": (2 * LISTED_KEYS, LISTED_KEYS, "k001"),
        "undecodable": (2 * LISTED_KEYS, LISTED_KEYS, "k000"),
    }


def test_is_json(store: LocalObjectStore, published: PublishedManifest) -> None:
    summary = summarize(store, published)
    assert parse_json(canonical_json(summary), ManifestSummary, "summary") == summary


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (99_600, "100 kB"), (999_700, "1.0 MB"),
     (10_616_832, "10.6 MB"), (3 * 10**15, "3.0 PB"), (4 * 10**18, "4000 PB")],
)  # fmt: skip
def test_sizes(value: int, shown: str) -> None:
    assert size(value) == shown


def test_numbers() -> None:
    assert count(1234567) == "1\u202f234\u202f567"
    assert (plural(1, "row"), plural(0, "row"), plural(2, "row")) == ("1 row", "0 rows", "2 rows")


@settings(deadline=None, max_examples=60)
@given(st.text())
def test_text_never_opens_markup(value: str) -> None:
    assert not set(text(value)) & set("<>\"'")
