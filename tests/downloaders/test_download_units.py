from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from downloaders.base import (
    NO_CONTEXT,
    DatasetEntry,
    DownloadContext,
    DownloadPlan,
    Fetched,
    Fetcher,
    FetchRequest,
    RemoteFile,
)
from downloaders.coco import COCO
from downloaders.fetch import ResumingFetcher
from downloaders.file_list import FileListDownloader
from downloaders.ledger import Ledger
from downloaders.raw_folder import BringOptions
from pipelines.engine.executor import run_unit
from pipelines.engine.ray_executor import RayExecutor, local_runtime
from pipelines.engine.work import Executor, Failure
from pipelines.jobs.download import DownloadJob, DownloadReport
from pipelines.jobs.download_units import Cluster, DownloadStage
from schemas.errors import UsageError
from tests.downloaders.conftest import make_zip, sha256
from tests.downloaders.fault_server import FaultServer, Handler, cut, serve, status
from tests.downloaders.test_download_command import arguments, invoke
from tests.downloaders.test_links import SOURCE, serve_list


@dataclass(frozen=True)
class DeadlyDownloader:
    """Kills its process in the middle of its first fetch."""

    listed: FileListDownloader

    @property
    def entry(self) -> DatasetEntry:
        return self.listed.entry

    def plan(self, splits: Sequence[str], context: DownloadContext = NO_CONTEXT) -> DownloadPlan:
        return self.listed.plan(splits, context)

    def fetch(self, request: FetchRequest, fetcher: Fetcher) -> Fetched:
        died = request.folder / "died"

        def progress(done: int) -> None:
            if done > 100_000 and not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)

        return fetcher.fetch(replace(request, progress=progress))


def open_ray(overlap: int) -> Executor:
    return RayExecutor(workers=2, cpus_per_worker=0.5, overlap=overlap)


CLUSTER = Cluster(workers=2, open=open_ray)


@pytest.fixture(scope="module")
def runtime() -> Iterator[None]:
    with local_runtime(2):
        yield


def listed(server: FaultServer, count: int, body: bytes | None = None) -> FileListDownloader:
    files = []
    for number in range(count):
        content = body or make_zip({f"{number}.jpg": bytes([number])})
        files.append(
            RemoteFile(
                name=f"{number}.zip",
                path=f"{number}.zip",
                urls=(server.put(f"{number}.zip", content),),
                kind="zip",
                splits=("val2017",),
                bytes=len(content),
                checksum=sha256(content),
            )
        )
    return FileListDownloader(entry=COCO.entry, files=tuple(files))


def bring(
    downloader: FileListDownloader | DeadlyDownloader, root: Path, jobs: int
) -> tuple[DownloadReport, dict[str, int]]:
    done: dict[str, int] = {}
    with ResumingFetcher() as fetcher:
        job = DownloadJob(downloader, root, fetcher, jobs=jobs, cluster=CLUSTER)
        plan = job.plan(["val2017"])
        return job.run(plan, lambda file, size: done.update({file.name: size})), done


@pytest.mark.ray
@pytest.mark.usefixtures("runtime")
def test_workers_share_a_ledger_and_the_connections_to_a_host(
    server: FaultServer, tmp_path: Path
) -> None:
    lock, busy = threading.Lock(), [0, 0]

    def counted(handler: Handler, body: bytes) -> None:
        with lock:
            busy[0] += 1
            busy[1] = max(busy)
        time.sleep(0.05)
        serve(handler, body)
        with lock:
            busy[0] -= 1

    downloader = listed(server, 60)
    for file in downloader.files:
        server.faults[f"/{file.name}"] = [counted]
    server.faults["/7.zip"] = [status(404)]

    report, done = bring(downloader, tmp_path, jobs=32)

    assert [outcome.name for outcome in report.outcomes] == [file.name for file in downloader.files]
    assert [outcome.name for outcome in report.failed] == ["7.zip"]
    assert "HTTP 404" in report.failed[0].detail
    assert 2 < busy[1] <= 16
    assert done == {file.name: file.bytes for file in downloader.files if file.name != "7.zip"}
    assert sorted(Ledger(tmp_path / "coco").latest()) == sorted(done)

    server.seen.clear()
    again, _ = bring(downloader, tmp_path, jobs=2)
    assert {outcome.status for outcome in again.outcomes} == {"present", "fetched"}
    assert [seen.path for seen in server.seen] == ["/7.zip"]
    assert (
        sorted(path.suffix for path in (tmp_path / "coco").iterdir()) == [".jsonl"] + [".zip"] * 60
    )


