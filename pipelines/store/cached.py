"""A remote root that is read through a folder of this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pipelines.store.cache_folder import CacheFolder
from pipelines.store.local import LocalObjectStore
from pipelines.store.objects import Buffer, Leftover, ObjectStore, StagedFile
from schemas.errors import UsageError

_BLOCK_BYTES = 1 << 20


class CachedStore:
    """Reads ``remote``, and keeps what it has read in ``cache``: files never change.

    A piece is what one call asks for. Listings and sizes are always the remote's, and everything
    that is written goes there; the cache never holds the only copy of anything.

    Raises
    ------
    UsageError
        The cache lies in the root that it would cache, or the root in the cache.
    """

    def __init__(self, remote: ObjectStore, cache: CacheFolder) -> None:
        if isinstance(remote, LocalObjectStore):
            root, folder = remote.root.resolve(), cache.path.resolve()
            if root == folder or root in folder.parents or folder in root.parents:
                raise UsageError(
                    f"cache folder {folder} and root {root} lie in each other",
                    expected="two folders apart, on different disks",
                    fix="Name another cache folder, or do without: this root is local.",
                )
        self.remote, self.cache = remote, cache

    def __reduce__(self) -> tuple[type[CachedStore], tuple[ObjectStore, CacheFolder]]:
        return CachedStore, (self.remote, self.cache)

    @property
    def url(self) -> str:
        """The remote's: another process opens it without the cache."""
        return self.remote.url

    def get(self, key: str) -> bytes:
        """See ``ObjectStore.get``."""
        name = self._name(key, "whole")
        size = self.cache.size(name)
        if size is not None and size >= 0:
            body = bytearray(size)
            if self.cache.read(name, [memoryview(body)]):
                return bytes(body)
        found = self.remote.get(key)
        self.cache.write(name, [memoryview(found)])
        return found

    def read_into(self, key: str, offset: int, *buffers: memoryview) -> int:
        """See ``ObjectStore.read_into``; what ends with its file is not kept."""
        count = sum(map(len, buffers))
        name = self._name(key, f"{offset}+{count}")
        wanted = [buffer for buffer in buffers if len(buffer)]
        if self.cache.read(name, wanted):
            return count
        done = self.remote.read_into(key, offset, *buffers)
        if done == count:
            self.cache.write(name, wanted)
        return done

    def read_blocks(self, key: str, offset: int, *buffers: memoryview) -> Iterator[memoryview]:
        """See ``ObjectStore.read_blocks``."""
        done = self.read_into(key, offset, *buffers)
        for buffer in buffers:
            for first in range(0, min(len(buffer), done), _BLOCK_BYTES):
                yield buffer[first : min(first + _BLOCK_BYTES, len(buffer), done)]
            done = max(0, done - len(buffer))

    def stage(self, key: str) -> contextlib.AbstractContextManager[StagedFile]:
        """See ``ObjectStore.stage``."""
        return self.remote.stage(key)

    def put_if_absent(self, key: str, body: Buffer) -> bool:
        """See ``ObjectStore.put_if_absent``."""
        return self.remote.put_if_absent(key, body)

    def size(self, key: str) -> int | None:
        """See ``ObjectStore.size``."""
        return self.remote.size(key)

    def keys(self, prefix: str) -> Iterator[str]:
        """See ``ObjectStore.keys``."""
        return self.remote.keys(prefix)

    def names(self, folder: str, starts: str) -> list[str]:
        """See ``ObjectStore.names``."""
        return self.remote.names(folder, starts)

    def sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """See ``ObjectStore.sizes``."""
        return self.remote.sizes(prefix)

    def folders(self, prefix: str) -> Iterator[str]:
        """See ``ObjectStore.folders``."""
        return self.remote.folders(prefix)

    def delete(self, key: str) -> None:
        """See ``ObjectStore.delete``."""
        self.remote.delete(key)
        self.cache.remove(self._name(key, "whole"))

    def modified(self, key: str) -> float | None:
        """See ``ObjectStore.modified``."""
        return self.remote.modified(key)

    def leftovers(self) -> Iterator[Leftover]:
        """See ``ObjectStore.leftovers``."""
        return self.remote.leftovers()

    def discard(self, leftover: Leftover) -> bool:
        """See ``ObjectStore.discard``."""
        return self.remote.discard(leftover)

    def _name(self, key: str, piece: str) -> str:
        return f"{self.remote.url}\n{key}\n{piece}"


def open_cached(remote: ObjectStore, folder: str | Path, limit_bytes: int) -> CachedStore:
    """Return ``remote``, read through ``folder``, which holds at most ``limit_bytes``."""
    if isinstance(remote, LocalObjectStore) and Path(folder).resolve() == remote.root.resolve():
        raise UsageError(f"cache folder {folder} is the root itself", expected="another folder")
    return CachedStore(remote, CacheFolder(folder, limit_bytes))
