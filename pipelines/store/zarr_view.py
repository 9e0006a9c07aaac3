"""An object store as zarr-python sees it, read-only: the second opinion on our own reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import zarr
from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype

from pipelines.store.objects import ObjectStore
from schemas.errors import DataError


class ZarrView(Store):
    """A zarr store over one folder of an object store."""

    supports_writes = supports_deletes = False
    supports_listing = True

    def __init__(self, store: ObjectStore, folder: str) -> None:
        super().__init__(read_only=True)
        self._store, self._folder = store, folder

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ZarrView) and (self._store.url, self._folder) == (
            other._store.url,
            other._folder,
        )

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return the file or the range; None when there is no such file, as zarr wants it."""
        body = await asyncio.to_thread(self._read, f"{self._folder}/{key}", byte_range)
        return None if body is None else prototype.buffer.from_bytes(body)

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Return several ranges, in order."""
        return [await self.get(key, prototype, span) for key, span in key_ranges]

    async def exists(self, key: str) -> bool:
        """Say whether there is such a file."""
        return self._store.size(f"{self._folder}/{key}") is not None

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse: what is published never changes."""
        self._check_writable()

    async def delete(self, key: str) -> None:
        """Refuse: what is published never changes."""
        self._check_writable()

    async def list(self) -> AsyncIterator[str]:
        """Yield all keys below the folder."""
        for key in self._store.keys(self._folder):
            yield key.removeprefix(f"{self._folder}/")

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys that start with ``prefix``."""
        async for key in self.list():
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names of files and folders in the folder ``prefix``."""
        top = f"{prefix}/" if prefix else ""
        names = [key.removeprefix(top).partition("/")[0] async for key in self.list_prefix(top)]
        for name in sorted(set(names)):
            yield name

    def _read(self, key: str, span: ByteRequest | None) -> bytes | None:
        size = self._store.size(key)
        if size is None:
            return None
        start, stop = _extent(span, size)
        body = bytearray(stop - start)
        count = self._store.read_into(key, start, memoryview(body))
        return bytes(body[:count])


def open_zarr(store: ObjectStore, folder: str) -> zarr.Array[zarr.core.metadata.ArrayV3Metadata]:
    """Open a feature array by zarr-python itself.

    Raises
    ------
    DataError
        Zarr-python does not take its zarr.json.
    """
    try:
        return zarr.open_array(ZarrView(store, folder), mode="r")
    except (ValueError, KeyError, TypeError) as cause:
        raise DataError(f"zarr-python cannot open {folder}: {cause}") from cause


def _extent(span: ByteRequest | None, size: int) -> tuple[int, int]:
    match span:
        case RangeByteRequest(start, end):
            return start, min(end, size)
        case OffsetByteRequest(offset):
            return offset, size
        case SuffixByteRequest(suffix):
            return max(0, size - suffix), size
        case None:
            return 0, size
