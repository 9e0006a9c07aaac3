from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.demo.server import parse_range, serve_folder
from schemas.errors import UsageError

BODY = bytes(range(256)) * 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    served = tmp_path / "served"
    (served / "zips").mkdir(parents=True)
    (served / "zips" / "a b.zip").write_bytes(BODY)
    (served / "empty").touch()
    (tmp_path / "secret").write_bytes(b"secret")
    (served / "link").symlink_to(tmp_path / "secret")
    return served


@pytest.fixture
def connection(folder: Path) -> Iterator[http.client.HTTPConnection]:
    with serve_folder(folder) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
        yield connection
        connection.close()


def ask(
    connection: http.client.HTTPConnection,
    path: str = "/zips/a%20b.zip",
    method: str = "GET",
    **headers: str,
) -> tuple[int, bytes, dict[str, str]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=named)
    response = connection.getresponse()
    return response.status, response.read(), dict(response.getheaders())


def test_a_whole_file_comes_with_validators(connection: http.client.HTTPConnection) -> None:
    status, body, headers = ask(connection)
    assert (status, body) == (200, BODY)
    assert headers["Content-Length"] == str(len(BODY))
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["ETag"].startswith('"')
    assert headers["Last-Modified"] == ask(connection, "/empty")[2]["Last-Modified"]
    assert headers["ETag"] != ask(connection, "/empty")[2]["ETag"]
    assert headers["ETag"] == ask(connection, "/zips/a%20b.zip?again")[2]["ETag"]


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=2000-", 2000, 2047),
        ("bytes=-5", 2043, 2047),
        ("bytes=2040-9999", 2040, 2047),
        ("bytes=-9999", 0, 2047),
    ],
)
def test_ranges(connection: http.client.HTTPConnection, wanted: str, first: int, last: int) -> None:
    status, body, headers = ask(connection, Range=wanted)
    assert status == 206
    assert body == BODY[first : last + 1]
    assert headers["Content-Range"] == f"bytes {first}-{last}/2048"
    assert headers["Content-Length"] == str(last + 1 - first)


@pytest.mark.parametrize("wanted", ["bytes=2048-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_outside_the_file_is_416(
    connection: http.client.HTTPConnection, wanted: str
) -> None:
    status, body, headers = ask(connection, Range=wanted)
    assert (status, body) == (416, b"")
    assert headers["Content-Range"] == "bytes */2048"
    assert ask(connection)[0] == 200, "the connection stays usable"


@pytest.mark.parametrize(
    "wanted", ["items=0-1", "bytes=5-2", "bytes=-", "bytes=0-1,4-5", "bytes=" + "9" * 5000 + "-"]
)
def test_other_ranges_are_ignored(connection: http.client.HTTPConnection, wanted: str) -> None:
    assert ask(connection, Range=wanted)[:2] == (200, BODY)


def test_if_range_guards_a_changed_file(connection: http.client.HTTPConnection) -> None:
    headers = ask(connection, method="HEAD")[2]
    for validator in (headers["ETag"], headers["Last-Modified"]):
        assert ask(connection, Range="bytes=4-7", If_Range=validator)[:2] == (206, BODY[4:8])
    for validator in ('"other"', f"W/{headers['ETag']}", "Tue, 01 Jan 2030 00:00:00 GMT"):
        assert ask(connection, Range="bytes=4-7", If_Range=validator)[:2] == (200, BODY)


def test_head_says_what_get_would_send(connection: http.client.HTTPConnection) -> None:
    status, body, headers = ask(connection, method="HEAD")
    assert (status, body) == (200, b"")
    for name in ("Content-Length", "ETag", "Last-Modified", "Accept-Ranges"):
        assert headers[name] == ask(connection)[2][name]
    assert ask(connection, "/none", method="HEAD")[0] == 404


def test_an_empty_file(connection: http.client.HTTPConnection) -> None:
    assert ask(connection, "/empty")[:2] == (200, b"")
    assert ask(connection, "/empty", Range="bytes=0-")[0] == 416


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/%2e%2e/secret",
        "/zips/..%2f..%2fsecret",
        "//etc/hostname",
        "/%2fetc/hostname",
        "/link",
        "/zips",
        "/",
        "/none",
        "/a%00b",
        "/" + "x" * 5000,
    ],
)
def test_nothing_outside_the_folder_is_served(
    connection: http.client.HTTPConnection, path: str
) -> None:
    assert ask(connection, path)[:2] == (404, b"")


def test_a_client_that_resets_leaves_no_trace(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "large").write_bytes(bytes(1 << 23))
    with serve_folder(folder) as url:
        host, port = url.removeprefix("http://").split(":")
        client = socket.create_connection((host, int(port)))
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        client.recv(10)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    assert capfd.readouterr() == ("", "")


def test_the_end_of_the_block_ends_everything(folder: Path) -> None:
    before = threading.active_count()
    with serve_folder(folder) as url:
        host = url.removeprefix("http://")
        kept = http.client.HTTPConnection(host, timeout=20)
        assert ask(kept)[0] == 200
        assert threading.active_count() > before
    assert threading.active_count() == before
    kept.close()
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection(host, timeout=20).connect()


def test_only_a_folder_can_be_served(folder: Path) -> None:
    with pytest.raises(UsageError, match="existing folder"), serve_folder(folder / "empty"):
        pass


def test_ranges_of_an_unknown_header() -> None:
    assert parse_range(None, 10) is None
    assert parse_range("bytes= 2 - 3", 10) == range(2, 4)
