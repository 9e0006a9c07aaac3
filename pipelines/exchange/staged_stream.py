"""A staged file as a stream that other libraries write to, hashed as it grows."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import IO

import blake3

from pipelines.store.commits import publish_identical
from pipelines.store.objects import ObjectStore, StagedFile
from schemas.manifests import FileRecord

_BUFFER_BYTES = 1 << 20


class HashingStream(io.RawIOBase):
    """Appends to a staged file; it can tell its position, and never seek."""

    def __init__(self, staged: StagedFile) -> None:
        self._staged, self._hash = staged, blake3.blake3()

    def writable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._staged.bytes

    def write(self, body: object) -> int:
        """Append the whole body."""
        view = memoryview(body).cast("B")  # type: ignore[arg-type]
        self._hash.update(view)
        self._staged.write(view)
        return len(view)

    def record(self) -> FileRecord:
        """Return what the file must contain."""
        return FileRecord(
            key=self._staged.key, bytes=self._staged.bytes, blake3=self._hash.hexdigest()
        )


class WrittenFile:
    """The stream of a new file, and its record once it is published."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.record: FileRecord | None = None


@contextlib.contextmanager
def new_file(store: ObjectStore, key: str) -> Iterator[WrittenFile]:
    """Open a stream for ``key``; the file appears at the end of the block unless it raises.

    Raises
    ------
    ConflictError
        The key exists with other content.
    """
    with store.stage(key) as staged:
        raw = HashingStream(staged)
        stream = io.BufferedWriter(raw, _BUFFER_BYTES)
        written = WrittenFile(stream)
        yield written
        stream.flush()
        written.record = raw.record()
        publish_identical(store, staged, written.record)
