"""Archives whose bytes are a function of their members alone."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipelines.store.local import LocalObjectStore
from schemas.errors import ConflictError

Member = tuple[str, bytes]
"""Name and content."""

_MOMENT = (1980, 1, 1, 0, 0, 0)


def write_file(path: Path, body: bytes) -> Path:
    """Create ``path`` whole, or find it there with the same bytes; return ``path``.

    Raises
    ------
    ConflictError
        A file with other bytes is there already.
    """
    created = LocalObjectStore(path.parent).put_if_absent(path.name, body)
    if not created and path.read_bytes() != body:
        raise ConflictError(
            f"{path} exists with other content", fix="Choose an empty folder for the demo."
        )
    return path


def write_parts(path: Path, body: bytes, count: int) -> list[Path]:
    """Create ``path.aa``, ``path.ab``, ... as split(1) names them: ``body`` cut into ``count``."""
    size = -(-len(body) // count)
    return [
        write_file(path.with_name(f"{path.name}.a{chr(ord('a') + part)}"), body[start:][:size])
        for part, start in enumerate(range(0, len(body), size))
    ]


def write_zip(path: Path, members: Iterable[Member]) -> Path:
    """Create a zip file by ``write_file``.

    Images are stored, as they do not compress; folders have entries of their own, as in archives
    that zip(1) makes.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body in _with_folders(members):
            archive.writestr(_zip_entry(name), body)
    return write_file(path, buffer.getvalue())


def tar_bytes(members: Iterable[Member]) -> bytes:
    """Return a tar archive; folders have entries of their own, as in archives of tar(1)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, body in _with_folders(members):
            archive.addfile(_tar_entry(name, len(body)), io.BytesIO(body))
    return buffer.getvalue()


def gzip_bytes(body: bytes) -> bytes:
    """Return ``body`` compressed, without the moment of compression."""
    return gzip.compress(body, compresslevel=6, mtime=0)


def _with_folders(members: Iterable[Member]) -> Iterator[Member]:
    """Put each folder, with an empty content, before its first member."""
    folders: set[str] = set()
    for name, body in members:
        for folder in _parents(name):
            if folder not in folders:
                folders.add(folder)
                yield folder, b""
        yield name, body


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: depth + 1]) + "/" for depth in range(len(parts))]


def _zip_entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _MOMENT)
    entry.create_system = 3  # Unix, whatever the machine: the mode below is read only then
    folder = name.endswith("/")
    entry.external_attr = (0o40755 if folder else 0o100644) << 16
    compressible = name.endswith((".json", ".txt"))
    entry.compress_type = zipfile.ZIP_DEFLATED if compressible else zipfile.ZIP_STORED
    return entry


def _tar_entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    if name.endswith("/"):
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    return entry
