from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from downloaders import fetch, pieces
from downloaders.fetch import ResumingFetcher
from downloaders.host_limits import HostLimits
from schemas.errors import DownloadError
from tests.downloaders.conftest import FAST, Request
from tests.downloaders.fault_server import (
    Fault,
    FaultServer,
    Handler,
    cut,
    drip,
    flip,
    reset,
    serve,
    stall,
    status,
    untagged,
    whole,
)

PROGRAM = """
import sys
from pathlib import Path
from downloaders import fetch, pieces
from downloaders.base import FetchRequest, RemoteFile
from downloaders.fetch import ResumingFetcher
from downloaders.transport import Policy
fetch.LARGE_BYTES, fetch.PIECE_BYTES, pieces.PIECE_BYTES = 100_000, 20_000, 20_000
file = RemoteFile(
    name="a.zip", path="a.zip", urls=(sys.argv[1],), kind="zip", splits=("val2017",)
)
with ResumingFetcher(connections=4) as fetcher:
    fetched = fetcher.fetch(FetchRequest(file=file, folder=Path(sys.argv[2])))
    print(fetched.resumed, fetched.bytes)
"""


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "LARGE_BYTES", 100_000)
    monkeypatch.setattr(fetch, "PIECE_BYTES", 40_000)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 40_000)


@pytest.fixture
def several() -> Iterator[ResumingFetcher]:
    with ResumingFetcher(FAST, connections=4) as made:
        yield made


def test_a_large_file_comes_by_several_connections(
    server: FaultServer, body: bytes, several: ResumingFetcher, request_for: Request
) -> None:
    positions: list[int] = []
    together = threading.Barrier(3, timeout=10)

    def meet(handler: Handler, content: bytes) -> None:
        together.wait()  # breaks, and with it the download, unless three are under way
        serve(handler, content)

    request = request_for(server.put("a.zip", body, serve, meet, meet, meet), checksum=None)
    object.__setattr__(request, "progress", positions.append)

    fetched = several.fetch(request)

    assert (request.folder / "a.zip").read_bytes() == body
    assert not fetched.resumed
    assert len(server.seen) > 4
    assert positions == sorted(positions)
    assert positions[-1] == len(body)


RECOVERED: dict[str, tuple[Fault, ...]] = {
    "cut": (serve, cut(10_000), cut(10_000)),
    "reset": (serve, reset(10_000)),
    "busy": (serve, *[status(503, {"Retry-After": "0"})] * 3),
    "too many connections": (serve, *[status(429)] * 3),
    "silent": (serve, stall(10_000, 1.5)),
    "refused for good": (serve, status(403)),
    "busy for ever": (serve, *[status(503)] * 14),
    "ignores ranges at times": (serve, whole),
    "ignores ranges at last": (serve, *[whole] * 9),
    "more than asked for": (serve, untagged()),
    "bit flipped": (serve, flip(90_000)),
}


@pytest.mark.parametrize("fault", RECOVERED)
def test_recovers_from(
    fault: str,
    server: FaultServer,
    body: bytes,
    several: ResumingFetcher,
    request_for: Request,
) -> None:
    request = request_for(server.put("a.zip", body, *RECOVERED[fault]))
    if fault == "refused for good":
        with pytest.raises(DownloadError, match="HTTP 403"):
            several.fetch(request)
    assert several.fetch(request).verified
    assert (request.folder / "a.zip").read_bytes() == body


def test_a_file_that_changes_between_pieces_starts_again(
    server: FaultServer, body: bytes, several: ResumingFetcher, request_for: Request
) -> None:
    other = body[:-400] + bytes(10) + body[-390:]

    def change(handler: Handler, _body: bytes) -> None:
        server.files["/a.zip"] = other
        serve(handler, other)

    request = request_for(server.put("a.zip", body, serve, serve, change), checksum=None)

    several.fetch(request)

    assert (request.folder / "a.zip").read_bytes() == other


@pytest.mark.parametrize("why", ["small", "no ranges", "nothing can vouch"])
def test_one_connection_is_used_when(
    why: str,
    server: FaultServer,
    body: bytes,
    several: ResumingFetcher,
    request_for: Request,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_ranges(handler: Handler, content: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    faults = {"small": serve, "no ranges": no_ranges, "nothing can vouch": untagged()}
    if why == "small":
        monkeypatch.setattr(fetch, "LARGE_BYTES", 1_000_000)
    checksum = {"checksum": None} if why == "nothing can vouch" else {}

    several.fetch(request_for(server.put("a.zip", body, faults[why]), **checksum))

    assert server.ranges() == [None]


def test_goes_on_after_a_kill(server: FaultServer, body: bytes, tmp_path: Path) -> None:
    url = server.put("a.zip", body, *[drip(2000, 0.01)] * 60)
    part = tmp_path / "a.zip.part"
    command = [sys.executable, "-c", PROGRAM, url, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        while not (part.exists() and part.stat().st_size > 100_000):
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    kept = part.read_bytes()
    assert body.startswith(kept)
    server.put("a.zip", body)

    done = subprocess.run(command, capture_output=True, check=True, text=True)

    assert done.stdout.split() == ["True", str(len(body))]
    assert (tmp_path / "a.zip").read_bytes() == body
    assert sorted(os.listdir(tmp_path)) == ["a.zip"]


def test_slots_are_bounded_per_host() -> None:
    stopped = threading.Event()
    limits = HostLimits(stopped, per_host=2)
    with limits.slot("http://a/1"), limits.slot("http://a/2"), limits.slot("http://b/1"):
        threading.Timer(0.05, stopped.set).start()
        with pytest.raises(KeyboardInterrupt), limits.slot("http://a/3"):
            pass
    with limits.slot("http://a/3"):
        pass
