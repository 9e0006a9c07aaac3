"""Bytes at random, from a whole file or from a part of something larger. Threads may share them."""

from __future__ import annotations

import io
import os
import stat
import weakref
from pathlib import Path
from typing import Protocol

from schemas.errors import ArchiveError
from schemas.ids import canonical_json, digest_bytes

_EDGE = 1 << 16


class ByteSource(Protocol):
    """A run of bytes that does not change; pickling reopens it in the other process."""

    @property
    def label(self) -> str:
        """How messages call it."""
        ...

    @property
    def size(self) -> int:
        """Number of bytes."""
        ...

    @property
    def identity(self) -> str:
        """Digest of what tells it from other versions of itself, without reading all of it."""
        ...

    @property
    def cache(self) -> Path:
        """What is derived from it is kept in files of this name plus a suffix."""
        ...

    def pread(self, count: int, offset: int) -> bytes:
        """Return ``count`` bytes from ``offset``; fewer only where the source ends."""
        ...

    def close(self) -> None:
        """Give back the descriptor. May be called twice."""
        ...


class FileBytes:
    """The bytes of the file at ``path``; see ``ByteSource``. Closes itself when it is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = self.cache = path.absolute()
        self.label = str(self.path)
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as cause:
            raise ArchiveError(f"cannot open {path}: {cause.strerror or cause}") from cause
        self._open = weakref.finalize(self, os.close, self._descriptor)
        status = os.fstat(self._descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise ArchiveError(f"cannot open {path}: it is a folder")
        self.size, self._changed = status.st_size, status.st_mtime_ns

    def __reduce__(self) -> tuple[object, ...]:
        return FileBytes, (self.path,)

    @property
    def identity(self) -> str:
        """See ``ByteSource.identity``: size, time of change, both ends."""
        ends = [
            digest_bytes(self.pread(_EDGE, offset)) for offset in (0, max(0, self.size - _EDGE))
        ]
        return digest_bytes(canonical_json([self.size, self._changed, *ends]))

    def pread(self, count: int, offset: int) -> bytes:
        """See ``ByteSource.pread``."""
        if not self._open.alive:  # the number of the descriptor may be another file's by now
            raise ArchiveError(f"{self.path} is closed")
        blocks = []
        try:
            # Linux gives 2 GiB at a time at most.
            while count > 0 and (block := os.pread(self._descriptor, count, offset)):
                blocks.append(block)
                count, offset = count - len(block), offset + len(block)
        except OSError as cause:
            raise ArchiveError(f"cannot read {self.path}: {cause.strerror or cause}") from cause
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def close(self) -> None:
        """See ``ByteSource.close``."""
        self._open()


class SliceBytes:
    """``size`` bytes of ``source`` from ``offset``, called ``name``; see ``ByteSource``."""

    def __init__(self, source: ByteSource, offset: int, size: int, name: str) -> None:
        self._source, self._offset, self.size, self._name = source, offset, size, name
        self.label = f"{source.label}:{name}"

    def __reduce__(self) -> tuple[object, ...]:
        return SliceBytes, (self._source, self._offset, self.size, self._name)

    @property
    def identity(self) -> str:
        """See ``ByteSource.identity``."""
        return digest_bytes(canonical_json([self._source.identity, self._offset, self.size]))

    @property
    def cache(self) -> Path:
        """See ``ByteSource.cache``: beside the outermost file."""
        return member_cache(self._source, self._name)

    def pread(self, count: int, offset: int) -> bytes:
        """See ``ByteSource.pread``."""
        return self._source.pread(max(0, min(count, self.size - offset)), self._offset + offset)

    def close(self) -> None:
        """See ``ByteSource.close``; closes the source too."""
        self._source.close()


class ByteStream(io.RawIOBase):
    """A seekable binary stream over ``source``."""

    def __init__(self, source: ByteSource) -> None:
        self._source, self._place = source, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return where the next byte is read."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, which may be behind the end."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._source.size}[whence]
        if start + offset < 0:
            raise OSError(f"cannot seek to {start + offset}")
        self._place = start + offset
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read as many bytes as ``buffer`` takes, fewer at the end."""
        block = self._source.pread(len(buffer), self._place)
        buffer[: len(block)] = block
        self._place += len(block)
        return len(block)


def member_cache(source: ByteSource, member: str) -> Path:
    """Return ``ByteSource.cache`` of what is inside ``source`` under that name."""
    inside = digest_bytes(member.encode())[:12]
    return source.cache.with_name(f"{source.cache.name}.{inside}")


def damaged(
    label: str, problem: str, *, expected: object = None, got: object = None
) -> ArchiveError:
    """Return the error for an archive whose bytes are not what it says itself."""
    return ArchiveError(
        f"{label} is damaged: {problem}",
        expected=expected,
        got=got,
        fix="Delete it, then run the same `samdistill download` command as before.",
    )
