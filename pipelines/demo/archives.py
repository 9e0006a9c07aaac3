"""Zip files whose bytes are a function of their members alone."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

from pipelines.store.local import LocalObjectStore
from schemas.errors import ConflictError

_MOMENT = (1980, 1, 1, 0, 0, 0)


def write_zip(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """Create ``path`` whole, or find it there with the same bytes; return ``path``.

    Images are stored, as they do not compress; folders have entries of their own, as in archives
    that zip(1) makes.

    Raises
    ------
    ConflictError
        A file with other bytes is there already.
    """
    body = _zip(members)
    created = LocalObjectStore(path.parent).put_if_absent(path.name, body)
    if not created and path.read_bytes() != body:
        raise ConflictError(
            f"{path} exists with other content", fix="Choose an empty folder for the demo."
        )
    return path


def _zip(members: Iterable[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    folders: set[str] = set()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body in members:
            for folder in _parents(name):
                if folder not in folders:
                    folders.add(folder)
                    archive.writestr(_entry(folder), b"")
            archive.writestr(_entry(name), body)
    return buffer.getvalue()


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: depth + 1]) + "/" for depth in range(len(parts))]


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _MOMENT)
    entry.create_system = 3  # Unix, whatever the machine: the mode below is read only then
    folder = name.endswith("/")
    entry.external_attr = (0o40755 if folder else 0o100644) << 16
    compressible = name.endswith((".json", ".txt"))
    entry.compress_type = zipfile.ZIP_DEFLATED if compressible else zipfile.ZIP_STORED
    return entry
