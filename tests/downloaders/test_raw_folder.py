from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from downloaders.base import Downloader
from downloaders.coco import COCO
from downloaders.davis import DAVIS
from downloaders.fetch import ResumingFetcher
from downloaders.file_list import FileListDownloader
from downloaders.ledger import Ledger
from downloaders.raw_folder import BringOptions, FileOutcome, RawFolder
from downloaders.sources import find_sources, open_sources
from schemas.errors import IncompleteError, IntegrityError
from tests.downloaders.conftest import make_zip, sha256
from tests.downloaders.fault_server import FaultServer, status

VAL = make_zip({"val2017/1.jpg": b"image"})
ANNOTATIONS = make_zip({"annotations/instances_val2017.json": b"{}"})

Bring = Callable[..., list[FileOutcome]]


def stand_in(downloader: Downloader, bodies: dict[str, bytes], base: str) -> FileListDownloader:
    """The real data set with the size, checksum and place of the given small archives."""
    files = tuple(
        replace(
            file,
            bytes=len(bodies[file.name]),
            checksum=sha256(bodies[file.name]),
            urls=(f"{base}/{file.name}",),
        )
        for file in downloader.plan([]).files
        if file.name in bodies
    )
    return FileListDownloader(entry=downloader.entry, files=files)


@pytest.fixture
def coco(server: FaultServer) -> FileListDownloader:
    server.put("val2017.zip", VAL)
    server.put("annotations_trainval2017.zip", ANNOTATIONS)
    bodies = {"val2017.zip": VAL, "annotations_trainval2017.zip": ANNOTATIONS}
    return stand_in(COCO, bodies, server.base)


@pytest.fixture
def bring(tmp_path: Path, coco: FileListDownloader, fetcher: ResumingFetcher) -> Bring:
    def run(**options: object) -> list[FileOutcome]:
        raw = RawFolder(
            tmp_path / "raw" / "coco",
            coco,
            fetcher,
            BringOptions(**options),  # type: ignore[arg-type]
        )
        return [raw.bring(file, lambda _done: None) for file in coco.plan(["val2017"]).files]

    return run


def statuses(outcomes: list[FileOutcome]) -> list[str]:
    assert all(outcome.detail for outcome in outcomes if outcome.status == "failed")
    return [outcome.status for outcome in outcomes]


def test_the_second_run_asks_for_nothing(tmp_path: Path, bring: Bring, server: FaultServer) -> None:
    assert statuses(bring()) == ["fetched", "fetched"]
    requests, ledger = len(server.seen), (tmp_path / "raw/coco/ledger.jsonl").read_bytes()

    assert statuses(bring()) == ["present", "present"]
    assert len(server.seen) == requests
    assert (tmp_path / "raw/coco/ledger.jsonl").read_bytes() == ledger


def test_the_ledger_says_where_everything_came_from(
    tmp_path: Path, bring: Bring, server: FaultServer
) -> None:
    bring(licence_accepted=True)

    entry = Ledger(tmp_path / "raw" / "coco").latest()["val2017.zip"]
    assert entry.url == f"{server.base}/val2017.zip"
    assert (entry.bytes, entry.digest, entry.checksum) == (len(VAL), sha256(VAL), sha256(VAL))
    assert entry.verified
    assert entry.licence_accepted
    assert "CC BY 4.0" in entry.licence
    assert entry.when.endswith("+00:00")


def test_a_file_that_the_ledger_missed_is_checked_and_recorded(
    tmp_path: Path, bring: Bring, server: FaultServer
) -> None:
    """A crash after publishing and before the ledger leaves exactly this."""
    folder = tmp_path / "raw" / "coco"
    bring()
    Ledger(folder).path.unlink()
    server.seen.clear()

    assert statuses(bring()) == ["present", "present"]
    assert server.seen == []
    assert Ledger(folder).latest()["val2017.zip"].verified


def test_an_unknown_file_with_wrong_bytes_is_refused(tmp_path: Path, bring: Bring) -> None:
    folder = tmp_path / "raw" / "coco"
    folder.mkdir(parents=True)
    (folder / "val2017.zip").write_bytes(make_zip({"val2017/1.jpg": b"other"}))

    outcomes = bring()

    assert statuses(outcomes) == ["fetched", "failed"]
    assert "is not what it should be: expected" in outcomes[1].detail
    assert "Delete it" in outcomes[1].detail


def test_rot_is_found_when_asked_for(tmp_path: Path, bring: Bring) -> None:
    bring()
    path = tmp_path / "raw/coco/val2017.zip"
    body = bytearray(path.read_bytes())
    body[40] ^= 1
    path.write_bytes(body)

    assert statuses(bring()) == ["present", "present"]
    assert statuses(bring(verify_existing=True)) == ["present", "failed"]


