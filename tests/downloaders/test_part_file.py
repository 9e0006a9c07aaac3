from __future__ import annotations

import errno
import os
import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from downloaders.disk import free_bytes
from downloaders.fetch import ResumingFetcher
from downloaders.part_file import PartFile
from schemas.errors import ConflictError, DownloadError, StorageError
from tests.chaos.small_disk import small_disk
from tests.downloaders.conftest import Request, sha256
from tests.downloaders.fault_server import FaultServer, Handler, endless, longer_length


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


def test_a_disk_that_others_fill_meanwhile_ends_the_fetch_before_it_is_full(
    server: FaultServer, tmp_path: Path, fetcher: ResumingFetcher, request_for: Request
) -> None:
    body = random.Random(5).randbytes(40 << 20)
    with small_disk(tmp_path / "disk", kibibytes=64 << 10) as disk:
        others = disk / "others.bin"

        def take_room(handler: Handler, body: bytes) -> None:
            handler.begin(body, 0)
            handler.wfile.write(body[: 20 << 20])
            others.write_bytes(bytes(30 << 20))
            handler.wfile.write(body[20 << 20 :])

        url = server.put("a.zip", body, take_room)
        request = request_for(url, bytes=len(body), checksum=sha256(body), kind="part")
        request = replace(request, folder=disk)
        with pytest.raises(StorageError) as caught:
            fetcher.fetch(request)

        part = disk / "a.zip.part"
        size = part.stat().st_size
        assert size >= 16 << 20
        message = str(caught.value)
        assert message.startswith(f"the rest of a.zip does not fit into {disk}; expected ")
        assert f"expected {len(body) - size} bytes free; got " in message
        assert message.endswith(f"run the same command: the {size} bytes so far stay.")
        assert free_bytes(disk) > 0

        others.unlink()
        assert fetcher.fetch(request).resumed
        assert (disk / "a.zip").read_bytes() == body
    assert server.ranges() == [None, f"bytes={size}-"]


def test_a_stream_of_unknown_length_ends_before_the_disk_is_full(
    server: FaultServer, tmp_path: Path, fetcher: ResumingFetcher, request_for: Request
) -> None:
    body = random.Random(5).randbytes(40 << 20)
    with small_disk(tmp_path / "disk", kibibytes=24 << 10) as disk:
        url = server.put("a.zip", body, endless(len(body)))
        request = replace(request_for(url, bytes=None, checksum=None, kind="part"), folder=disk)
        with pytest.raises(StorageError, match=r"the rest of a.zip .* the \d+ bytes so far stay"):
            fetcher.fetch(request)
        assert 0 < free_bytes(disk) < 16 << 20


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


def test_a_file_system_that_is_read_only_is_named(
    server: FaultServer, body: bytes, tmp_path: Path, fetcher: ResumingFetcher, request_for: Request
) -> None:
    with small_disk(tmp_path / "disk", kibibytes=1024) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        request = replace(request_for(server.put("a.zip", body)), folder=disk)
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


def test_a_fetch_that_begins_again_asks_again_whether_the_rest_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        "downloaders.part_file.require_space", lambda _folder, rest, *_: asked.append(rest)
    )
    with PartFile(tmp_path / "a.zip", None) as part:
        part.expect(40 << 20)
        part.append(bytes(17 << 20))
        part.restart(None)
        part.append(bytes(16 << 20))
    assert asked == [40 << 20, 23 << 20, 24 << 20]
