"""A local or network folder as an object store."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from pipelines.store.objects import (
    Buffer,
    Leftover,
    StagedFile,
    after,
    storage_errors,
)
from schemas.errors import UsageError

# Fits a common second-level cache; the best of 256 KiB to 20 MiB (benchmarks/bench_store.py).
_BLOCK_BYTES = 1 << 20
_HIDDEN_NAME = re.compile(r"\.(?P<target>.+)\.[0-9a-f]{32}\.tmp")
_DESCRIPTORS = "/proc/self/fd"


class LocalObjectStore:
    """Files below one folder. Publishing is ``link``: atomic, exclusive, also on NFS."""

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
        """Open a file on the disk of its later place; see ``ObjectStore.stage``.

        It has no name, where the file system knows such files, and goes when its writer dies.
        Elsewhere, as on NFS, it is hidden beside its later place, and locked while its writer
        lives; what killed writers leave there is for ``leftovers``.
        """
        target = self.root / key
        with storage_errors(f"create {key} in {self.root}", creating=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            nameless = _open_nameless(target.parent)
            file, name = (nameless, None) if nameless else _open_hidden(target)
        try:
            with file:
                yield _LocalStagedFile(file, key, name, target)
        finally:
            if name is not None:
                name.unlink(missing_ok=True)

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
        return (key for key, _ in _walk(top, top.relative_to(self.root).as_posix(), hidden=False))

    def names(self, folder: str, starts: str) -> list[str]:
        """See ``ObjectStore.names``."""
        try:
            with os.scandir(self.root / folder) as entries:
                return [
                    entry.name
                    for entry in entries
                    if entry.name[0] in starts and not entry.is_dir()
                ]
        except (FileNotFoundError, NotADirectoryError):
            return []

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

    def modified(self, key: str) -> float | None:
        """See ``ObjectStore.modified``."""
        try:
            return (self.root / key).stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None

    def leftovers(self) -> Iterator[Leftover]:
        """Yield the hidden files of ``stage``; see ``ObjectStore.leftovers``."""
        for path, entry in _walk(self.root, ".", hidden=True):
            if found := _HIDDEN_NAME.fullmatch(entry.name):
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    yield Leftover(
                        key=str(PurePosixPath(path).with_name(found["target"])),
                        name=path,
                        modified=status.st_mtime,
                        bytes=status.st_size,
                    )

    def discard(self, leftover: Leftover) -> bool:
        """Remove a hidden file, unless its writer holds it locked."""
        path = self.root / leftover.name
        try:
            # NFS gives exclusive locks only to descriptors that may write.
            with storage_errors(f"delete {path}"), path.open("r+b") as file:
                if not _lock(file.fileno()):
                    return False
                path.unlink()
        except FileNotFoundError:
            pass
        return True


class _LocalStagedFile(StagedFile):
    def __init__(self, file: IO[bytes], key: str, name: Path | None, target: Path) -> None:
        super().__init__(file, key)
        self._name, self._target = name, target

    def publish(self) -> bool:
        with storage_errors(f"publish {self.key}"):
            os.fsync(self.file.fileno())
            try:
                if self._name is None:
                    _link_nameless(self.file.fileno(), self._target)
                else:
                    os.link(self._name, self._target)
            except FileExistsError:
                return False
            _sync_folder(self._target.parent)
            return True


def _open_nameless(folder: Path) -> IO[bytes] | None:
    """Open a file without a name; None where the file system, or the system, has no such thing."""
    if not hasattr(os, "O_TMPFILE") or not Path(_DESCRIPTORS).is_dir():
        return None
    try:
        return os.fdopen(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666), "r+b", buffering=0)
    except OSError as cause:
        if cause.errno in {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}:
            return None
        raise


def _link_nameless(descriptor: int, target: Path) -> None:
    # A folder's descriptor makes os.link call linkat, which alone follows the link in /proc.
    folder = os.open(_DESCRIPTORS, os.O_RDONLY)
    try:
        os.link(str(descriptor), target, src_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _open_hidden(target: Path) -> tuple[IO[bytes], Path]:
    name = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    file = name.open("xb", buffering=0)
    _lock(file.fileno())
    return file, name


def _lock(descriptor: int) -> bool:
    """Lock a file; False when another has it. Where there are no locks, nobody has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _walk(folder: Path, name: str, *, hidden: bool) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield paths below ``folder``, which is called ``name``, in the order of the whole paths."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name + "/" * entry.is_dir(), entry) for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return
    for sorted_name, entry in sorted(found, key=lambda item: item[0]):
        path = entry.name if name == "." else f"{name}/{entry.name}"
        if entry.name.startswith(".") and not hidden:
            continue
        if sorted_name.endswith("/"):
            yield from _walk(folder / entry.name, path, hidden=hidden)
        else:
            yield path, entry


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
