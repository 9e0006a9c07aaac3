"""A folder of this machine that keeps pieces of remote files, up to a number of bytes.

Any number of processes share it. What was used longest ago goes first. A piece is a file that
appears whole and carries its own checksum; one that is damaged, by a crash say, is as good as
absent. Removing a piece harms no reader: who has opened it reads on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import blake3
from awscrt.checksums import crc32c

from pipelines.store.objects import after, storage_errors
from schemas.errors import UsageError

_MARK = "samdistill-cache"
_CHECKSUM = struct.Struct("<I")
_USED = struct.Struct("<q")
_KEPT_SHARE = 0.9
"""Of the limit, after pieces were removed: each removal lists the whole folder."""
_LEFTOVER_SECONDS = 600


class CacheFolder:
    """Pieces by name; see the module.

    Raises
    ------
    UsageError
        The folder holds other things than a cache: nothing of theirs may ever be removed.
    """

    def __init__(self, path: str | Path, limit_bytes: int) -> None:
        self.path, self.limit_bytes = Path(path).absolute(), limit_bytes
        if limit_bytes < 1:
            raise UsageError("bytes of a cache folder", expected="at least 1", got=limit_bytes)
        mark = self.path / _MARK
        with storage_errors(f"make the cache folder {self.path}", creating=True):
            self.path.mkdir(parents=True, exist_ok=True)
            if not mark.exists() and any(self.path.iterdir()) and not mark.exists():
                raise UsageError(
                    f"cache folder {self.path} holds other files",
                    expected="a new path, an empty folder, or an earlier cache",
                    fix="What a cache folder holds may be removed at any time: name another one.",
                )
            mark.touch()

    def __reduce__(self) -> tuple[type[CacheFolder], tuple[str, int]]:
        return CacheFolder, (str(self.path), self.limit_bytes)

    def read(self, name: str, buffers: Sequence[memoryview]) -> bool:
        """Fill the buffers with the piece of that name, or return False when it is not here."""
        path = self._path(name)
        checksum = bytearray(_CHECKSUM.size)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            return False
        try:
            left = [*buffers, memoryview(checksum)]
            while left and (count := os.readv(descriptor, left)):
                left = after(left, count)
            if left or os.read(descriptor, 1) or _crc(buffers) != _CHECKSUM.unpack(checksum)[0]:
                self.remove(name)
                return False
            # Not the time of access, which many disks are mounted not to keep.
            os.utime(descriptor)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    def size(self, name: str) -> int | None:
        """Return the bytes of a piece, or None when it is not here."""
        try:
            return self._path(name).stat().st_size - _CHECKSUM.size
        except OSError:
            return None

    def write(self, name: str, buffers: Sequence[memoryview]) -> None:
        """Keep a piece, if the disk allows it: a cache that cannot be written is no error."""
        size = sum(map(len, buffers)) + _CHECKSUM.size
        if size > self.limit_bytes * _KEPT_SHARE:
            return
        path = self._path(name)
        temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
        with contextlib.suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            self._account(size)
            try:
                _write(temporary, [*buffers, memoryview(_CHECKSUM.pack(_crc(buffers)))])
                os.link(temporary, path)
            except OSError:
                self._account(-size)
                raise
            finally:
                temporary.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Forget a piece."""
        path = self._path(name)
        with contextlib.suppress(OSError):
            size = path.stat().st_size
            path.unlink()
            self._account(-size)

    def used_bytes(self) -> int:
        """Return the bytes of all pieces, as counted by all processes together."""
        with self._count() as count:
            return _USED.unpack(count)[0] if len(count) == _USED.size else 0

    def _account(self, size: int) -> None:
        """Count ``size`` more bytes, and make room for them first."""
        with self._count() as count:
            used = _USED.unpack(count)[0] if len(count) == _USED.size else 0
            if size > 0 and used + size > self.limit_bytes:
                used = self._make_room(size)
            count[:] = _USED.pack(max(0, used + size))

    def _make_room(self, size: int) -> int:
        """Remove the pieces used longest ago, and return the bytes of those left."""
        pieces = sorted(self._pieces())
        used = sum(piece[1] for piece in pieces)
        for _, bytes_, path in pieces:
            if used + size <= self.limit_bytes * _KEPT_SHARE:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
                used -= bytes_
        return used

    def _pieces(self) -> Iterator[tuple[float, int, str]]:
        """Yield time of last use, bytes and path of each piece; remove what the dead have left."""
        for folder in os.scandir(self.path):
            if not folder.is_dir():
                continue
            for entry in os.scandir(folder.path):
                with contextlib.suppress(OSError):
                    found = entry.stat()
                    if not entry.name.endswith(".tmp"):
                        yield found.st_mtime, found.st_size, entry.path
                    elif time.time() - found.st_mtime > _LEFTOVER_SECONDS:
                        os.unlink(entry.path)

    @contextlib.contextmanager
    def _count(self) -> Iterator[bytearray]:
        """Lend the content of the file that counts bytes, locked; it is written back."""
        descriptor = os.open(self.path / "used", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            before = os.pread(descriptor, _USED.size, 0)
            count = bytearray(before)
            yield count
            if bytes(count) != before:
                os.pwrite(descriptor, count, 0)
        finally:
            os.close(descriptor)

    def _path(self, name: str) -> Path:
        digest = blake3.blake3(name.encode()).hexdigest(length=16)
        return self.path / digest[:2] / digest[2:]


def _write(path: Path, buffers: Sequence[memoryview]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        left = [buffer for buffer in buffers if len(buffer)]
        while left:
            left = after(left, os.writev(descriptor, left))
    finally:
        os.close(descriptor)


def _crc(buffers: Sequence[memoryview]) -> int:
    crc = 0
    for buffer in buffers:
        crc = crc32c(buffer, crc)
    return int(crc)
