"""A local or network folder as an object store."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pipelines.store.objects import Buffer, StagedFile, after, storage_errors
from schemas.errors import UsageError

# Fits a common second-level cache; the best of 256 KiB to 20 MiB (benchmarks/bench_store.py).
_BLOCK_BYTES = 1 << 20
# Longer than a living writer needs from creating its file to locking it.
_LEFTOVER_SECONDS = 10


class LocalObjectStore:
    """Files below one folder. Publishing is ``link(2)``: atomic, exclusive, also on NFS."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()
        if self.root.exists() and not self.root.is_dir():
            raise UsageError(f"root {self.root} is a file", expected="a folder, or a new path")

    def __reduce__(self) -> tuple[type[LocalObjectStore], tuple[str]]:
        return LocalObjectStore, (str(self.root),)

    @property
    def url(self) -> str:
        """The folder's absolute path."""
        return str(self.root)

    @contextlib.contextmanager
    def stage(self, key: str) -> Iterator[StagedFile]:
        """Open a hidden file beside its later place; see ``ObjectStore.stage``.

        It stays locked while its writer lives, so what killed writers of this key have left is
        known and removed.
        """
        target = self.root / key
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        with storage_errors(f"create {key} in {self.root}", creating=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(target)
            file = temporary.open("xb", buffering=0)
            _try_lock(file.fileno())
        try:
            with file:
                yield _LocalStagedFile(file, key, temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    def put_if_absent(self, key: str, body: Buffer) -> bool:
        """See ``ObjectStore.put_if_absent``."""
        with self.stage(key) as staged:
            staged.write(body)
            return staged.publish()

    def get(self, key: str) -> bytes:
        """See ``ObjectStore.get``."""
        with storage_errors(f"read {key} in {self.root}"):
            return (self.root / key).read_bytes()

    def read_into(self, key: str, offset: int, *buffers: memoryview) -> int:
        """Read by ``preadv`` on a descriptor of its own, so that threads and forks never share one.

        Opening costs about 10 microseconds, a hundredth of reading one 10 MB row.
        """
        with storage_errors(f"read {key} in {self.root}"):
            descriptor = os.open(self.root / key, os.O_RDONLY)
            try:
                return _read_fully(descriptor, offset, list(buffers))
            finally:
                os.close(descriptor)

    def read_blocks(self, key: str, offset: int, *buffers: memoryview) -> Iterator[memoryview]:
        """See ``ObjectStore.read_blocks``."""
        with storage_errors(f"read {key} in {self.root}"):
            descriptor = os.open(self.root / key, os.O_RDONLY)
            try:
                for block in _blocks(buffers):
                    count = _read_fully(descriptor, offset, [block])
                    if count:
                        yield block[:count]
                    if count < len(block):
                        return
                    offset += count
            finally:
                os.close(descriptor)

    def size(self, key: str) -> int | None:
        """See ``ObjectStore.size``."""
        try:
            return (self.root / key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def keys(self, prefix: str) -> Iterator[str]:
        """See ``ObjectStore.keys``; hidden (unpublished) files are left out."""
        top = self.root / prefix
        for folder, folders, files in os.walk(top):
            folders.sort()
            relative = Path(folder).relative_to(self.root)
            for name in sorted(files):
                if not name.startswith("."):
                    yield (relative / name).as_posix()

    def sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """See ``ObjectStore.sizes``."""
        for key in self.keys(prefix):
            size = self.size(key)
            if size is not None:
                yield key, size

    def folders(self, prefix: str) -> Iterator[str]:
        """See ``ObjectStore.folders``."""
        try:
            with os.scandir(self.root / prefix) as entries:
                names = [
                    entry.name
                    for entry in entries
                    if entry.is_dir() and not entry.name.startswith(".")
                ]
        except (FileNotFoundError, NotADirectoryError):
            return
        yield from sorted(names)

    def delete(self, key: str) -> None:
        """See ``ObjectStore.delete``."""
        with storage_errors(f"delete {key} in {self.root}"):
            (self.root / key).unlink(missing_ok=True)


class _LocalStagedFile(StagedFile):
    def __init__(self, file: IO[bytes], key: str, temporary: Path, target: Path) -> None:
        super().__init__(file, key)
        self._temporary, self._target = temporary, target

    def publish(self) -> bool:
        with storage_errors(f"publish {self.key}"):
            os.fsync(self.file.fileno())
            try:
                os.link(self._temporary, self._target)
            except FileExistsError:
                return False
            _sync_folder(self._target.parent)
            return True


def _remove_leftovers(target: Path) -> None:
    """Remove the hidden files of writers that died; the kernel has dropped their locks."""
    with os.scandir(target.parent) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(f".{target.name}.")]
    for name in names:
        if name.endswith(".tmp"):
            # Another process may remove it first; one that cannot be removed harms nobody.
            with contextlib.suppress(OSError):
                _remove_unlocked(target.with_name(name))


def _remove_unlocked(path: Path) -> None:
    if time.time() - path.stat().st_mtime < _LEFTOVER_SECONDS:
        return
    # NFS gives exclusive locks only to descriptors that may write.
    descriptor = os.open(path, os.O_RDWR)
    try:
        if _try_lock(descriptor):
            path.unlink()
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Lock a file; False when another has it, or the file system knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _blocks(buffers: tuple[memoryview, ...]) -> Iterator[memoryview]:
    for buffer in buffers:
        for start in range(0, len(buffer), _BLOCK_BYTES):
            yield buffer[start : start + _BLOCK_BYTES]


def _read_fully(descriptor: int, offset: int, buffers: list[memoryview]) -> int:
    done = 0
    while buffers:
        count = os.preadv(descriptor, buffers, offset + done)
        if count == 0:
            break
        done += count
        buffers = after(buffers, count)
    return done


def _sync_folder(folder: Path) -> None:
    """Make the new name durable; without it a power cut may lose a file that was reported."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
