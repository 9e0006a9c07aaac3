"""A product is a folder of committed shards: a normalized split or a feature array."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from pipelines.store import layout
from pipelines.store.commits import committed_shards
from pipelines.store.objects import ObjectStore
from schemas.errors import IncompleteError
from schemas.ids import digest_bytes, parse_json
from schemas.manifests import CommitRecord, FileRecord

_READERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCommit:
    """A commit record and the file that holds it."""

    record: CommitRecord
    file: FileRecord

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """All files of the shard, its commit record last."""
        return (*self.record.files, self.file)


def read_product(
    store: ObjectStore, folder: str, shards: int, *, fix: str
) -> tuple[StoredCommit, ...]:
    """Return the commit of each shard, in order.

    Parameters
    ----------
    fix
        What to do when a shard is missing: the command that goes on.

    Raises
    ------
    IncompleteError
        A shard is not committed; the message counts them and names the first ones.
    """
    present = set(committed_shards(store, folder))
    missing = [shard for shard in range(shards) if shard not in present]
    if missing:
        first = ", ".join(str(shard) for shard in missing[:5])
        raise IncompleteError(
            f"{folder} is not complete: {len(missing)} of {shards} shards are missing "
            f"(first: {first})",
            fix=fix,
        )
    with ThreadPoolExecutor(_READERS, thread_name_prefix="commits") as pool:
        return tuple(pool.map(partial(_read, store, folder), range(shards)))


def _read(store: ObjectStore, folder: str, shard: int) -> StoredCommit:
    key = layout.commit_key(folder, shard)
    body = store.get(key)
    return StoredCommit(
        record=parse_json(body, CommitRecord, key),
        file=FileRecord(key=key, bytes=len(body), blake3=digest_bytes(body)),
    )
