"""Finding and removing what killed processes have left in a root.

Nothing that a commit record, a split or a manifest names is ever touched. Work that goes on beside
it is safe by age, and beyond that by two checks: a writer looks at its files after it has
committed them (``write_commit``), and here a commit record that appeared while its file was being
removed is removed too. So whatever the order, a commit record never names a missing file.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipelines.store import layout
from pipelines.store.commits import committed_shards
from pipelines.store.objects import Leftover, ObjectStore

Kind = Literal["unfinished write", "file without commit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """One thing that nobody will miss."""

    kind: Kind
    key: str
    bytes: int
    """0 where the store does not tell."""
    age: float
    """Seconds."""
    commit: str | None = None
    """Key of the commit record whose absence makes a file garbage."""
    leftover: Leftover | None = None


def find_garbage(store: ObjectStore, *, older_than: float) -> Iterator[Garbage]:
    """Yield what is older than so many seconds and belongs to nothing.

    Files of a shard without commit record are of no use: whoever does the shard computes all of
    it, and adopts a file that lies there only so that two writers agree.
    """
    now = time.time()
    for leftover in store.leftovers():
        if now - leftover.modified >= older_than:
            yield Garbage(
                kind="unfinished write",
                key=leftover.key,
                bytes=leftover.bytes,
                age=now - leftover.modified,
                leftover=leftover,
            )
    for key, size, commit in _uncommitted(store):
        modified = store.modified(key)
        if modified is not None and now - modified >= older_than:
            age = now - modified
            yield Garbage(kind="file without commit", key=key, bytes=size, age=age, commit=commit)


def remove_garbage(store: ObjectStore, garbage: Garbage) -> bool:
    """Remove it, unless it has come to be of use: then False."""
    if garbage.leftover is not None:
        return store.discard(garbage.leftover)
    commit = garbage.commit
    if commit is None or store.size(commit) is not None:
        return False
    store.delete(garbage.key)
    if store.size(commit) is not None:
        store.delete(commit)
    return True


def _uncommitted(store: ObjectStore) -> Iterator[tuple[str, int, str]]:
    """Yield key, size and the missing commit record's key of each file of an uncommitted shard."""
    folder, committed = "", set[int]()
    for top in (layout.NORMALIZED, layout.FEATURES):
        for key, size in store.sizes(top):
            place = layout.shard_of(key)
            if place is None:
                continue
            if place.folder != folder:
                folder, committed = place.folder, set(committed_shards(store, place.folder))
            if place.shard not in committed:
                yield key, size, layout.commit_key(folder, place.shard)
