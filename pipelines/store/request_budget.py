"""How many requests a process may send to a bucket: each is paid for, and services slow down."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass

from schemas.errors import StorageError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """None: as many as it takes."""

    per_second: float | None = None
    total: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("per second", self.per_second), ("in total", self.total)):
            if value is not None and value <= 0:
                raise UsageError(f"requests {name}", expected="more than 0", got=value)


UNLIMITED = RequestLimits()


class RequestBudget:
    """Counts the requests of this process, spreads them evenly, and refuses those over the total.

    Repeated attempts count: they are paid for too. A forked process has a budget of its own.
    """

    def __init__(self, limits: RequestLimits, name: str) -> None:
        self.limits, self._name = limits, name
        self._begin()

    def _begin(self) -> None:
        self._owner, self._lock = os.getpid(), threading.Lock()
        self._next = 0.0
        self.sent = 0
        """Requests so far."""
        self.waited_seconds = 0.0
        """How long all threads together were held back."""

    def spend(self, action: str) -> None:
        """Wait until ``action`` may be asked for.

        Raises
        ------
        StorageError
            The total is used up.
        """
        if self._owner != os.getpid():
            # Not the parent's lock, which another of its threads may have held.
            self._begin()
        with self._lock:
            self._require_left(action)
            self.sent += 1
            pause = self._pause()
            self.waited_seconds += pause
        if pause:
            time.sleep(pause)

    def _pause(self) -> float:
        if self.limits.per_second is None:
            return 0.0
        now = time.monotonic()
        turn = max(now, self._next)
        self._next = turn + 1 / self.limits.per_second
        return turn - now

    def _require_left(self, action: str) -> None:
        if self.limits.total is not None and self.sent >= self.limits.total:
            raise StorageError(
                f"cannot {action}: the budget of {self.limits.total} requests to {self._name} "
                "is used up",
                fix="Allow more requests, or read through a cache folder.",
            )