def test_a_shorter_file_is_found_without_asking(tmp_path: Path, bring: Bring) -> None:
    bring()
    path = tmp_path / "raw/coco/val2017.zip"
    path.write_bytes(path.read_bytes()[:-1])

    assert statuses(bring()) == ["present", "failed"]
    with pytest.raises(IntegrityError, match="changed since it was downloaded"):
        find_sources(tmp_path / "raw", "coco", "val2017")


def test_one_failure_leaves_the_others_alone(
    tmp_path: Path, bring: Bring, server: FaultServer
) -> None:
    server.put("annotations_trainval2017.zip", ANNOTATIONS, status(404))

    assert statuses(bring()) == ["failed", "fetched"]
    with pytest.raises(
        IncompleteError,
        match=r"annotations_trainval2017\.zip is missing\. "
        r"Run `samdistill download coco --split val2017`",
    ):
        find_sources(tmp_path / "raw", "coco", "val2017")
    assert statuses(bring()) == ["fetched", "present"]


def test_a_leftover_part_goes_when_the_file_is_there(tmp_path: Path, bring: Bring) -> None:
    bring()
    part = tmp_path / "raw/coco/val2017.zip.part"
    part.write_bytes(b"rest")

    bring()

    assert not part.exists()


@pytest.mark.parametrize("layout", ["{name}", "{path}"])
def test_archives_in_a_folder_are_linked(
    layout: str, tmp_path: Path, bring: Bring, coco: FileListDownloader, server: FaultServer
) -> None:
    bodies = {"val2017.zip": VAL, "annotations_trainval2017.zip": ANNOTATIONS}
    origin = tmp_path / "have"
    for file in coco.files:
        path = origin / layout.format(name=file.name, path=file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bodies[file.name])

    assert statuses(bring(origin=origin)) == ["adopted", "adopted"]
    assert server.seen == []
    assert (tmp_path / "raw/coco/val2017.zip").stat().st_nlink == 2
    assert Ledger(tmp_path / "raw/coco").latest()["val2017.zip"].verified


