"""A real HTTP server on the loopback that misbehaves as it is told, request by request."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Fault = Callable[["Handler", bytes], None]
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Seen:
    path: str
    range: str | None
    if_range: str | None
    authorization: str | None = None


@dataclass
class FaultServer:
    """Files by path; ``faults[path]`` are used up one per request, then the file is served."""

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    seen: list[Seen] = field(default_factory=list)
    base: str = ""

    def put(self, name: str, body: bytes, *faults: Fault) -> str:
        self.files[f"/{name}"] = body
        self.faults[f"/{name}"] = list(faults)
        return f"{self.base}/{name}"

    def ranges(self) -> list[str | None]:
        return [request.range for request in self.seen]


@contextlib.contextmanager
def running() -> Iterator[FaultServer]:
    state = FaultServer()

    class Bound(Handler):
        server_state = state

    with ThreadingHTTPServer(("127.0.0.1", 0), Bound) as server:
        server.daemon_threads = True
        state.base = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: FaultServer

    def do_GET(self) -> None:
        state, headers = self.server_state, self.headers
        state.seen.append(
            Seen(self.path, headers["Range"], headers["If-Range"], headers["Authorization"])
        )
        faults = state.faults[self.path]
        fault = faults.pop(0) if faults else serve
        body = state.files.get(self.path)
        if body is None:
            status(404)(self, b"")
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            fault(self, body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def offset(self, body: bytes) -> int:
        """The first byte asked for; 0 when If-Range names another version."""
        match = _RANGE.fullmatch(self.headers["Range"] or "")
        if match is None or self.headers["If-Range"] not in (None, etag(body)):
            return 0
        return int(match[1])

    def stop(self, body: bytes) -> int:
        """The end of the range asked for."""
        match = _RANGE.fullmatch(self.headers["Range"] or "")
        return min(len(body), int(match[2]) + 1) if match and match[2] else len(body)

    def begin(
        self,
        body: bytes,
        start: int,
        *,
        stop: int | None = None,
        length: int | None = None,
        tag: bool = True,
    ) -> None:
        stop = len(body) if stop is None else stop
        self.send_response(206 if start else 200)
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(body)}")
        if tag:
            self.send_header("ETag", etag(body))
        self.send_header("Content-Length", str(stop - start if length is None else length))
        self.end_headers()

    def hang_up(self) -> None:
        self.close_connection = True


def etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:16]}"'


def serve(handler: Handler, body: bytes) -> None:
    start = handler.offset(body)
    if start and start >= len(body):
        status(416, {"Content-Range": f"bytes */{len(body)}"})(handler, b"")
        return
    stop = handler.stop(body) if start else len(body)
    handler.begin(body, start, stop=stop)
    handler.wfile.write(body[start:stop])


def status(code: int, headers: dict[str, str] | None = None) -> Fault:
    def fault(handler: Handler, _body: bytes) -> None:
        handler.send_response(code)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return fault


def cut(after: int) -> Fault:
    """End the connection in good order after ``after`` more bytes, short of Content-Length."""

    def fault(handler: Handler, body: bytes) -> None:
        start = handler.offset(body)
        handler.begin(body, start)
        handler.wfile.write(body[start : start + after])
        handler.hang_up()

    return fault


def reset(after: int) -> Fault:
    """Drop the connection by RST after ``after`` more bytes."""

    def fault(handler: Handler, body: bytes) -> None:
        start = handler.offset(body)
        handler.begin(body, start)
        handler.wfile.write(body[start : start + after])
        handler.wfile.flush()
        time.sleep(0.05)  # let the bytes arrive: RST may discard what is under way
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.hang_up()

    return fault


def stall(after: int, seconds: float) -> Fault:
    """Send ``after`` bytes, then nothing for ``seconds``."""

    def fault(handler: Handler, body: bytes) -> None:
        start = handler.offset(body)
        handler.begin(body, start)
        handler.wfile.write(body[start : start + after])
        handler.wfile.flush()
        time.sleep(seconds)
        handler.hang_up()

    return fault


def drip(every: int, pause: float) -> Fault:
    """Send ``every`` bytes, pause, and so on: never silent, always slow."""

    def fault(handler: Handler, body: bytes) -> None:
        start = handler.offset(body)
        handler.begin(body, start)
        for at in range(start, len(body), every):
            handler.wfile.write(body[at : at + every])
            handler.wfile.flush()
            time.sleep(pause)

    return fault


def page(title: str, code: int = 200) -> Fault:
    """Answer with an HTML page, as drives over their quota and captive portals do."""

    def fault(handler: Handler, _body: bytes) -> None:
        body = f"<!DOCTYPE html><html><head><title>{title}</title></head></html>".encode()
        handler.send_response(code)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return fault


def flip(at: int) -> Fault:
    """Serve the file with one bit changed."""

    def fault(handler: Handler, body: bytes) -> None:
        damaged = bytearray(body)
        damaged[at] ^= 1
        start = handler.offset(body)
        handler.begin(body, start)
        handler.wfile.write(damaged[start:])

    return fault


def whole(handler: Handler, body: bytes) -> None:
    """Ignore Range."""
    handler.begin(body, 0)
    handler.wfile.write(body)


def whole_cut(after: int) -> Fault:
    """Ignore Range, and end early."""

    def fault(handler: Handler, body: bytes) -> None:
        handler.begin(body, 0)
        handler.wfile.write(body[:after])
        handler.hang_up()

    return fault


def untagged(after: int | None = None) -> Fault:
    """Serve without a validator; end after ``after`` bytes if given."""

    def fault(handler: Handler, body: bytes) -> None:
        start = handler.offset(body)
        handler.begin(body, start, tag=False)
        handler.wfile.write(body[start:] if after is None else body[start : start + after])
        if after is not None:
            handler.hang_up()

    return fault


def tail_anyway(handler: Handler, body: bytes) -> None:
    """Answer a range request by the tail, whatever If-Range says."""
    match = _RANGE.fullmatch(handler.headers["Range"] or "")
    start = int(match[1]) if match else 0
    handler.begin(body, start)
    handler.wfile.write(body[start:])


def endless(after: int) -> Fault:
    """State no length and end after ``after`` bytes: nobody can tell that it is short."""

    def fault(handler: Handler, body: bytes) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(body[:after])
        handler.hang_up()

    return fault


def longer_length(extra: int) -> Fault:
    """State a Content-Length that the file does not have."""

    def fault(handler: Handler, body: bytes) -> None:
        handler.begin(body, 0, length=len(body) + extra)
        handler.wfile.write(body)
        handler.hang_up()

    return fault


RECOVERED: dict[str, tuple[Fault, ...]] = {
    "truncated": (cut(150_000),),
    "truncated twice": (cut(150_000), cut(100_000)),
    "reset": (reset(150_000),),
    "reset before the first byte": (reset(0),),
    "silence": (stall(150_000, 1.5),),
    "slow drip": (drip(20, 0.1),),
    "429": (status(429, {"Retry-After": "0"}),),
    "429 and Retry-After date": (status(429, {"Retry-After": "Mon, 01 Jan 2024 00:00:00 GMT"}),),
    "503": (status(503),),
    "503 and Retry-After": (status(503, {"Retry-After": "0"}),),
    "Retry-After nonsense": (status(500, {"Retry-After": "soon"}),),
    "no range support": (cut(150_000), whole),
    "no validator": (cut(150_000), untagged()),
    "never a validator": (untagged(150_000), untagged()),
    "tail of a changed file": (cut(150_000), tail_anyway),
    "bit flip after a resume": (cut(150_000), flip(300_000)),
}
"""From each of these one run recovers, with a body of 400 kB."""
