"""What was learnt by reading an archive once, kept beside it so that nobody reads it again.

An index is a cache: whatever is wrong with a file of one, it counts as absent and is made anew.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TypeVar

import msgspec

from downloaders.byte_source import ByteSource
from schemas.ids import digest_bytes

_MAGIC = b"samdistill index 1\n"
_DIGEST_BYTES = 64

StructT = TypeVar("StructT", bound=msgspec.Struct)


class _Saved(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    identity: str
    """Of the source that was read; another version of it has another."""
    content: msgspec.Raw


def load_index(source: ByteSource, suffix: str, kind: type[StructT]) -> StructT | None:
    """Return the index of ``source`` that was saved under ``suffix``, if it is whole and its own.

    The digest protects against accidents, not against people: who may write into the folder may
    change the archive itself.
    """
    try:
        body = _path(source, suffix).read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + _DIGEST_BYTES
    content = body[start:]
    if body[:start] != _MAGIC + digest_bytes(content).encode():
        return None
    try:
        saved = msgspec.msgpack.decode(content, type=_Saved)
        if saved.identity != source.identity:
            return None
        return msgspec.msgpack.decode(saved.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def save_index(source: ByteSource, suffix: str, index: msgspec.Struct) -> None:
    """Keep ``index`` for the next one to open ``source``; not where nothing can be written."""
    saved = _Saved(identity=source.identity, content=msgspec.Raw(msgspec.msgpack.encode(index)))
    content = msgspec.msgpack.encode(saved)
    path = _path(source, suffix)
    try:
        _replace(path, _MAGIC + digest_bytes(content).encode() + content)
    except OSError:
        return


def _path(source: ByteSource, suffix: str) -> Path:
    return source.cache.with_name(source.cache.name + suffix)


def _replace(path: Path, body: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=path.name, suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
