"""Leases: which units other drivers of the same root work on now.

A lease is a file that exists, ``leases/<group>/<shard>.json``, and names a run; it is valid while
that run beats. Nothing depends on it but who computes: commit records make the result correct.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Self

from pipelines.engine.work import WorkUnit
from pipelines.store import layout
from pipelines.store.objects import ObjectStore
from pipelines.store.run_log import is_alive, read_runs
from schemas.ids import canonical_json, digest_bytes, parse_json
from schemas.runs import LeaseRecord

_ASK_AGAIN_SECONDS = 5.0


class StoreLeases:
    """The leases of one run on units that fill the same arrays; see ``engine.work.Leases``.

    Parameters
    ----------
    arrays
        Folders of the arrays that a unit fills: units of other arrays are other work.
    alive
        Says whether a run still beats.
    """

    def __init__(
        self,
        store: ObjectStore,
        arrays: Iterable[str],
        run: str,
        *,
        alive: Callable[[str], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._run, self._clock = store, run, clock
        self._group = digest_bytes("\n".join(sorted(arrays)).encode())[:16]
        self._alive = alive or LiveRuns(store)
        self._held: set[WorkUnit] = set()
        self._taken_until: dict[WorkUnit, float] = {}

    def __enter__(self) -> Self:
        """Remove what dead runs have left: their units are free, or long complete."""
        for key in self._store.keys(layout.lease_folder(self._group)):
            owner = lease_owner(self._store, key)
            if owner is not None and not self._alive(owner):
                self._store.delete(key)
        return self

    def __exit__(self, *_: object) -> None:
        for unit in tuple(self._held):
            self.release(unit)

    def acquire(self, unit: WorkUnit) -> bool:
        """See ``Leases.acquire``."""
        if self._clock() < self._taken_until.get(unit, 0.0):
            return False
        key = layout.lease_key(self._group, unit.shard)
        body = canonical_json(LeaseRecord(run=self._run, unit=unit.id))
        if not self._store.put_if_absent(key, body) and not self._take_over(key, body):
            self._taken_until[unit] = self._clock() + _ASK_AGAIN_SECONDS
            return False
        self._held.add(unit)
        return True

    def release(self, unit: WorkUnit) -> None:
        """See ``Leases.release``."""
        if unit in self._held:
            self._held.discard(unit)
            self._store.delete(layout.lease_key(self._group, unit.shard))

    def _take_over(self, key: str, body: bytes) -> bool:
        owner = lease_owner(self._store, key)
        if owner == self._run:
            return True
        if owner is not None and self._alive(owner):
            return False
        # Two may do this at once and both think that they have it: both would be right in the end.
        self._store.delete(key)
        return self._store.put_if_absent(key, body)


def lease_owner(store: ObjectStore, key: str) -> str | None:
    """Return the run that a lease names; None when the lease is gone."""
    try:
        return parse_json(store.get(key), LeaseRecord, key).run
    except FileNotFoundError:
        return None


class LiveRuns:
    """Says which runs are alive; looks at the root at most every few seconds."""

    def __init__(self, store: ObjectStore, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._read_at = 0.0
        self._names: set[str] = set()

    def __call__(self, run: str) -> bool:
        """Say whether this run is alive."""
        now = self._clock()
        if run not in self._names or now - self._read_at > _ASK_AGAIN_SECONDS:
            self._names = {record.run for record in read_runs(self._store) if is_alive(record, now)}
            self._read_at = now
        return run in self._names
