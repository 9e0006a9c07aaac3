"""Units that overlap take turns on the device: one computes, others read ahead or are written."""

from __future__ import annotations

import threading
import time


class Turn:
    """Lets one unit of a process compute at a time, and knows how long nobody did.

    Travels to other processes as a new one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: float | None = None

    def __reduce__(self) -> tuple[type[Turn], tuple[()]]:
        return Turn, ()

    def take(self) -> float:
        """Wait for the turn; return the seconds for which nobody has had it before."""
        self._lock.acquire()
        return 0.0 if self._left is None else time.perf_counter() - self._left

    def leave(self) -> None:
        """Let the next unit compute."""
        self._left = time.perf_counter()
        self._lock.release()
