"""A loopback HTTP server for one folder: ranges, strong validators, nothing else."""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from schemas.errors import UsageError
from schemas.ids import digest_bytes

_LAST_MODIFIED = "Tue, 01 Jan 1980 00:00:00 GMT"
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@contextlib.contextmanager
def serve_folder(folder: Path) -> Iterator[str]:
    """Serve the files below ``folder`` on 127.0.0.1; yield the base URL, without a final slash.

    When the block ends, connections are closed and no thread is left. Files are read whole for
    each request, so this is for archives of megabytes; they must not change while they are served.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} cannot be served", expected="an existing folder")
    server = _FolderServer(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.close_connections()
        server.server_close()


@dataclass(frozen=True)
class _Resource:
    body: bytes

    @cached_property
    def etag(self) -> str:
        return f'"{digest_bytes(self.body)}"'


class _FolderServer(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close waits for the threads of requests

    def __init__(self, folder: Path) -> None:
        self._root = folder.resolve()
        self._connections: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        super().__init__(("127.0.0.1", 0), _Handler)

    def find(self, target: str) -> _Resource | None:
        """Return the file of a request target; None when there is none below the folder."""
        try:
            place = (self._root / unquote(urlsplit(target).path).lstrip("/")).resolve()
            if place.is_relative_to(self._root) and place.is_file():
                return _Resource(place.read_bytes())
        except (OSError, ValueError):
            # No file has such a name (a NUL, too long), or it may not be read.
            return None
        return None

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def close_connections(self) -> None:
        """Wake the threads that wait for the next request of a kept connection."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """Pass over clients that went away; that is their right and no error here."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _FolderServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        resource = self.server.find(self.path)
        if resource is None:
            self._reply(HTTPStatus.NOT_FOUND)
            return
        size = len(resource.body)
        part = self._wanted_range(resource)
        if part is None:
            self._reply(HTTPStatus.OK, resource, body=resource.body)
        elif part.start >= part.stop:
            status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            self._reply(status, resource, content_range=f"bytes */{size}")
        else:
            body = resource.body[part.start : part.stop]
            content_range = f"bytes {part.start}-{part.stop - 1}/{size}"
            self._reply(HTTPStatus.PARTIAL_CONTENT, resource, body, content_range)

    def do_HEAD(self) -> None:
        """Answer as for the whole file: HTTP defines ranges for GET only."""
        resource = self.server.find(self.path)
        if resource is None:
            self._reply(HTTPStatus.NOT_FOUND)
        else:
            self._reply(HTTPStatus.OK, resource, body=resource.body)

    def _wanted_range(self, resource: _Resource) -> range | None:
        """Return the range to send, empty if it cannot be satisfied, or None for the whole file."""
        validator = self.headers.get("If-Range")
        if validator is not None and validator not in (resource.etag, _LAST_MODIFIED):
            return None
        return parse_range(self.headers.get("Range"), len(resource.body))

    def _reply(
        self,
        status: HTTPStatus,
        resource: _Resource | None = None,
        body: bytes = b"",
        content_range: str | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if resource is not None:
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", resource.etag)
            self.send_header("Last-Modified", _LAST_MODIFIED)
        if content_range is not None:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent: the command line owns the terminal."""


def parse_range(header: str | None, size: int) -> range | None:
    """Return the bytes that a ``Range`` header asks for, empty if there are none of them.

    None stands for the whole file: no header, or one to be ignored (another unit, several ranges,
    a first position after the last).
    """
    match = _RANGE.fullmatch((header or "").replace(" ", ""))
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return range(max(size - int(last), 0), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size) if last else size)