@pytest.mark.ray
@pytest.mark.usefixtures("runtime")
def test_another_worker_goes_on_with_the_part_of_one_that_died(
    server: FaultServer, body: bytes, tmp_path: Path
) -> None:
    downloader = DeadlyDownloader(listed(server, 1, body))

    report, _ = bring(downloader, tmp_path, jobs=1)

    assert not report.failed
    assert (tmp_path / "coco/0.zip").read_bytes() == body
    first, second = server.ranges()
    assert first is None
    assert second is not None
    assert int(second.removeprefix("bytes=").removesuffix("-")) > 100_000


@pytest.mark.ray
@pytest.mark.usefixtures("runtime")
def test_workers_say_what_became_of_each_file(
    server: FaultServer, body: bytes, tmp_path: Path
) -> None:
    downloader = listed(server, 3, body)
    folder = tmp_path / "coco"
    folder.mkdir()
    (folder / "0.zip").write_bytes(body)
    (folder / "1.zip.part").write_bytes(body[:150_000])

    report, done = bring(downloader, tmp_path, jobs=1)

    assert [outcome.status for outcome in report.outcomes] == ["present", "resumed", "fetched"]
    assert report.outcomes[1].detail == downloader.files[1].urls[0]
    assert done == dict.fromkeys(done, len(body))


@pytest.mark.ray
@pytest.mark.usefixtures("runtime")
def test_workers_pause_for_links_that_a_server_refuses_before_their_end(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.jobs.fresh_links._LOOK_SECONDS", 0.01)
    path = serve_list(server, tmp_path / "list.txt", {"0.zip": 1, "1.zip": 2})
    refused = next(name for name in server.faults if name.startswith("/0.zip"))
    server.faults[refused] = [cut(100_000), status(403)]
    lines: list[str] = []

    def warn(line: str) -> None:
        lines.append(line)
        if line.startswith("paused"):
            serve_list(server, path, {"0.zip": 5})

    with ResumingFetcher() as fetcher:
        job = DownloadJob(
            SOURCE, tmp_path, fetcher, links=path, wait_for_links=True, cluster=CLUSTER, warn=warn
        )
        report = job.run(job.plan(["val2017"]), lambda _file, _done: None)

    assert [(outcome.name, outcome.status) for outcome in report.outcomes] == [
        ("0.zip", "resumed"),
        ("1.zip", "fetched"),
    ]
    assert lines[0].startswith("paused: the link of 0.zip has ended.")


@pytest.mark.ray
@pytest.mark.usefixtures("runtime")
def test_the_command_takes_workers(server: FaultServer, tmp_path: Path) -> None:
    for name in ("val2017.zip", "annotations_trainval2017.zip"):
        server.put(name, make_zip({f"{name}/1.jpg": b"subset"}))

    result = invoke(*arguments(server, tmp_path), "--workers", "2")

    assert result.exit_code == 0, result.output
    assert "fetched  val2017.zip" in result.output
    assert len(Ledger(tmp_path / "raw/coco").entries()) == 2


def test_a_machine_that_does_not_see_the_raw_folder_fetches_nothing(
    server: FaultServer, tmp_path: Path
) -> None:
    downloader = listed(server, 1)
    stage = DownloadStage(
        raw_dir=tmp_path,
        marker="coco/.shared-1",
        downloader=downloader,
        files=downloader.files,
        options=BringOptions(),
        connections=4,
        workers=2,
    )
    (unit,) = stage.units

    failure = run_unit(pickle.loads(pickle.dumps(stage)), unit)

    assert isinstance(failure, Failure)
    assert failure.kind == "data"
    assert "is another folder on this machine" in failure.error
    assert server.seen == []


def test_more_workers_than_connections_to_a_host_are_refused() -> None:
    with pytest.raises(UsageError, match=r"--workers 17 .* at most 16"):
        Cluster(workers=17, open=open_ray)
