"""Says in time when signed links will end before their files have come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from downloaders.base import RemoteFile
from downloaders.expiry import link_expiry
from downloaders.links import will_be_late

Warn = Callable[[str], None]


class LinkWatch:
    """Measures how fast the bytes of a plan come; warns once. Threads may report to it.

    Parameters
    ----------
    files
        In the order in which they are fetched; those whose links do not end are no concern.
    clock
        Seconds; only differences count.
    """

    def __init__(
        self,
        files: Sequence[RemoteFile],
        warn: Warn,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._left = {file.name: file for file in files if any(map(link_expiry, file.urls))}
        self._warn, self._clock, self._lock = warn, clock, threading.Lock()
        self._began = clock()
        self._first: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._sizes: list[int] = []
        self._warned = False

    def saw(self, file: RemoteFile, done: int) -> None:
        """Note that ``done`` bytes of a file are on disk."""
        with self._lock:
            self._first.setdefault(file.name, done)
            self._done[file.name] = done

    def finished(self, name: str, size: int) -> None:
        """Note that a file is whole, or failed with size 0; warn if others will be late."""
        if not self._left:
            return
        with self._lock:
            self._left.pop(name, None)
            if size:
                self._sizes.append(size)
            late = [] if self._warned else self._late()
            self._warned = self._warned or bool(late)
        if late:
            self._warn(
                f"at this rate {len(late)} of {len(self._left)} files will not have come when "
                f"their links end, first {late[0].name}; a fresh list then goes on with them"
            )

    def _late(self) -> Sequence[RemoteFile]:
        if not self._sizes:
            return ()
        typical = sum(self._sizes) // len(self._sizes)
        gained = sum(done - self._first[name] for name, done in self._done.items())
        seconds = self._clock() - self._began
        left = [
            (file, max(0, (file.bytes or typical) - self._done.get(file.name, 0)))
            for file in self._left.values()
        ]
        return will_be_late(left, gained / seconds if seconds > 0 else 0.0, datetime.now(UTC))
