"""Published files that are looked up where they lie, instead of being read whole."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import blake3
import pyarrow as pa
import torch

from pipelines.store.local import LocalObjectStore
from pipelines.store.objects import ObjectStore
from schemas.errors import IncompleteError, IntegrityError
from schemas.manifests import FileRecord

_PIECE_BYTES = 8 << 20
_CONNECTIONS = 8


def map_file(store: ObjectStore, record: FileRecord) -> pa.Buffer:
    """Return a published file's content, mapped into memory; no descriptor stays open.

    A remote file is copied into a temporary one first, which takes no name and no memory that the
    kernel could not have back.

    Raises
    ------
    IncompleteError
        The root does not have the file.
    IntegrityError
        It has other content than when it was published.
    """
    try:
        if isinstance(store, LocalObjectStore):
            return _mapped(store.root / record.key, record)
        with tempfile.NamedTemporaryFile(prefix="samdistill-") as file:
            for piece in _pieces(store, record):
                file.write(piece)
            file.flush()
            return _mapped(Path(file.name), record)
    except FileNotFoundError as cause:
        raise IncompleteError(
            f"{record.key} is published but missing in {store.url}", fix="Copy the root whole."
        ) from cause


def _mapped(path: Path, record: FileRecord) -> pa.Buffer:
    """Map a file after checking it by ordinary reads, which leave no pages with this process."""
    digest, size = _digest(path)
    if digest != record.blake3:
        raise IntegrityError(
            f"{record.key} is not as it was published",
            expected=f"blake3 {record.blake3[:16]}, {record.bytes} bytes",
            got=f"blake3 {digest[:16]}, {size} bytes",
            fix="Restore it from a copy, or publish again.",
        )
    # Python's and Arrow's own mappings keep the file's descriptor; PyTorch's does not.
    mapped = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
    return pa.py_buffer(mapped.numpy())


def _digest(path: Path) -> tuple[str, int]:
    found, size, block = blake3.blake3(), 0, bytearray(_PIECE_BYTES)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            found.update(memoryview(block)[:count])
            size += count
    return found.hexdigest(), size


def _pieces(store: ObjectStore, record: FileRecord) -> Iterator[memoryview]:
    """Yield a remote file's content in order, read over several connections."""

    def read(offset: int) -> memoryview:
        piece = memoryview(bytearray(min(_PIECE_BYTES, record.bytes - offset)))
        return piece[: store.read_into(record.key, offset, piece)]

    offsets = range(0, record.bytes, _PIECE_BYTES)
    with ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="index") as pool:
        for first in range(0, len(offsets), _CONNECTIONS):
            yield from pool.map(read, offsets[first : first + _CONNECTIONS])
