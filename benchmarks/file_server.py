"""A fast file server for benchmarks: keep-alive, ranges, ETag, ``sendfile``; a thread per client.

Folders directly in ``FOLDER`` can be read as buckets of S3: objects, and listings with a prefix.

``python benchmarks/file_server.py FOLDER [LATENCY_MS]`` prints its port and serves until killed.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

_RANGE = re.compile(rb"\r\nrange: bytes=(\d+)-(\d*)", re.IGNORECASE)
_SEND_BYTES = 1 << 20


def serve(folder: Path, latency: float) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_talk, args=(client, folder, latency), daemon=True).start()


def _talk(client: socket.socket, folder: Path, latency: float) -> None:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pending = b""
    try:
        while True:
            while b"\r\n\r\n" not in pending:
                received = client.recv(65536)
                if not received:
                    return
                pending += received
            request, _, pending = pending.partition(b"\r\n\r\n")
            if latency:
                time.sleep(latency)
            _answer(client, folder, request)
    except OSError:
        return
    finally:
        client.close()


def _answer(client: socket.socket, folder: Path, request: bytes) -> None:
    verb, target, _ = request.split(b" ", 2)
    if b"list-type=2" in target:
        body = _listing(folder, *target.decode().lstrip("/").split("?", 1)).encode()
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return
    target = target.partition(b"?")[0]
    path = folder / target.decode().lstrip("/")
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        return
    try:
        size = os.fstat(descriptor).st_size
        match = _RANGE.search(request)
        start = int(match[1]) if match else 0
        end = int(match[2]) + 1 if match and match[2] else size
        end = min(end, size)
        status = (
            f"206 Partial Content\r\nContent-Range: bytes {start}-{end - 1}/{size}"
            if match
            else "200 OK"
        )
        client.sendall(
            f'HTTP/1.1 {status}\r\nContent-Length: {end - start}\r\nETag: "{size:x}"\r\n'
            "Accept-Ranges: bytes\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n".encode()
        )
        while verb == b"GET" and start < end:
            start += os.sendfile(client.fileno(), descriptor, start, min(_SEND_BYTES, end - start))
    finally:
        os.close(descriptor)


def _listing(folder: Path, bucket: str, query: str) -> str:
    """Return what a bucket has below a prefix, and with a delimiter the folders there; one page."""
    asked = {name: values[0] for name, values in parse_qs(query).items()}
    prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter")
    root = folder / bucket.rstrip("/")
    keys = {
        path.relative_to(root).as_posix(): path.stat().st_size
        for path in (root / prefix).parent.rglob("*")
        if path.is_file()
    }
    keys = {key: size for key, size in sorted(keys.items()) if key.startswith(prefix)}
    folders: dict[str, None] = {}
    if delimiter:
        deeper = [key for key in keys if delimiter in key[len(prefix) :]]
        for key in deeper:
            del keys[key]
            folders[prefix + key[len(prefix) :].split(delimiter)[0] + delimiter] = None
    entries = [
        f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size></Contents>"
        for key, size in keys.items()
    ]
    entries += [f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in folders]
    contents = "".join(entries)
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"


if __name__ == "__main__":
    serve(Path(sys.argv[1]), float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.0)
