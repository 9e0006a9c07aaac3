"""Copying single files between roots, each checked against the digest it was published with."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from typing import Protocol

import blake3

from pipelines.store.commits import hash_file
from pipelines.store.objects import ObjectStore
from schemas.errors import ConflictError, IncompleteError, IntegrityError
from schemas.manifests import FileRecord

_BLOCK_BYTES = 16 << 20


class CopyListener(Protocol):
    """Hears of a copy's progress, from many threads."""

    def bytes_copied(self, count: int) -> None:
        """Hear that so many more bytes have been written."""
        ...

    def files_copied(self, count: int) -> None:
        """Hear that so many more files are complete."""
        ...


def copy_file(
    source: ObjectStore, target: ObjectStore, file: FileRecord, listener: CopyListener
) -> None:
    """Copy one file; it appears in the target only if its size and digest are the published ones.

    Raises
    ------
    IntegrityError
        The source holds other bytes.
    IncompleteError
        The source does not hold it.
    ConflictError
        Another process has put other bytes there meanwhile.
    """
    digest, count = blake3.blake3(), 0
    with target.stage(file.key) as staged:
        for block in _read(source, file):
            staged.write(block)
            digest.update(block)
            count += len(block)
            listener.bytes_copied(len(block))
        if (count, digest.hexdigest()) != (file.bytes, file.blake3):
            raise IntegrityError(
                f"{file.key} in {source.url} is not as it was published",
                expected=f"{file.bytes} bytes, blake3 {file.blake3[:16]}",
                got=f"{count} bytes, blake3 {digest.hexdigest()[:16]}",
            )
        if not staged.publish():
            require_same(target, file)
    listener.files_copied(1)


def require_same(target: ObjectStore, file: FileRecord) -> None:
    """Raise ``ConflictError`` unless the target's file has the published content."""
    found = hash_file(target, file.key)
    if found != file:
        raise ConflictError(
            f"{file.key} exists in {target.url} with other content",
            expected=f"{file.bytes} bytes, blake3 {file.blake3[:16]}",
            got=f"{found.bytes} bytes, blake3 {found.blake3[:16]}",
            fix="Other input, another version or another device made it: copy to another root, "
            "or remove it there.",
        )


def present_sizes(target: ObjectStore, keys: Sequence[str]) -> list[int]:
    """Return the size of each key in the target, -1 for an absent one, by one listing."""
    if not keys:
        return []
    # What the first and the last name have in common is common to all between them.
    folder = posixpath.commonpath([min(keys), max(keys)])
    present = dict(target.sizes(posixpath.dirname(folder) if len(keys) == 1 else folder))
    return [present.get(key, -1) for key in keys]


def _read(source: ObjectStore, file: FileRecord) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(min(_BLOCK_BYTES, max(1, file.bytes + 1))))
    offset = 0
    try:
        while count := source.read_into(file.key, offset, buffer):
            yield buffer[:count]
            offset += count
    except FileNotFoundError as cause:
        raise IncompleteError(
            f"{file.key} is published but missing in {source.url}", fix="Copy the root whole."
        ) from cause
