from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from downloaders.base import DownloadContext, RemoteFile
from downloaders.drive import DriveTransport
from downloaders.drive_folder import DriveEntry, list_drive_folder
from downloaders.fetch import ResumingFetcher
from downloaders.lvos import LVOS_V1, LVOS_V2
from downloaders.registry import open_transport, transport_name
from downloaders.sources import find_sources
from downloaders.transport import Policy, Transport
from pipelines.jobs.download import DownloadJob, DownloadReport
from schemas.errors import DownloadError
from tests.downloaders.conftest import make_zip
from tests.downloaders.fault_server import Fault, FaultServer, page, status
from tests.downloaders.test_drive import QUOTA_PAGE, html

FOLDER = LVOS_V2.folders[0]
META = json.dumps({"videos": {"7K7WVzGG": {"objects": {"1": {"frame_range": {"start": 1}}}}}})
ARCHIVE = make_zip({"train/JPEGImages/7K7WVzGG/00000001.jpg": b"frame"})


def entry(place: str, name: str) -> str:
    """One entry, as the page that Drive lets others embed has it."""
    return f"""<div class="flip-entry" id="entry-x" tabindex="0" role="link">
<div class="flip-entry-info"><a href="https://{place}" target="_blank">
<div class="flip-entry-visual"><div class="flip-entry-icon"><img src="https://x.test/i.png"
alt="JSON"/></div></div><div class="flip-entry-title">{name}</div></a></div>
<div class="flip-entry-last-modified"><div>4/24/24</div></div></div>"""


def folder_page(*entries: str) -> Fault:
    return html(
        "<!DOCTYPE html><html><head><title>LVOS meta</title></head><body><div id='folder-view'>"
        f'<div class="flip-entries">{"".join(entries)}</div></div></body></html>'
    )


def file(drive_id: str, name: str) -> str:
    return entry(f"drive.google.com/file/d/{drive_id}/view?usp=drive_web", name)


def folder(drive_id: str, name: str) -> str:
    return entry(f"drive.google.com/drive/folders/{drive_id}?usp=sharing", name)


def put_folder(server: FaultServer, drive_id: str, *answers: Fault) -> None:
    server.put(f"embeddedfolderview?id={drive_id}", b"", *answers)


def put_file(server: FaultServer, drive_id: str, body: bytes) -> None:
    server.put(f"download?id={drive_id}&export=download&confirm=t", body)


