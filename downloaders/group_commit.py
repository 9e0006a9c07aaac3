"""Many threads that wait for the disk share one wait.

A file system commits all that was written before in one go: a sync for sixteen files costs little
more than for one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(slots=True)
class _Waiting(Generic[Item]):
    item: Item
    done: bool = False
    error: OSError | None = None


class GroupCommit(Generic[Item]):
    """Calls ``commit`` with the items of all threads that came while the last call ran."""

    def __init__(self, commit: Callable[[Sequence[Item]], None]) -> None:
        self._commit = commit
        self._queue: list[_Waiting[Item]] = []
        self._queue_lock, self._commit_lock = threading.Lock(), threading.Lock()

    def add(self, item: Item) -> None:
        """Return when a call of ``commit`` that had ``item`` succeeded; raise what it raised."""
        mine = _Waiting(item)
        with self._queue_lock:
            self._queue.append(mine)
        with self._commit_lock:
            if not mine.done:
                self._commit_queue()
        if mine.error is not None:
            raise mine.error

    def _commit_queue(self) -> None:
        with self._queue_lock:
            group, self._queue = self._queue, []
        try:
            self._commit([waiting.item for waiting in group])
        except OSError as error:
            for waiting in group:
                waiting.error = error
        finally:
            for waiting in group:
                waiting.done = True
