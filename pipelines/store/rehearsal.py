"""A store on which a job may be rehearsed: reads pass through, writes stay in memory."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from typing import IO

from pipelines.store.objects import Buffer, Leftover, ObjectStore, StagedFile


class Rehearsal:
    """What a job writes here, it reads again; the store behind never changes.

    Meant for small files, such as tables and manifests. Listings know nothing of them.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._written: dict[str, bytes] = {}

    @property
    def url(self) -> str:
        """That of the store behind."""
        return self._store.url

    @contextlib.contextmanager
    def stage(self, key: str) -> Iterator[StagedFile]:
        """See ``ObjectStore.stage``."""
        with tempfile.TemporaryFile(buffering=0) as file:
            yield _RehearsedFile(file, key, self)

    def put_if_absent(self, key: str, body: Buffer) -> bool:
        """See ``ObjectStore.put_if_absent``."""
        if self.size(key) is not None:
            return False
        self._written[key] = bytes(body)
        return True

    def get(self, key: str) -> bytes:
        """See ``ObjectStore.get``."""
        return self._written[key] if key in self._written else self._store.get(key)

    def read_into(self, key: str, offset: int, *buffers: memoryview) -> int:
        """See ``ObjectStore.read_into``."""
        return sum(len(block) for block in self.read_blocks(key, offset, *buffers))

    def read_blocks(self, key: str, offset: int, *buffers: memoryview) -> Iterator[memoryview]:
        """See ``ObjectStore.read_blocks``."""
        if key not in self._written:
            yield from self._store.read_blocks(key, offset, *buffers)
            return
        body = memoryview(self._written[key])[offset:]
        for buffer in buffers:
            piece, body = body[: len(buffer)], body[len(buffer) :]
            buffer[: len(piece)] = piece
            if piece:
                yield buffer[: len(piece)]

    def size(self, key: str) -> int | None:
        """See ``ObjectStore.size``."""
        return len(self._written[key]) if key in self._written else self._store.size(key)

    def keys(self, prefix: str) -> Iterator[str]:
        """See ``ObjectStore.keys``; of the store behind."""
        return self._store.keys(prefix)

    def names(self, folder: str, starts: str) -> list[str]:
        """See ``ObjectStore.names``; of the store behind."""
        return self._store.names(folder, starts)

    def sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """See ``ObjectStore.sizes``; of the store behind."""
        return self._store.sizes(prefix)

    def folders(self, prefix: str) -> Iterator[str]:
        """See ``ObjectStore.folders``; of the store behind."""
        return self._store.folders(prefix)

    def delete(self, key: str) -> None:
        """Forget a file written here; the store behind keeps all."""
        self._written.pop(key, None)

    def modified(self, key: str) -> float | None:
        """See ``ObjectStore.modified``; of the store behind."""
        return self._store.modified(key)

    def leftovers(self) -> Iterator[Leftover]:
        """Yield nothing: what is staged here is in memory."""
        return iter(())

    def discard(self, leftover: Leftover) -> bool:
        """Refuse: the store behind keeps all."""
        del leftover
        return False


class _RehearsedFile(StagedFile):
    def __init__(self, file: IO[bytes], key: str, store: Rehearsal) -> None:
        super().__init__(file, key)
        self._store = store

    def publish(self) -> bool:
        self.file.seek(0)
        return self._store.put_if_absent(self.key, self.file.read())
