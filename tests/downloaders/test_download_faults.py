"""Every fault through the command: recovered, or exit code 1 and one line per file."""

from __future__ import annotations

import os
import random
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from downloaders.coco import COCO
from downloaders.file_list import FileListDownloader
from tests.downloaders.conftest import FAST, make_zip, sha256
from tests.downloaders.fault_server import (
    RECOVERED,
    Fault,
    FaultServer,
    cut,
    endless,
    flip,
    longer_length,
    page,
    serve,
    status,
    whole_cut,
)
from tests.downloaders.test_download_command import invoke
from tests.downloaders.test_links import signed as signed_link

BODIES = {
    name: make_zip({f"{name}.jpg": random.Random(name).randbytes(400_000)})
    for name in ("first.zip", "second.zip")
}
FIRST = BODIES["first.zip"]
GZIP = b"\x1f\x8b\x08\x00" + bytes(len(FIRST) - 4)


def other(body: bytes) -> Fault:
    """Serve another file of the same length."""
    return lambda handler, _body: serve(handler, body)


REPORTED: dict[str, tuple[Fault, str]] = {
    "401": (status(401), "HTTP 401: the server asks for a login"),
    "403": (status(403), "HTTP 403: the server refuses"),
    "404": (status(404), "HTTP 404: the server has no such file"),
    "410": (status(410), "HTTP 410: the file was removed"),
    "429 for ever": (status(429, {"Retry-After": "0"}), "gave up after 4 attempts"),
    "503 for ever": (status(503), "HTTP 503: Service Unavailable (gave up after 4 attempts)"),
    "quota page": (page("Quota exceeded"), "an HTML page titled 'Quota exceeded'"),
    "gzip as zip": (other(GZIP), "expected a zip file"),
    "bit flip": (flip(200_000), "expected sha256:"),
    "wrong length": (longer_length(100), "is not the published first.zip"),
    "short, of no stated length": (endless(150_000), "it is truncated"),
    "always cut, no ranges": (whole_cut(150_000), "gave up after 4 attempts"),
    "redirect loop": (status(302, {"Location": "/first.zip"}), "redirected more than 10 times"),
    "redirect to ftp": (status(302, {"Location": "ftp://127.0.0.1/x"}), "ftp:// is no web address"),
}


@pytest.fixture(autouse=True)
def known(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> FileListDownloader:
    """A data set of two files with published checksums, and little patience."""
    template = replace(COCO.files[0], splits=("val2017",), unpacked=None, kind="zip")
    files = tuple(
        replace(
            template,
            name=name,
            path=name,
            urls=(server.put(name, body),),
            bytes=len(body),
            checksum=sha256(body),
        )
        for name, body in BODIES.items()
    )
    monkeypatch.setattr("downloaders.fetch.Policy", lambda: FAST)
    known = FileListDownloader(entry=COCO.entry, files=files)
    offer(known, monkeypatch)
    return known


def offer(known: FileListDownloader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("downloaders.registry.find_dataset", lambda _name: known)


def download(root: Path) -> tuple[int, list[str], list[str]]:
    """Return the exit code, the lines that say ``failed``, and those of files that came."""
    result = invoke("download", "coco", "--split", "val2017", "--root", str(root))
    # The server runs in this process, and complains there when a client hangs up on it.
    failed = [line for line in result.stderr.splitlines() if line.startswith("failed ")]
    came = ("fetched", "resumed", "present")
    return result.exit_code, failed, [x for x in result.stdout.splitlines() if x.startswith(came)]


def assert_whole(root: Path) -> None:
    folder = root / "raw/coco"
    assert sorted(path.name for path in folder.iterdir()) == [
        "first.zip",
        "ledger.jsonl",
        "second.zip",
    ]
    for name, body in BODIES.items():
        assert (folder / name).read_bytes() == body


@pytest.mark.parametrize("fault", RECOVERED)
def test_recovers_in_the_same_run_from(fault: str, server: FaultServer, tmp_path: Path) -> None:
    server.faults["/first.zip"] = list(RECOVERED[fault])

    code, failed, came = download(tmp_path)

    assert (code, failed) == (0, [])
    assert [line.split()[1] for line in came] == list(BODIES)
    assert not server.faults["/first.zip"]
    assert_whole(tmp_path)


@pytest.mark.parametrize("fault", REPORTED)
def test_reports_and_the_second_run_repairs(
    fault: str, server: FaultServer, tmp_path: Path
) -> None:
    cause, text = REPORTED[fault]
    server.faults["/first.zip"] = [cause] * 60

    code, failed, came = download(tmp_path)

    assert code == 1
    assert len(failed) == 1
    assert failed[0].startswith("failed   first.zip: first.zip could not be fetched")
    assert text in failed[0]
    assert [line.split()[1] for line in came] == ["second.zip"]
    assert not (tmp_path / "raw/coco/first.zip").exists()

    server.faults["/first.zip"] = []
    code, failed, came = download(tmp_path)
    assert (code, failed) == (0, [])
    assert came[1].startswith("present  second.zip")
    assert_whole(tmp_path)


def test_every_file_that_fails_has_a_line(server: FaultServer, tmp_path: Path) -> None:
    server.faults["/first.zip"] = [status(401)]
    server.faults["/second.zip"] = [status(404)]

    code, failed, came = download(tmp_path)

    assert (code, came) == (1, [])
    assert ["HTTP 401" in failed[0], "HTTP 404" in failed[1]] == [True, True]


def test_a_server_that_is_not_there_is_reported(
    known: FileListDownloader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    urls = (f"http://127.0.0.1:{port}/first.zip",)
    lost = (replace(known.files[0], urls=urls), known.files[1])
    offer(replace(known, files=lost), monkeypatch)

    code, failed, _ = download(tmp_path)

    assert (code, len(failed)) == (1, 1)
    assert "Connection refused (gave up after 4 attempts)" in failed[0]

    offer(known, monkeypatch)
    assert download(tmp_path)[0] == 0
    assert_whole(tmp_path)


def test_a_file_that_changed_between_runs_begins_again(server: FaultServer, tmp_path: Path) -> None:
    changed = bytearray(FIRST)
    changed[100_000] ^= 1
    server.files["/first.zip"] = bytes(changed)
    server.faults["/first.zip"] = [cut(150_000), *[status(403)] * 9]
    code, failed, _ = download(tmp_path)
    assert (code, len(failed)) == (1, 1)
    assert os.path.getsize(tmp_path / "raw/coco/first.zip.part") == 150_000

    server.put("first.zip", FIRST)
    assert download(tmp_path)[:2] == (0, [])
    assert_whole(tmp_path)


def test_a_signed_link_that_ends_in_mid_file_is_reported_and_a_fresh_one_goes_on(
    known: FileListDownloader,
    server: FaultServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def signed(hours: float, *faults: Fault) -> None:
        url = signed_link(f"{server.base}/first.zip", hours)
        server.put(url.removeprefix(f"{server.base}/"), FIRST, *faults)
        first = replace(known.files[0], urls=(url,))
        offer(replace(known, files=(first, known.files[1])), monkeypatch)

    signed(1, cut(150_000), status(403))
    code, failed, _ = download(tmp_path)
    assert (code, len(failed)) == (1, 1)
    assert failed[0].startswith("failed   first.zip: ")
    assert "Get a fresh list of links" in failed[0]
    assert "secret" not in failed[0]

    signed(2)
    code, failed, came = download(tmp_path)
    assert (code, failed) == (0, [])
    assert came[0].startswith("resumed  first.zip")
    assert_whole(tmp_path)
