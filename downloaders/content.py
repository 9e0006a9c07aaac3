"""What the bytes of a file must be: its first bytes, its end, its digests."""

from __future__ import annotations

import codecs
import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from downloaders.base import FileKind, RemoteFile
from schemas.errors import DataError

HEAD_BYTES = 512
_BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_TAR_BLOCK = 512
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


class Digests:
    """The sha256 of a stream, and its digest by the algorithm that the publisher used."""

    def __init__(self, checksum: str | None) -> None:
        self._sha256 = hashlib.sha256()
        self._stated = checksum
        # md5 serves to recognise a published file, not for security.
        self._md5 = hashlib.md5(usedforsecurity=False) if _algorithm(checksum) == "md5" else None

    def update(self, chunk: bytes) -> None:
        """Add the next bytes."""
        self._sha256.update(chunk)
        if self._md5 is not None:
            self._md5.update(chunk)

    @property
    def sha256(self) -> str:
        """The sha256 so far, as hex."""
        return self._sha256.hexdigest()

    @property
    def checksum(self) -> str:
        """The digest so far in the form of the stated checksum: ``algorithm:hex``."""
        if self._md5 is not None:
            return f"md5:{self._md5.hexdigest()}"
        return f"sha256:{self.sha256}"

    @property
    def verified(self) -> bool:
        """Whether a checksum is stated and the bytes so far match it."""
        return self._stated is not None and self._stated == self.checksum


def _algorithm(checksum: str | None) -> str:
    algorithm = checksum.partition(":")[0] if checksum is not None else "sha256"
    if algorithm not in ("sha256", "md5"):
        raise DataError(
            f"cannot check {checksum!r}", expected="sha256:… or md5:…", got=f"{algorithm}:…"
        )
    return algorithm


def read_blocks(path: Path) -> Iterable[bytes]:
    """Yield the bytes of a file in order."""
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            yield block


def digest_file(path: Path, checksum: str | None) -> Digests:
    """Return the digests of the file at ``path``."""
    digests = Digests(checksum)
    for block in read_blocks(path):
        digests.update(block)
    return digests


def wrong_head(head: bytes, kind: FileKind) -> str | None:
    """Return what ``head`` is when it is not the beginning of a ``kind`` file, else None."""
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


def _wrong_end(path: Path, kind: FileKind) -> str | None:
    """Return how the end of the file shows that it is cut off, else None."""
    with path.open("rb") as stream:
        gzipped = stream.read(len(_GZIP)) == _GZIP
        size = stream.seek(0, io.SEEK_END)
        stream.seek(max(0, size - HEAD_BYTES))
        tail = stream.read()
    if kind == "zip" and not zipfile.is_zipfile(path):
        return "the zip file has no end: it is truncated"
    if kind == "tar" and not gzipped and size % _TAR_BLOCK:
        return f"a tar file of {size} bytes, not a multiple of {_TAR_BLOCK}, is truncated"
    if kind == "json" and tail.rstrip()[-1:] not in (b"}", b"]"):
        return f"the JSON ends with {tail[-16:]!r}: it is truncated"
    if kind == "parquet" and not (size > 8 and tail.endswith(b"PAR1")):
        return "the parquet file has no footer: it is truncated"
    return None


def wrong_content(path: Path, file: RemoteFile, digests: Digests, any_content: bool) -> str | None:
    """Return what is wrong with the complete file at ``path``, else None.

    ``any_content`` lifts the published size and checksum, never the form: a zip must be a zip.
    """
    with path.open("rb") as stream:
        head = wrong_head(stream.read(HEAD_BYTES), file.kind)
    if head is not None:
        return f"expected a {file.kind} file; got {head}"
    end = _wrong_end(path, file.kind)
    if end is not None:
        return end
    if any_content:
        return None
    size = path.stat().st_size
    if file.bytes is not None and size != file.bytes:
        return f"expected {file.bytes} bytes; got {size}"
    if file.checksum is not None and not digests.verified:
        return f"expected {file.checksum}; got {digests.checksum}"
    return None