@pytest.fixture(autouse=True)
def _drive(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def local(name: str, policy: Policy) -> Transport:
        drive = name == transport_name("gdrive://")
        return DriveTransport(policy, base=server.base) if drive else open_transport(name, policy)

    monkeypatch.setattr("downloaders.fetch.open_transport", local)
    monkeypatch.setattr("downloaders.drive_folder.BASE", server.base)


def small(file: RemoteFile) -> RemoteFile:
    return replace(file, bytes=None, checksum=None)


def bring(root: Path, fetcher: ResumingFetcher, origin: str | None = None) -> DownloadReport:
    downloader = replace(LVOS_V2, files=tuple(map(small, LVOS_V2.files)))
    job = DownloadJob(downloader, root, fetcher, origin=origin)
    return job.run(job.plan(["train"]), lambda _file, _done: None)


@pytest.fixture
def shared(server: FaultServer) -> FaultServer:
    """Drive with the archive of train, and with the folder that has its JSON file."""
    put_file(server, LVOS_V2.files[0].urls[0].removeprefix("gdrive://"), ARCHIVE)
    put_folder(
        server,
        FOLDER,
        folder_page(
            file("id-read", "README.txt"),
            file("id-val", "valid_meta.json"),
            file("id-train", "train_meta.json"),
            entry("docs.google.com/spreadsheets/d/id-sheet/edit", "train_meta.json"),
        ),
    )
    put_file(server, "id-train", META.encode())
    return server


def test_the_files_that_name_objects_come_with_the_archive(
    shared: FaultServer, tmp_path: Path, fetcher: ResumingFetcher
) -> None:
    report = bring(tmp_path, fetcher)

    assert [(outcome.name, outcome.status) for outcome in report.outcomes] == [
        ("train.zip", "fetched"),
        ("train_meta.json", "fetched"),
    ]
    assert (tmp_path / "lvos-v2/train_meta.json").read_text() == META
    sources = find_sources(tmp_path, "lvos-v2", "train")
    assert [source.name for source in sources] == ["train.zip", "train_meta.json"]
    assert sources[1].digest.startswith("sha256:")

    shared.seen.clear()
    assert {outcome.status for outcome in bring(tmp_path, fetcher).outcomes} == {"present"}
    assert shared.seen == []


def test_what_is_missing_is_looked_for_again(
    shared: FaultServer, tmp_path: Path, fetcher: ResumingFetcher
) -> None:
    bring(tmp_path, fetcher)
    (tmp_path / "lvos-v2/train_meta.json").unlink()
    assert [s.name for s in find_sources(tmp_path, "lvos-v2", "train")] == ["train.zip"]

    put_folder(shared, FOLDER, folder_page(file("id-train", "train_meta.json")))
    assert [outcome.status for outcome in bring(tmp_path, fetcher).outcomes] == [
        "present",
        "fetched",
    ]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (html(QUOTA_PAGE), "quota for this file is used up"),
        (page("Sign in to continue to Google Drive"), "asks for a login"),
        (page("Google Drive: something new"), "another web page than expected"),
        (status(404), "no such folder, or it is not shared with everyone"),
        (status(503), "HTTP 503"),
        (folder_page(), "no folder of LVOS v2 has a file for train"),
    ],
)
def test_archives_come_when_the_folder_cannot_be_listed(
    answer: Fault, text: str, shared: FaultServer, tmp_path: Path, fetcher: ResumingFetcher
) -> None:
    put_folder(shared, FOLDER, answer)
    plan = LVOS_V2.plan(["train"], DownloadContext(folder=tmp_path / "x", online=True))
    assert [file.name for file in plan.files] == ["train.zip"]
    (warning,) = plan.warnings
    assert warning.startswith("the files that name the objects will be missing")
    assert text in warning

    put_folder(shared, FOLDER, answer)
    report = bring(tmp_path, fetcher)
    assert [(outcome.name, outcome.status) for outcome in report.outcomes] == [
        ("train.zip", "fetched")
    ]


def test_folders_in_folders_are_listed(server: FaultServer) -> None:
    put_folder(
        server, "top", folder_page(folder("sub", "train"), file("a", "test &amp; more.json"))
    )
    put_folder(server, "sub", folder_page(file("b", "train_meta.json")))

    assert list_drive_folder("top") == [
        DriveEntry(kind="file", id="b", name="train_meta.json"),
        DriveEntry(kind="file", id="a", name="test & more.json"),
    ]


def test_a_folder_that_holds_itself_ends(server: FaultServer) -> None:
    put_folder(server, "top", *[folder_page(folder("top", "again"))] * 9)
    assert list_drive_folder("top") == []


def test_a_mirror_or_a_folder_needs_no_drive(
    server: FaultServer, tmp_path: Path, fetcher: ResumingFetcher
) -> None:
    server.put("base/train.zip", ARCHIVE)
    bring(tmp_path / "a", fetcher, origin=f"{server.base}/base")
    bring(tmp_path / "b", fetcher, origin=str(tmp_path / "a/lvos-v2"))
    assert [seen.path for seen in server.seen] == ["/base/train.zip"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train_meta.json", "train"),
        ("valid_meta.json", "val"),
        ("val_expression_meta.json", "val"),
        ("test_meta_attribute.json", "test"),
        ("../train_meta.json", None),
        ("meta.json", None),
    ],
)
def test_which_split_a_file_is_of(name: str, split: str | None) -> None:
    assert LVOS_V1.split_of(name) == split


def test_a_folder_that_is_not_there_says_so() -> None:
    with pytest.raises(DownloadError, match="no such folder"):
        list_drive_folder("none")
