"""An HTTP proxy in front of an S3 server, that fails as services and networks do."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Fault = Literal[
    "slow down",  # 503 SlowDown
    "internal error",  # 500
    "conflict",  # 409: another conditional write goes on
    "reset before",  # the connection breaks before the request arrives
    "reset after",  # it is carried out, and its answer is lost
    "cut",  # half a body, then the end
    "late",
    "upload gone",  # 404: somebody has aborted it
    "denied",  # 403
    "broken answer",  # 503, whose body ends by a reset
    "bare busy",  # 503 without a body
    "reset inside",  # half a body, then a reset
    "whole",  # 200 and the whole object, whatever the range
    "other range",  # 206 and the first bytes, whatever the range
]
EVERY_FAULT: tuple[Fault, ...] = (
    "slow down",
    "internal error",
    "conflict",
    "reset before",
    "reset after",
    "cut",
    "late",
)
"""Those that may happen to any request."""

_ANSWERS = {
    "slow down": (503, "SlowDown"),
    "internal error": (500, "InternalError"),
    "conflict": (409, "ConditionalRequestConflict"),
    "upload gone": (404, "NoSuchUpload"),
    "denied": (403, "AccessDenied"),
}
_LATE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    """With the query."""
    conditional: bool
    """It has ``If-None-Match``."""
    from_client: bool
    """A client of boto3 has sent it."""


Choose = Callable[[Request], Fault | None]


def at_random(seed: int, rate: float) -> Choose:
    """Return a choice of faults for a share ``rate`` of the requests."""
    source, lock = random.Random(seed), threading.Lock()

    def choose(request: Request) -> Fault | None:
        with lock:
            if source.random() >= rate:
                return None
            fault = source.choice(EVERY_FAULT)
        if (fault == "conflict" and not request.conditional) or (
            fault == "cut" and request.method != "GET"
        ):
            return "slow down"
        return fault

    return choose


class Faults:
    """What the proxy does: ``choose`` may be changed at any time; ``count`` is what was done."""

    def __init__(self) -> None:
        self.choose: Choose = lambda _request: None
        self.carried_out: Callable[[Request], None] = lambda _request: None
        """Called when the server has answered and the client does not know yet."""
        self.count: Counter[Fault] = Counter()
        self.requests = 0
        self.connections = 0

    def once(self, fault: Fault, wanted: Callable[[Request], bool], times: int = 1) -> None:
        """Do ``fault`` to the next requests that are wanted."""
        left = [fault] * times

        def choose(request: Request) -> Fault | None:
            return left.pop() if left and wanted(request) else None

        self.choose = choose


@contextlib.contextmanager
def fault_proxy(endpoint: str) -> Iterator[tuple[str, Faults]]:
    """Yield the address of a proxy of ``endpoint``, and its faults."""
    faults = Faults()
    handler = type("Proxy", (_Proxy,), {"target": urlsplit(endpoint).netloc, "faults": faults})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", faults
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target: str
    faults: Faults

    def handle(self) -> None:
        self.faults.connections += 1
        with contextlib.suppress(OSError):
            super().handle()

    def log_message(self, *_: Any) -> None:
        pass

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        from_client = "amz-sdk-invocation-id" in self.headers
        conditional = "If-None-Match" in self.headers
        request = Request(self.command, self.path, conditional, from_client)
        fault = self.faults.choose(request)
        self.faults.requests += 1
        if fault:
            self.faults.count[fault] += 1
        if fault in _ANSWERS:
            status, code = _ANSWERS[fault]
            self.answer(status, [], f"<Error><Code>{code}</Code></Error>".encode())
        elif fault == "bare busy":
            self.answer(503, [], b"")
        elif fault == "broken answer":
            self.answer(503, [], b"<Error><Code>SlowDown</Code></Error>", cut=True)
            self.reset()
        elif fault == "reset before":
            self.reset()
        else:
            if fault == "late":
                time.sleep(_LATE_SECONDS)
            if fault == "whole":
                del self.headers["Range"]
            elif fault == "other range":
                self.headers.replace_header("Range", "bytes=0-8")
            status, headers, answer = self.forward(body)
            self.faults.carried_out(request)
            if fault == "reset after":
                self.reset()
            elif fault in ("cut", "reset inside"):
                self.answer(status, headers, answer, cut=True)
                if fault == "reset inside":
                    self.reset()
            else:
                self.answer(status, headers, answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve

    def forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.target, timeout=60)
        with contextlib.closing(connection):
            headers = {name: value for name, value in self.headers.items() if name != "Expect"}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()

    def answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, *, cut: bool = False
    ) -> None:
        self.send_response_only(status)
        own = {"content-length", "transfer-encoding", "connection"}
        stated = dict(headers).get("Content-Length")
        for name, value in headers:
            if name.lower() not in own:
                self.send_header(name, value)
        length = stated if self.command == "HEAD" and stated else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut

    def reset(self) -> None:
        """End the connection by RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
