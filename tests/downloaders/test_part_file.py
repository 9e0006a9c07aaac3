from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from downloaders.fetch import ResumingFetcher
from downloaders.part_file import PartFile
from schemas.errors import ConflictError, DownloadError, StorageError
from tests.downloaders.conftest import Request
from tests.downloaders.fault_server import FaultServer, longer_length


def test_an_existing_file_is_never_replaced(
    server: FaultServer, body: bytes, fetcher: ResumingFetcher, request_for: Request
) -> None:
    request = request_for(server.put("a.zip", body))
    request.folder.mkdir()
    (request.folder / "a.zip").write_bytes(b"mine")

    with pytest.raises(ConflictError):
        fetcher.fetch(request)

    assert (request.folder / "a.zip").read_bytes() == b"mine"


def test_two_processes_cannot_write_one_part(
    server: FaultServer, body: bytes, fetcher: ResumingFetcher, request_for: Request
) -> None:
    request = request_for(server.put("a.zip", body))

    with PartFile(request.folder / "a.zip", None) as late:
        with PartFile(request.folder / "a.zip", None) as part:
            part.append(body[:1000])
            with pytest.raises(DownloadError, match="another process"):
                fetcher.fetch(request)
        # It looked when there was no part; now there is one, with bytes that it has not seen.
        with pytest.raises(DownloadError, match="another process"):
            late.append(body[:1000])

    assert (request.folder / "a.zip.part").read_bytes() == body[:1000]


def test_waiting_for_a_server_leaves_nothing_on_disk(tmp_path: Path) -> None:
    with PartFile(tmp_path / "raw/a.zip", None):
        assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_the_fetch_and_keeps_the_part(
    server: FaultServer,
    body: bytes,
    fetcher: ResumingFetcher,
    request_for: Request,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = request_for(server.put("a.zip", body), server.put("b.zip", body))
    part, write = request.folder / "a.zip.part", os.write

    def full(descriptor: int, data: memoryview) -> int:
        # Faulting the system call is the only way without mounting a small file system.
        if part.exists() and part.stat().st_size > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError, match="the disk is full"):
        fetcher.fetch(request)
    monkeypatch.undo()

    assert part.stat().st_size > 100_000
    assert {seen.path for seen in server.seen} == {"/a.zip"}
    assert fetcher.fetch(request).resumed


def test_a_file_that_cannot_fit_is_refused_before_its_first_byte(
    server: FaultServer, body: bytes, fetcher: ResumingFetcher, request_for: Request
) -> None:
    huge = longer_length(1 << 60)
    request = request_for(server.put("a.zip", body, huge), bytes=None, checksum=None)

    with pytest.raises(StorageError, match="does not fit"):
        fetcher.fetch(request)


def test_a_folder_that_cannot_be_written_is_named(
    server: FaultServer, body: bytes, fetcher: ResumingFetcher, request_for: Request
) -> None:
    request = request_for(server.put("a.zip", body))
    request.folder.mkdir()
    request.folder.chmod(0o500)
    if os.access(request.folder, os.W_OK):
        pytest.skip("this user may write everywhere")

    with pytest.raises(StorageError, match="not allowed to write"):
        fetcher.fetch(request)


def test_a_file_system_without_links_gets_a_rename(
    server: FaultServer,
    body: bytes,
    fetcher: ResumingFetcher,
    request_for: Request,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_source: Path, _target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    request = request_for(server.put("a.zip", body))

    fetcher.fetch(request)

    assert [path.name for path in request.folder.iterdir()] == ["a.zip"]
