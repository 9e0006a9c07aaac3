"""What the bytes of a file must be: its first bytes, its end, its size and checksum."""

from __future__ import annotations

import codecs
import io
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from downloaders.base import FileKind, RemoteFile
from downloaders.digests import Digests

HEAD_BYTES = 512
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_TAR_BLOCK = 512
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


def wrong_head(head: bytes, kind: FileKind) -> str | None:
    """Return what ``head`` is when it is not the beginning of a ``kind`` file, else None."""
    head = head[:HEAD_BYTES]
    text = head.decode("utf-8", "replace")
    if text.lstrip("\ufeff \r\n\t").lower().startswith(("<!doctype html", "<html")):
        title = _TITLE.search(text)
        return f"an HTML page titled {title[1].strip()!r}" if title else "an HTML page"
    if _BEGINS[kind](head):
        return None
    return f"bytes that begin with {head[:16]!r}" if head else "nothing"


def _begins_tar(head: bytes) -> bool:
    """Whether a tar header comes first; its checksum also tells archives older than ``ustar``."""
    if head[257:262] == b"ustar" or head.startswith(_GZIP):
        return True
    stated = head[148:156].strip(b" \0")
    if len(head) < _TAR_BLOCK or not stated.isdigit():
        return False
    header = head[:148] + b" " * 8 + head[156:_TAR_BLOCK]
    return int(stated, 8) == sum(header) if re.fullmatch(b"[0-7]+", stated) else False


def _begins_text(head: bytes) -> bool:
    try:
        # Not final: a character may be cut at the end of the head.
        codecs.getincrementaldecoder("utf-8")().decode(head, final=False)
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


_BEGINS: dict[FileKind, Callable[[bytes], bool]] = {
    "zip": lambda head: head.startswith(b"PK\x03\x04"),
    "gzip": lambda head: head.startswith(_GZIP),
    "tar": _begins_tar,
    "json": lambda head: head.removeprefix(_BOM).lstrip()[:1] in (b"{", b"["),
    "parquet": lambda head: head.startswith(b"PAR1"),
    "text": _begins_text,
    "part": lambda _head: True,
}


def _wrong_end(file: io.FileIO, kind: FileKind, head: bytes, size: int) -> str | None:
    """Return how the end of the file shows that it is cut off, else None."""
    if kind == "zip" and not zipfile.is_zipfile(file):
        return "the zip file has no end: it is truncated"
    if kind == "tar" and not head.startswith(_GZIP) and size % _TAR_BLOCK:
        return f"a tar file of {size} bytes, not a multiple of {_TAR_BLOCK}, is truncated"
    file.seek(max(0, size - HEAD_BYTES))
    tail = file.read() if kind in ("json", "parquet") else b""
    if kind == "json" and tail.rstrip()[-1:] not in (b"}", b"]"):
        return f"the JSON ends with {tail[-16:]!r}: it is truncated"
    if kind == "parquet" and not (size > 8 and tail.endswith(b"PAR1")):
        return "the parquet file has no footer: it is truncated"
    return None


def wrong_content(path: Path, file: RemoteFile, digests: Digests, any_content: bool) -> str | None:
    """Return what is wrong with the complete file at ``path``, else None.

    ``any_content`` lifts the published size and checksum, never the form: a zip must be a zip.
    """
    with path.open("rb", buffering=0) as stream:
        head, size = stream.read(HEAD_BYTES), os.fstat(stream.fileno()).st_size
        beginning = wrong_head(head, file.kind)
        if beginning is not None:
            return f"expected a {file.kind} file; got {beginning}"
        end = _wrong_end(stream, file.kind, head, size)
    if end is not None:
        return end
    if any_content:
        return None
    if file.bytes is not None and size != file.bytes:
        return f"expected {file.bytes} bytes; got {size}"
    if file.checksum is not None and not digests.verified:
        return f"expected {file.checksum}; got {digests.checksum}"
    return None