def test_archives_are_copied_where_links_are_impossible(
    tmp_path: Path, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin, link = tmp_path / "have", os.link
    origin.mkdir()
    (origin / "val2017.zip").write_bytes(VAL)

    def other_disk(source: Path, target: Path) -> None:
        if origin in Path(source).parents:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(source, target)

    monkeypatch.setattr(os, "link", other_disk)

    assert statuses(bring(origin=origin)) == ["failed", "adopted"]
    copy = tmp_path / "raw/coco/val2017.zip"
    assert copy.read_bytes() == VAL
    assert copy.stat().st_nlink == 1
    assert sorted(path.name for path in copy.parent.iterdir()) == ["ledger.jsonl", "val2017.zip"]


def test_other_bytes_in_a_folder_need_the_option_then_and_later(
    tmp_path: Path, bring: Bring
) -> None:
    origin = tmp_path / "have"
    origin.mkdir()
    (origin / "val2017.zip").write_bytes(make_zip({"val2017/1.jpg": b"subset"}))
    (origin / "annotations_trainval2017.zip").write_bytes(ANNOTATIONS)

    outcomes = bring(origin=origin)
    assert statuses(outcomes) == ["adopted", "failed"]
    assert "add --any-content" in outcomes[1].detail
    assert not (tmp_path / "raw/coco/val2017.zip").exists()

    assert statuses(bring(origin=origin, any_content=True)) == ["present", "adopted"]
    assert not Ledger(tmp_path / "raw/coco").latest()["val2017.zip"].verified
    assert statuses(bring(any_content=True)) == ["present", "present"]
    outcomes = bring()
    assert statuses(outcomes) == ["present", "failed"]
    assert "accepted by --any-content" in outcomes[1].detail


def test_a_page_in_a_folder_is_refused_with_the_option_too(tmp_path: Path, bring: Bring) -> None:
    (tmp_path / "val2017.zip").write_bytes(b"<html><title>Quota</title></html>")

    outcomes = bring(origin=tmp_path, any_content=True)

    assert "an HTML page titled 'Quota'" in outcomes[1].detail


@pytest.mark.parametrize("images", ["val2017", "images/val2017"])
def test_an_unpacked_folder_stands_in_for_the_archives(
    images: str, tmp_path: Path, bring: Bring, server: FaultServer
) -> None:
    origin = tmp_path / "data"
    (origin / images).mkdir(parents=True)
    (origin / images / "1.jpg").write_bytes(b"image")
    (origin / "annotations").mkdir()
    (origin / "annotations/instances_val2017.json").write_bytes(b"{}")

    assert statuses(bring(origin=origin)) == ["adopted", "adopted"]
    assert statuses(bring(origin=origin)) == ["present", "present"]
    assert statuses(bring()) == ["present", "present"]
    assert server.seen == []
    assert len(Ledger(tmp_path / "raw/coco").entries()) == 2

    readers = open_sources(tmp_path / "raw", "coco", "val2017")
    names = [reader.name for reader in readers]
    assert names == ["annotations_trainval2017.zip", "val2017.zip"]
    assert [list(reader.members()) for reader in readers] == [
        ["annotations/instances_val2017.json"],
        ["val2017/1.jpg"],
    ]
    assert readers[1].read("val2017/1.jpg") == b"image"
    digests = [source.digest for source in find_sources(tmp_path / "raw", "coco", "val2017")]
    assert digests == ["unverified", "unverified"]


def test_archives_and_folders_look_the_same_to_later_stages(tmp_path: Path, bring: Bring) -> None:
    bring()

    readers = open_sources(tmp_path / "raw", "coco")

    assert [reader.name for reader in readers] == ["annotations_trainval2017.zip", "val2017.zip"]
    assert readers[1].read("val2017/1.jpg") == b"image"
    sources = find_sources(tmp_path / "raw", "coco")
    assert [source.digest for source in sources] == [sha256(ANNOTATIONS), sha256(VAL)]
    for reader in readers:
        reader.close()


def test_a_folder_that_is_gone_is_fetched_after_all(tmp_path: Path, bring: Bring) -> None:
    (tmp_path / "data/val2017").mkdir(parents=True)
    bring(origin=tmp_path / "data")
    (tmp_path / "data/val2017").rmdir()

    assert statuses(bring()) == ["fetched", "fetched"]
    assert [source.top for source in find_sources(tmp_path / "raw", "coco", "val2017")] == [
        None,
        None,
    ]


def test_a_folder_without_the_data_set_says_what_was_looked_for(
    tmp_path: Path, bring: Bring
) -> None:
    outcomes = bring(origin=tmp_path)

    assert statuses(outcomes) == ["failed", "failed"]
    assert (
        "expected zips/val2017.zip or val2017.zip or val2017/ or images/val2017/"
        in outcomes[1].detail
    )


@pytest.mark.parametrize("given", ["", "DAVIS", "DAVIS-renamed"])
def test_davis_is_found_at_or_below_the_folder(
    given: str, tmp_path: Path, fetcher: ResumingFetcher
) -> None:
    name = given or "DAVIS"
    for below in ("JPEGImages/480p/judo", "Annotations/480p/judo", "ImageSets/2017"):
        (tmp_path / "data" / name / below).mkdir(parents=True)
    (tmp_path / "data" / name / "JPEGImages/480p/judo/00000.jpg").write_bytes(b"frame")
    options = BringOptions(origin=tmp_path / "data" / given)
    raw = RawFolder(tmp_path / "raw/davis", DAVIS, fetcher, options)

    outcome = raw.bring(DAVIS.files[0], lambda _done: None)

    assert outcome.status == "adopted"
    (reader,) = open_sources(tmp_path / "raw", "davis", "val")
    assert list(reader.members()) == ["DAVIS/JPEGImages/480p/judo/00000.jpg"]


def test_davis_at_another_resolution_is_not_taken_for_it(
    tmp_path: Path, fetcher: ResumingFetcher
) -> None:
    (tmp_path / "DAVIS/JPEGImages/Full-Resolution").mkdir(parents=True)
    raw = RawFolder(tmp_path / "raw", DAVIS, fetcher, BringOptions(origin=tmp_path))

    assert raw.bring(DAVIS.files[0], lambda _done: None).status == "failed"


def test_nothing_downloaded_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match="Run `samdistill download davis`"):
        open_sources(tmp_path, "davis")


def test_readers_already_open_are_closed_when_a_later_one_fails(
    tmp_path: Path, bring: Bring
) -> None:
    bring()
    path = tmp_path / "raw/coco/val2017.zip"
    path.write_bytes(bytes(path.stat().st_size))

    # An unclosed descriptor would surface as a ResourceWarning, which is an error here.
    with pytest.raises(OSError, match="is damaged"):
        open_sources(tmp_path / "raw", "coco")


def test_missing_bytes_counts_parts_and_present_files(
    tmp_path: Path, coco: FileListDownloader, fetcher: ResumingFetcher
) -> None:
    folder = tmp_path / "raw"
    raw = RawFolder(folder, coco, fetcher, BringOptions())
    plan = coco.plan(["val2017"])
    assert raw.missing_bytes(plan) == len(VAL) + len(ANNOTATIONS)
    folder.mkdir()
    (folder / "val2017.zip.part").write_bytes(VAL[:30])
    (folder / "annotations_trainval2017.zip").write_bytes(ANNOTATIONS)
    assert raw.missing_bytes(plan) == len(VAL) - 30
    other = RawFolder(folder, coco, fetcher, BringOptions(any_content=True))
    assert other.missing_bytes(plan) == 0
