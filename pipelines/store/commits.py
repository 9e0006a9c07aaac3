"""Commit records: the only proof that a shard of a product is complete."""

from __future__ import annotations

import string
from collections.abc import Iterator

import blake3

from pipelines.store import layout
from pipelines.store.objects import ObjectStore, StagedFile
from schemas.errors import ConflictError, IntegrityError
from schemas.ids import canonical_json, parse_json
from schemas.manifests import CommitRecord, FileRecord

_HASH_BLOCK = 8 << 20


def is_committed(store: ObjectStore, folder: str, shard: int) -> bool:
    """Say whether the shard is complete."""
    return store.size(layout.commit_key(folder, shard)) is not None


def committed_shards(store: ObjectStore, folder: str) -> Iterator[int]:
    """Yield the numbers of the complete shards, ascending."""
    names = store.names(layout.commits_folder(folder), string.digits)
    stems = (name.removesuffix(".json") for name in names)
    return iter(sorted(int(stem) for stem in stems if stem.isdigit()))


def read_commit(store: ObjectStore, folder: str, shard: int) -> CommitRecord:
    """Return the commit record of a shard; ``FileNotFoundError`` when it is not complete."""
    key = layout.commit_key(folder, shard)
    return parse_json(store.get(key), CommitRecord, key)


def write_commit(store: ObjectStore, folder: str, record: CommitRecord) -> bool:
    """Complete a shard; False when another process completed it first with the same record.

    Raises
    ------
    ConflictError
        The shard is complete with another record.
    IntegrityError
        A file of it was removed meanwhile. Then the shard is not complete.
    """
    key, body = layout.commit_key(folder, record.shard), canonical_json(record)
    if store.put_if_absent(key, body):
        _require_files(store, key, record)
        return True
    if store.get(key) != body:
        raise ConflictError(
            f"{key} exists and names other content",
            fix="Two different inputs or versions share one root: use another --root for one.",
        )
    return False


def _require_files(store: ObjectStore, key: str, record: CommitRecord) -> None:
    """Take back the commit if gc has removed a file that lay there from an earlier attempt."""
    for file in record.files:
        found = store.size(file.key)
        if found != file.bytes:
            store.delete(key)
            raise IntegrityError(
                f"{file.key} was removed while its shard was being completed",
                expected=f"{file.bytes} bytes",
                got="no file" if found is None else f"{found} bytes",
                fix="Run the same command again.",
            )


def publish_identical(store: ObjectStore, staged: StagedFile, record: FileRecord) -> None:
    """Publish a file that any attempt makes with the same bytes.

    Raises
    ------
    ConflictError
        The key exists with other bytes.
    """
    if not staged.publish():
        require_identical(store, record)


def put_identical(store: ObjectStore, record: FileRecord, body: bytes) -> None:
    """Store a small file that any attempt makes with the same bytes; see ``publish_identical``."""
    if not store.put_if_absent(record.key, body):
        require_identical(store, record)


def require_identical(store: ObjectStore, record: FileRecord) -> None:
    """Raise ``ConflictError`` unless the stored file has the recorded content."""
    found = hash_file(store, record.key)
    if found != record:
        raise ConflictError(
            f"{record.key} exists with other content",
            expected=f"blake3 {record.blake3[:16]}, {record.bytes} bytes",
            got=f"blake3 {found.blake3[:16]}, {found.bytes} bytes",
            fix="Other input or another version made it: remove it or use another --root.",
        )


def hash_file(store: ObjectStore, key: str) -> FileRecord:
    """Return the record of a stored file, read in blocks."""
    size = store.size(key)
    if size is None:
        raise FileNotFoundError(f"{store.url}/{key}")
    digest, block = blake3.blake3(), memoryview(bytearray(min(_HASH_BLOCK, max(size, 1))))
    offset = 0
    while offset < size:
        count = store.read_into(key, offset, block)
        if count == 0:
            break
        digest.update(block[:count])
        offset += count
    return FileRecord(key=key, bytes=offset, blake3=digest.hexdigest())
