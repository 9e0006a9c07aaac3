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
from pipelines.store.leases import LiveRuns, lease_owner
from pipelines.store.objects import Leftover, ObjectStore

Kind = Literal["unfinished write", "file without commit", "lease of a dead run"]


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
    """Of a file: the key of the commit record whose absence makes it garbage."""
    leftover: Leftover | None = None


def find_garbage(store: ObjectStore, *, older_than: float) -> Iterator[Garbage]:
    """Yield what is older than so many seconds and belongs to nothing.

    Files of a shard without commit record are worth that shard's work at most: a run that goes on
    adopts what lies there, and computes what does not.
    """
    now = time.time()
    for found in (_unfinished, _uncommitted, _dead_leases):
        for garbage in found(store, now):
            if garbage.age >= older_than:
                yield garbage


def remove_garbage(store: ObjectStore, garbage: Garbage) -> bool:
    """Remove it, unless it has come to be of use: then False."""
    if garbage.leftover is not None:
        return store.discard(garbage.leftover)
    if garbage.commit is None:
        store.delete(garbage.key)
        return True
    if store.size(garbage.commit) is not None:
        return False
    store.delete(garbage.key)
    if store.size(garbage.commit) is not None:
        store.delete(garbage.commit)
    return True


def _unfinished(store: ObjectStore, now: float) -> Iterator[Garbage]:
    for leftover in store.leftovers():
        yield Garbage(
            kind="unfinished write",
            key=leftover.key,
            bytes=leftover.bytes,
            age=now - leftover.modified,
            leftover=leftover,
        )


def _uncommitted(store: ObjectStore, now: float) -> Iterator[Garbage]:
    folder, committed = "", set[int]()
    for top in (layout.NORMALIZED, layout.FEATURES):
        for key, size in store.sizes(top):
            place = layout.shard_of(key)
            if place is None:
                continue
            if place.folder != folder:
                folder, committed = place.folder, set(committed_shards(store, place.folder))
            modified = store.modified(key) if place.shard not in committed else None
            if modified is not None:
                yield Garbage(
                    kind="file without commit",
                    key=key,
                    bytes=size,
                    age=now - modified,
                    commit=layout.commit_key(folder, place.shard),
                )


def _dead_leases(store: ObjectStore, now: float) -> Iterator[Garbage]:
    alive = LiveRuns(store)
    for key, size in store.sizes(layout.LEASES):
        owner, modified = lease_owner(store, key), store.modified(key)
        if owner is not None and modified is not None and not alive(owner):
            yield Garbage(kind="lease of a dead run", key=key, bytes=size, age=now - modified)
