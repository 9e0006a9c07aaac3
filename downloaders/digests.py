"""The digests of a stream, computed while it is written."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from schemas.errors import DataError

_BLOCK = 1 << 20
_ALONE_BYTES = 4 << 20
_MOST_WAITING = 64
_POOL = ThreadPoolExecutor(thread_name_prefix="digest")


class Digests:
    """The sha256 of a stream, and its digest by the algorithm that the publisher used.

    One thread may update it. After the first bytes, hashing goes on beside that thread, a few
    chunks behind: sha256 takes as long as writing does.
    """

    def __init__(self, checksum: str | None) -> None:
        self._sha256 = hashlib.sha256()
        self._stated = checksum
        # md5 serves to recognise a published file, not for security.
        self._md5 = hashlib.md5(usedforsecurity=False) if _algorithm(checksum) == "md5" else None
        self._size = 0
        self._waiting: deque[bytes] = deque()
        self._behind: Future[None] | None = None

    def update(self, chunk: bytes) -> None:
        """Add the next bytes."""
        self._size += len(chunk)
        self._waiting.append(chunk)
        if self._size < _ALONE_BYTES:
            self._catch_up()
        elif self._behind is None or self._behind.done():
            self._behind = _POOL.submit(self._catch_up)
        elif len(self._waiting) > _MOST_WAITING:
            self._behind.result()

    @property
    def sha256(self) -> str:
        """The sha256 so far, as hex."""
        self._settle()
        return self._sha256.hexdigest()

    @property
    def checksum(self) -> str:
        """The digest so far in the form of the stated checksum: ``algorithm:hex``."""
        self._settle()
        if self._md5 is not None:
            return f"md5:{self._md5.hexdigest()}"
        return f"sha256:{self.sha256}"

    @property
    def verified(self) -> bool:
        """Whether a checksum is stated and the bytes so far match it."""
        return self._stated is not None and self._stated == self.checksum

    def _catch_up(self) -> None:
        while self._waiting:
            chunk = self._waiting.popleft()
            self._sha256.update(chunk)
            if self._md5 is not None:
                self._md5.update(chunk)

    def _settle(self) -> None:
        if self._behind is not None:
            self._behind.result()
        # It may have ended just before the last chunk came.
        self._catch_up()


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
