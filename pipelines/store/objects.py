"""Where files live: one protocol, a local folder and an S3 bucket behind it.

Create-if-absent is the only way anything appears. What exists is complete and never changes, so
two writers may race and a process may die anywhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Protocol

from schemas.errors import StorageError

Buffer = bytes | bytearray | memoryview


class StagedFile:
    """A private file that becomes visible under its key only by ``publish``.

    ``write`` takes buffers and writes them whole, at once, unbuffered.
    """

    def __init__(self, file: IO[bytes], key: str) -> None:
        self.file, self.key = file, key
        self.bytes = 0

    def write(self, *buffers: Buffer) -> None:
        """Append the buffers in order, by as few system calls as the kernel allows."""
        left = [memoryview(buffer).cast("B") for buffer in buffers if len(buffer)]
        with storage_errors(f"write {self.key}"):
            while left:
                count = os.writev(self.file.fileno(), left)
                self.bytes += count
                left = after(left, count)

    def publish(self) -> bool:
        """Make the file visible; False when one was there already, which then stays."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """Something staged for ``key`` that was not published, or not yet."""

    key: str
    name: str
    """How the store calls it: a hidden file, the id of an upload."""
    modified: float
    """Seconds since 1970, by the store's clock."""
    bytes: int = 0
    """0 where the store does not tell."""


def after(buffers: list[memoryview], count: int) -> list[memoryview]:
    """Return what is left of ``buffers`` after ``count`` bytes of them are done."""
    while buffers and count >= len(buffers[0]):
        count -= len(buffers[0])
        buffers = buffers[1:]
    return [buffers[0][count:], *buffers[1:]] if count else buffers


class ObjectStore(Protocol):
    """A flat space of immutable files. Keys are relative paths with forward slashes."""

    @property
    def url(self) -> str:
        """What ``open_store`` takes to open this store again, in another process too."""
        ...

    def stage(self, key: str) -> contextlib.AbstractContextManager[StagedFile]:
        """Open a new file for ``key``; it vanishes at the end of the block unless published."""
        ...

    def put_if_absent(self, key: str, body: Buffer) -> bool:
        """Store ``body`` whole, or return False when the key exists."""
        ...

    def get(self, key: str) -> bytes:
        """Return the whole file. Raises ``FileNotFoundError`` when there is none."""
        ...

    def read_into(self, key: str, offset: int, *buffers: memoryview) -> int:
        """Fill the buffers in order from ``offset``; the count is short only at the file's end."""
        ...

    def read_blocks(self, key: str, offset: int, *buffers: memoryview) -> Iterator[memoryview]:
        """Read as ``read_into`` does, and yield each filled piece of a buffer, in order.

        A checksum computed piece by piece finds the bytes still in the processor's cache: it
        costs half of what a second pass over the whole buffer does.
        """
        ...

    def size(self, key: str) -> int | None:
        """Return the size in bytes, or None when there is no such file."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys of all files below the folder ``prefix``, in the order of their names."""
        ...

    def names(self, folder: str, starts: str) -> list[str]:
        """Return the names of the files directly in ``folder``, in any order.

        Parameters
        ----------
        starts
            All characters with which they begin; a bucket of many files is listed by these in
            parts, side by side.
        """
        ...

    def sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield what ``keys`` yields, each with the size in bytes that the listing states."""
        ...

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the names of the folders directly in ``prefix``, sorted; nothing below is listed.

        A folder on a disk may be empty; a bucket has folders only where files are.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove a file; only for garbage that no commit names. Absent is not an error."""
        ...

    def modified(self, key: str) -> float | None:
        """Return when a file appeared, in seconds since 1970 by the store's clock, or None."""
        ...

    def leftovers(self) -> Iterator[Leftover]:
        """Yield what was staged and not published, by writers that live or do not."""
        ...

    def discard(self, leftover: Leftover) -> bool:
        """Remove a leftover; False when its writer is known to live. Absent is not an error."""
        ...


@contextlib.contextmanager
def storage_errors(action: str, *, creating: bool = False) -> Iterator[None]:
    """Turn an operating-system refusal into a ``StorageError`` that says what to do.

    An absent file stays ``FileNotFoundError``, except when ``creating``: there it is the root
    that cannot be made.
    """
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as cause:
        if not creating:
            raise
        raise StorageError(f"cannot {action}: {cause.strerror}", fix=_remedy(cause)) from cause
    except OSError as cause:
        raise StorageError(f"cannot {action}: {cause.strerror}", fix=_remedy(cause)) from cause


def _remedy(cause: OSError) -> str:
    if cause.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "Free space or choose another --root; nothing half-written is visible."
    if cause.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return "Choose a --root that you may write to."
    return "Check the disk and the path of --root."
