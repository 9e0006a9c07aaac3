from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from downloaders.base import SplitFacts
from downloaders.ledger import Ledger, LedgerEntry
from downloaders.registry import find_dataset
from pipelines.jobs.check_counts import check_counts, require_published
from pipelines.jobs.normalize_text import normalize_text
from pipelines.normalize.base import LayoutOptions
from pipelines.normalize.phrases_of import PhraseCorpus
from pipelines.normalize.registry import open_splits
from pipelines.store.local import LocalObjectStore
from schemas.errors import DataError
from schemas.manifests import SplitRecord
from schemas.samples import Group, MediaKind, Sample
from tests.normalize.text_files import clip_pairs_file

DAVIS_ZIP = "DAVIS-2017-trainval-480p.zip"
COCO_FILES = ("annotations_trainval2017.zip", "val2017.zip")


@dataclass(frozen=True)
class Read:
    """What a normalizer says of where a split comes from."""

    dataset: str
    split: str
    digests: Mapping[str, str]
    version: str = "1"
    media: MediaKind = "video"
    licence: str = "none"

    def sources(self) -> Mapping[str, str]:
        return self.digests

    def groups(self) -> Sequence[Group]:
        return []

    def read(self, group: Group) -> Iterator[Sample]:
        raise AssertionError(group)

    def dropped(self) -> Mapping[str, int]:
        return {}


def record(source: Read, rows: int, subset: str | None = None, **counts: int) -> SplitRecord:
    quarantined = {"missing": counts.pop("missing")} if "missing" in counts else {}
    return SplitRecord(
        dataset=source.dataset,
        split=source.split,
        media=source.media,
        shards=1,
        rows=rows,
        rows_per_shard=64,
        object_frames_per_shard=0,
        phrases=0,
        counts=counts,
        quarantined=quarantined,
        licence="none",
        normalizer=source.version,
        sources=dict(source.digests),
        commits="",
        files=(),
        subset=subset,
    )


def facts(dataset: str, split: str) -> SplitFacts:
    return {known.name: known for known in find_dataset(dataset).entry.splits}[split]


def published(dataset: str, split: str, version: str = "1") -> Read:
    files = find_dataset(dataset).plan([split]).files
    digests = {file.name: file.checksum or "sha256:00" for file in files}
    return Read(dataset, split, digests, version)


class TestVerifiedCounts:
    def test_equal_counts_pass(self) -> None:
        davis = facts("davis", "val")
        assert davis.verified
        assert davis.images
        assert davis.clips
        source = published("davis", "val")
        whole = record(source, davis.images, clips=davis.clips)
        assert check_counts(source, whole).differences == ()
        require_published(source, whole, any_count=False)

    def test_others_are_refused_with_both_numbers_and_a_way_out(self) -> None:
        source = published("davis", "val")
        lacking = record(source, 1998, clips=29)
        with pytest.raises(DataError) as raised:
            require_published(source, lacking, any_count=False)
        text = str(raised.value)
        assert "davis/val" in text
        assert "expected 1999 images, 30 clips; got 1998 images, 29 clips" in text
        assert "--verify-existing" in text
        assert "--any-count" in text
        require_published(source, lacking, any_count=True)

    def test_a_folder_only_warns(self) -> None:
        source = Read("davis", "val", {DAVIS_ZIP: "unverified:ab"})
        lacking = record(source, 1998, clips=30)
        require_published(source, lacking, any_count=False)
        assert str(check_counts(source, lacking)) == "davis/val: 1,998 images, published 1,999"

    @pytest.mark.parametrize(
        ("digest", "version", "subset"),
        [
            ("sha256:" + "0" * 64, "1", None),
            (None, "1 --clips=b*", None),
            (None, "1", "1% blake3:00"),
        ],
    )
    def test_what_the_user_knows_is_not_told(
        self, digest: str | None, version: str, subset: str | None
    ) -> None:
        """Other bytes by --any-content, a part by --clips, a subset."""
        source = published("davis", "val", version=version)
        source = Read("davis", "val", {DAVIS_ZIP: digest or source.digests[DAVIS_ZIP]}, version)
        found = record(source, 7, subset, clips=1)
        assert check_counts(source, found).differences == ()


class TestStatedCounts:
    def test_they_only_warn(self) -> None:
        source = published("coco", "val2017")
        assert not facts("coco", "val2017").verified
        lacking = record(source, 4999, objects=36781)
        require_published(source, lacking, any_count=False)
        (difference,) = check_counts(source, lacking).differences
        assert str(difference) == "4,999 images, published 5,000"

    def test_objects_without_pixels_and_without_image_were_published_too(self) -> None:
        source = published("coco", "val2017")
        found = record(source, 5000, objects=36770, zero_area=10, annotations_without_image=1)
        assert check_counts(source, found).differences == ()

    def test_quarantine_hides_how_many_objects_there_are(self) -> None:
        source = published("coco", "val2017")
        found = record(source, 5000, objects=36000, missing=3)
        assert check_counts(source, found).differences == ()


def test_a_data_set_that_is_not_listed_has_no_published_counts() -> None:
    source = Read("made-up", "stills", {})
    assert check_counts(source, record(source, 3)).differences == ()


def test_the_check_comes_before_the_split_is_complete(tmp_path: Path) -> None:
    raw = tmp_path / "raw" / "sa-co-veval"
    for domain in ("sav", "yt1b", "smartglasses"):
        path = clip_pairs_file(raw / f"saco_veval_{domain}_val.json", [(f"a {domain}", 1)])
        _ledger_entry(raw, path)
    (corpus,) = open_splits(
        "sa-co-veval", ["val"], tmp_path / "raw", LayoutOptions(), downloaded=True
    )
    assert isinstance(corpus, PhraseCorpus)
    store = LocalObjectStore(tmp_path / "root")
    with pytest.raises(DataError, match="expected 5157 records; got 3 records"):
        normalize_text(store, corpus)
    assert not list((tmp_path / "root").rglob("split.json"))
    assert normalize_text(store, corpus, any_count=True).phrases == 3
    assert normalize_text(store, corpus).phrases == 3


def _ledger_entry(folder: Path, path: Path) -> None:
    body = path.read_bytes()
    Ledger(folder).append(
        LedgerEntry(
            name=path.name,
            kind="file",
            url="https://example.org/" + path.name,
            bytes=len(body),
            sha256=hashlib.sha256(body).hexdigest(),
            checksum=None,
            verified=False,
            when="2026-01-01T00:00:00+00:00",
            licence="",
            licence_accepted=False,
        )
    )
