"""One shard of a zarr v3 array as one file, written and read without zarr.

Layout (zarr v3, codec ``sharding_indexed``, index at the end): the stored chunks, each followed by
its crc32c; then an index of ``slots`` pairs (offset, byte count) of little-endian uint64, then the
crc32c of the index. Chunks of 256 KiB and more start at multiples of 4096, with zeros before them.
A chunk that is absent has both numbers 2**64 - 1. One chunk is one row.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import blake3
import numpy as np
import numpy.typing as npt
from awscrt.checksums import crc32c

from pipelines.store.objects import ObjectStore, StagedFile
from schemas.errors import IntegrityError
from schemas.manifests import FileRecord

Index = npt.NDArray[np.uint64]
CHECKSUM_BYTES = 4
_ABSENT = np.uint64(2**64 - 1)
# From here on it pays to hand a chunk's checksums to another thread, and to align it.
_LARGE_BYTES = 256 << 10
_PAGE_BYTES = 4096


def index_bytes(slots: int) -> int:
    """Return the size of the index of a shard with that many slots."""
    return slots * 16 + CHECKSUM_BYTES


def row_bytes(chunk_bytes: int) -> int:
    """Return the most that one row takes in the file: its chunk, checksum and padding."""
    padding = _PAGE_BYTES - 1 if chunk_bytes >= _LARGE_BYTES else 0
    return chunk_bytes + CHECKSUM_BYTES + padding


def shard_bytes(rows: int, chunk_bytes: int, slots: int) -> int:
    """Return the size of a shard file that holds ``rows`` of its ``slots``."""
    if not rows:
        return index_bytes(slots)
    chunk = chunk_bytes + CHECKSUM_BYTES
    aligned = chunk + (-chunk % _PAGE_BYTES if chunk_bytes >= _LARGE_BYTES else 0)
    return (rows - 1) * aligned + chunk + index_bytes(slots)


class ShardWriter:
    """Writes the rows of one shard in any order, each at most once, hashing as it goes.

    A second thread computes the checksums while the kernel copies the same bytes, so that they
    cost no wall time where a second core is free.
    """

    def __init__(self, staged: StagedFile, slots: int, chunk_bytes: int) -> None:
        self._staged, self._chunk_bytes = staged, chunk_bytes
        self._index: Index = np.full((slots, 2), _ABSENT, dtype="<u8")
        self._hash = blake3.blake3()
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="checksums")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hasher.shutdown()

    def write(self, slot: int, chunk: memoryview) -> None:
        """Append one row's stored bytes; the buffer may be reused when this returns."""
        chunk = chunk.cast("B")
        if len(chunk) != self._chunk_bytes:
            raise IntegrityError(
                f"row {slot} of {self._staged.key}",
                expected=f"{self._chunk_bytes} bytes",
                got=len(chunk),
            )
        if self._index[slot, 0] != _ABSENT:
            raise IntegrityError(f"row {slot} of {self._staged.key} is written twice")
        if len(chunk) >= _LARGE_BYTES:
            self._align()
        self._index[slot] = (self._staged.bytes, len(chunk) + CHECKSUM_BYTES)
        if len(chunk) < _LARGE_BYTES:
            self._staged.write(chunk, self._digest(chunk))
        else:
            digesting = self._hasher.submit(self._digest, chunk)
            self._staged.write(chunk)
            self._staged.write(digesting.result())

    def _align(self) -> None:
        """Fill up to the next page: the kernel copies an aligned row a tenth faster."""
        padding = bytes(-self._staged.bytes % _PAGE_BYTES)
        self._staged.write(padding)
        self._hash.update(padding)

    def _digest(self, chunk: memoryview) -> bytes:
        """Add a chunk and its checksum to the file's hash; return the checksum."""
        checksum = struct.pack("<I", crc32c(chunk))
        self._hash.update(chunk)
        self._hash.update(checksum)
        return checksum

    def finish(self) -> FileRecord:
        """Write the index and return the record of the file, which is not yet published."""
        body = self._index.tobytes()
        tail = body + struct.pack("<I", crc32c(body))
        self._staged.write(tail)
        self._hash.update(tail)
        return FileRecord(
            key=self._staged.key, bytes=self._staged.bytes, blake3=self._hash.hexdigest()
        )


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where the chunk of a slot begins in its file, and where its bytes shall go."""

    slot: int
    offset: int
    out: memoryview


def read_chunks(
    store: ObjectStore, key: str, chunks: Sequence[Chunk], *, verify: bool = True
) -> None:
    """Fill each chunk's ``out`` by one read over all of them, which lie in this order in the file.

    Raises
    ------
    IntegrityError
        A chunk is cut short, or damaged and ``verify`` is set; the message names file and row.
    """
    # After each chunk come its checksum and what lies before the next one.
    ends = [chunk.offset + len(chunk.out) for chunk in chunks]
    begins = [chunk.offset for chunk in chunks[1:]] + [ends[-1] + CHECKSUM_BYTES]
    tails = [bytearray(begin - end) for begin, end in zip(begins, ends, strict=True)]
    buffers = [
        buffer
        for chunk, tail in zip(chunks, tails, strict=True)
        for buffer in (chunk.out, memoryview(tail))
    ]
    if not verify:
        if store.read_into(key, chunks[0].offset, *buffers) < sum(map(len, buffers)):
            raise _damaged(key, chunks[-1].slot, "the file is too short")
        return
    # Closed at once when a chunk is damaged: a connection may hang on it.
    found = _forwarded(store.read_blocks(key, chunks[0].offset, *buffers))
    with contextlib.closing(found) as blocks:
        for chunk, tail in zip(chunks, tails, strict=True):
            crc = 0
            for block in _exactly(blocks, len(chunk.out), key, chunk.slot):
                crc = crc32c(block, crc)
            for _ in _exactly(blocks, len(tail), key, chunk.slot):
                pass
            if struct.unpack_from("<I", tail)[0] != crc:
                raise _damaged(key, chunk.slot, "its crc32c does not match")


def _forwarded(blocks: Iterator[memoryview]) -> Generator[memoryview, None, None]:
    yield from blocks


def _exactly(blocks: Iterator[memoryview], count: int, key: str, slot: int) -> Iterator[memoryview]:
    """Yield the next blocks, ``count`` bytes in all: no block spans two buffers."""
    while count:
        block = next(blocks, None)
        if block is None:
            raise _damaged(key, slot, "the file is too short")
        count -= len(block)
        yield block


def _damaged(key: str, slot: int, why: str) -> IntegrityError:
    return IntegrityError(
        f"row {slot} of {key} is damaged: {why}",
        fix="Run `samdistill verify --deep` to find all such files.",
    )


class ShardReader:
    """Reads rows of one published shard, from many threads at once. Nothing stays open."""

    def __init__(self, store: ObjectStore, key: str, slots: int, chunk_bytes: int) -> None:
        self._store, self.key = store, key
        self._slots, self._chunk_bytes = slots, chunk_bytes
        self._index = self._read_index()

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Which of the slots hold a row."""
        return np.asarray(self._index[:, 0] != _ABSENT)

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Where each slot's chunk begins in the file; -1 for a slot without row."""
        return self._index[:, 0].astype(np.int64)

    def read_into(self, slot: int, out: memoryview, *, verify: bool = True) -> None:
        """Fill ``out`` with one row's stored bytes; ``verify`` checks its crc32c.

        Raises
        ------
        IntegrityError
            The row is absent, cut short or damaged; the message names file and row.
        """
        if self._index[slot, 0] == _ABSENT:
            raise IntegrityError(f"row {slot} of {self.key} is absent", fix="It was quarantined.")
        offset = int(self._index[slot, 0])
        read_chunks(self._store, self.key, [Chunk(slot, offset, out)], verify=verify)

    def _read_index(self) -> Index:
        size = self._store.size(self.key)
        if size is None:
            raise FileNotFoundError(f"{self._store.url}/{self.key}")
        tail = bytearray(index_bytes(self._slots))
        self._store.read_into(self.key, max(0, size - len(tail)), memoryview(tail))
        body, checksum = tail[:-CHECKSUM_BYTES], tail[-CHECKSUM_BYTES:]
        if struct.unpack("<I", checksum)[0] != crc32c(body):
            raise IntegrityError(
                f"the index of {self.key} is damaged",
                expected=f"{self._slots} rows and their crc32c in the last {len(tail)} bytes",
                fix="The file is truncated or has another shape; see `samdistill verify --deep`.",
            )
        index: Index = np.frombuffer(bytes(body), dtype="<u8").reshape(self._slots, 2)
        sizes = index[index[:, 0] != _ABSENT, 1]
        if (sizes != self._chunk_bytes + CHECKSUM_BYTES).any():
            raise IntegrityError(
                f"the rows of {self.key}",
                expected=f"{self._chunk_bytes + CHECKSUM_BYTES} bytes each",
                got=f"{sorted(set(sizes.tolist()))[:3]}",
            )
        return index
