"""LVIS uses COCO's archives: they are brought once, into COCO's folder, and found by both."""

from __future__ import annotations

from pathlib import Path

import pytest

from downloaders.fetch import ResumingFetcher
from downloaders.ledger import Ledger
from downloaders.raw_folder import BringOptions
from downloaders.registry import find_dataset
from downloaders.sources import find_sources
from pipelines.jobs.download import DownloadJob, DownloadReport
from schemas.errors import IncompleteError
from tests.normalize.archives import CocoSource, write_zip
from tests.normalize.lvis_source import LvisSource


def download(raw: Path, dataset: str, split: str, origin: Path) -> DownloadReport:
    with ResumingFetcher() as fetcher:
        job = DownloadJob(
            find_dataset(dataset),
            raw,
            fetcher,
            origin=str(origin),
            options=BringOptions(any_content=True),
        )
        return job.run(job.plan([split]), lambda _file, _done: None)


def test_the_plan_says_whose_the_archives_are() -> None:
    files = find_dataset("lvis").plan(["val"]).files
    assert [(file.name, file.dataset) for file in files] == [
        ("lvis_v1_val.json.zip", None),
        ("val2017.zip", "coco"),
        ("train2017.zip", "coco"),
    ]
    assert all(file.checksum for file in files)


def test_archives_of_coco_that_are_there_are_used(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    origin = LvisSource().write(tmp_path / "origin")
    write_zip(origin / "annotations_trainval2017.zip", CocoSource().annotation_members)
    coco = download(raw, "coco", "val2017", origin)
    assert not coco.failed
    lvis = download(raw, "lvis", "val", origin)
    statuses = {outcome.name: outcome.status for outcome in lvis.outcomes}
    assert statuses == {
        "lvis_v1_val.json.zip": "adopted",
        "val2017.zip": "present",
        "train2017.zip": "adopted",
    }
    assert sorted(path.name for path in (raw / "lvis").glob("*.zip")) == ["lvis_v1_val.json.zip"]
    assert {path.name for path in (raw / "coco").glob("*2017.zip")} >= {
        "train2017.zip",
        "val2017.zip",
    }
    entry = Ledger(raw / "coco").latest()["train2017.zip"]
    assert entry.licence == find_dataset("coco").entry.licence
    found = {source.name: source.path.parent.name for source in find_sources(raw, "lvis", "val")}
    assert found == {
        "lvis_v1_val.json.zip": "lvis",
        "val2017.zip": "coco",
        "train2017.zip": "coco",
    }


def test_a_missing_archive_of_coco_is_named(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    origin = LvisSource().write(tmp_path / "origin")
    download(raw, "lvis", "val", origin)
    (raw / "coco" / "train2017.zip").unlink()
    with pytest.raises(IncompleteError, match=r"coco/train2017\.zip is missing.*download lvis"):
        find_sources(raw, "lvis", "val")
