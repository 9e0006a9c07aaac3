from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from downloaders.base import RemoteFile
from downloaders.coco import COCO
from downloaders.fetch import ResumingFetcher
from downloaders.file_list import FileListDownloader
from downloaders.raw_folder import BringOptions
from pipelines.jobs.download import DownloadJob
from schemas.errors import StorageError, UnknownNameError, UsageError
from tests.downloaders.conftest import FAST, make_zip, sha256
from tests.downloaders.fault_server import FaultServer, Handler, serve, status


@pytest.fixture
def many(server: FaultServer) -> FileListDownloader:
    """Five files that say their number."""
    files = []
    for number in range(5):
        body = make_zip({f"val2017/{number}.jpg": bytes([number])})
        url = server.put(f"{number}.zip", body)
        files.append(
            RemoteFile(
                name=f"{number}.zip",
                path=f"{number}.zip",
                urls=(url,),
                kind="zip",
                splits=("val2017",),
                bytes=len(body),
                checksum=sha256(body),
            )
        )
    return FileListDownloader(entry=COCO.entry, files=tuple(files))


@pytest.mark.parametrize("jobs", [1, 3, 64])
def test_brings_all_files_and_reports_in_the_order_of_the_plan(
    jobs: int, tmp_path: Path, many: FileListDownloader, fetcher: ResumingFetcher
) -> None:
    job = DownloadJob(many, tmp_path, fetcher, jobs=jobs)
    done: dict[str, int] = {}

    report = job.run(job.plan(["val2017"]), lambda file, size: done.update({file.name: size}))

    assert [outcome.name for outcome in report.outcomes] == [f"{n}.zip" for n in range(5)]
    assert {outcome.status for outcome in report.outcomes} == {"fetched"}
    assert not report.failed
    assert done == {file.name: file.bytes for file in many.files}


def test_never_more_files_at_a_time_than_asked_for(
    tmp_path: Path, many: FileListDownloader, server: FaultServer, fetcher: ResumingFetcher
) -> None:
    lock, both, busy = threading.Lock(), threading.Barrier(2, timeout=10), [0, 0]

    def counted(handler: Handler, body: bytes) -> None:
        with lock:
            busy[0] += 1
            busy[1] = max(busy)
        serve(handler, body)
        with lock:
            busy[0] -= 1

    def in_pairs(handler: Handler, body: bytes) -> None:
        both.wait()  # breaks, and with it the download, unless two are under way
        counted(handler, body)

    faults = [in_pairs, in_pairs, counted, counted, counted]
    for number, fault in enumerate(faults):
        server.faults[f"/{number}.zip"] = [fault]
    job = DownloadJob(many, tmp_path, fetcher, jobs=2)

    assert not job.run(job.plan(["val2017"]), lambda _file, _size: None).failed
    assert busy[1] <= 2


def test_a_failure_is_reported_beside_the_successes(
    tmp_path: Path, many: FileListDownloader, server: FaultServer, fetcher: ResumingFetcher
) -> None:
    server.faults["/2.zip"] = [status(404)]
    job = DownloadJob(many, tmp_path, fetcher)

    report = job.run(job.plan(["val2017"]), lambda _file, _size: None)

    assert [outcome.name for outcome in report.failed] == ["2.zip"]
    assert "HTTP 404" in report.failed[0].detail


def test_a_mirror_is_tried_at_the_path_then_at_the_name(
    tmp_path: Path, server: FaultServer, fetcher: ResumingFetcher
) -> None:
    body = make_zip({"val2017/1.jpg": b"subset"})
    server.put("base/val2017.zip", body)
    server.put("base/annotations/annotations_trainval2017.zip", body)
    options = BringOptions(any_content=True)
    job = DownloadJob(
        COCO, tmp_path, fetcher, origin=f"{server.base}/base/", options=options, jobs=1
    )

    report = job.run(job.plan(["val2017"]), lambda _file, _size: None)

    assert not report.failed
    assert [seen.path for seen in server.seen] == [
        "/base/annotations/annotations_trainval2017.zip",
        "/base/zips/val2017.zip",
        "/base/val2017.zip",
    ]


@pytest.mark.parametrize(
    ("origin", "text"), [("nowhere", "--from nowhere is no folder"), ("ftp://a", "'ftp'")]
)
def test_an_origin_that_cannot_be_is_refused_at_once(
    origin: str, text: str, tmp_path: Path, fetcher: ResumingFetcher
) -> None:
    with pytest.raises(UsageError, match=text):
        DownloadJob(COCO, tmp_path, fetcher, origin=origin)


def test_an_unknown_split_is_refused(tmp_path: Path, fetcher: ResumingFetcher) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean val2017"):
        DownloadJob(COCO, tmp_path, fetcher).plan(["val2071"])


def test_what_cannot_fit_is_not_begun(
    tmp_path: Path, many: FileListDownloader, server: FaultServer, fetcher: ResumingFetcher
) -> None:
    huge = replace(many, files=(*many.files[:4], replace(many.files[4], bytes=1 << 60)))
    job = DownloadJob(huge, tmp_path, fetcher)

    with pytest.raises(StorageError, match=r"COCO 2017 does not fit into .* bytes free"):
        job.run(job.plan(["val2017"]), lambda _file, _size: None)
    assert server.seen == []


def test_a_published_size_says_nothing_about_other_content(
    tmp_path: Path, many: FileListDownloader, fetcher: ResumingFetcher
) -> None:
    # A small stand-in for a large data set must not ask for the large one's room.
    huge = replace(many, files=(*many.files[:4], replace(many.files[4], bytes=1 << 60)))
    job = DownloadJob(huge, tmp_path, fetcher, options=BringOptions(any_content=True))

    assert not job.run(job.plan(["val2017"]), lambda _file, _size: None).failed


def test_a_licence_that_must_be_accepted_is_asked_for(
    tmp_path: Path, many: FileListDownloader, fetcher: ResumingFetcher
) -> None:
    strict = replace(many, entry=replace(COCO.entry, must_accept=True))
    job = DownloadJob(strict, tmp_path, fetcher)
    with pytest.raises(UsageError, match="--accept-licence"):
        job.run(job.plan(["val2017"]), lambda _file, _size: None)

    accepting = DownloadJob(strict, tmp_path, fetcher, options=BringOptions(licence_accepted=True))
    assert not accepting.run(job.plan(["val2017"]), lambda _file, _size: None).failed


def test_an_error_in_the_progress_display_ends_the_run(
    tmp_path: Path, many: FileListDownloader
) -> None:
    def broken(_file: RemoteFile, _size: int) -> None:
        raise RuntimeError("display")

    with ResumingFetcher(FAST) as fetcher:
        job = DownloadJob(many, tmp_path, fetcher)
        with pytest.raises(RuntimeError, match="display"):
            job.run(job.plan(["val2017"]), broken)
