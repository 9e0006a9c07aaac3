"""How many connections may be open at a time: to one host, and together."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

PER_HOST = 16
OVERALL = 64
_LOOK_SECONDS = 0.5


class HostLimits:
    """Slots for connections. Nobody may wait for a second slot while holding one.

    Parameters
    ----------
    stopped
        When set, whoever waits gets ``KeyboardInterrupt``.
    """

    def __init__(
        self, stopped: threading.Event, *, per_host: int = PER_HOST, overall: int = OVERALL
    ) -> None:
        self._stopped, self._lock = stopped, threading.Lock()
        self._per_host = per_host
        self._overall = threading.BoundedSemaphore(overall)
        self._hosts: dict[str, threading.BoundedSemaphore] = {}

    @contextlib.contextmanager
    def slot(self, url: str) -> Iterator[None]:
        """Hold a slot for the host of ``url``."""
        with self._lock:
            limit = self._hosts.setdefault(host_of(url), threading.BoundedSemaphore(self._per_host))
        with self._hold(limit), self._hold(self._overall):
            yield

    @contextlib.contextmanager
    def _hold(self, limit: threading.BoundedSemaphore) -> Iterator[None]:
        while not limit.acquire(timeout=_LOOK_SECONDS):
            if self._stopped.is_set():
                raise KeyboardInterrupt
        try:
            yield
        finally:
            limit.release()


def host_of(url: str) -> str:
    """Return ``scheme://host`` of ``url``."""
    return "/".join(url.split("/", 3)[:3])
