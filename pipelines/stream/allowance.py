"""How many batches may be in memory at once, those in the caller's hands included."""

from __future__ import annotations

import weakref
from concurrent.futures import CancelledError
from queue import SimpleQueue

_ROOM = -1
_CLOSED = -2


class Lease:
    """Room for one batch, for as long as anything holds on to this."""

    __slots__ = ("__weakref__",)


class Allowance:
    """Room for so many batches: one begins when the memory of an earlier one is free again.

    That happens after the caller has let go of a batch, often while it computes on the next one;
    so one thread waits for room and begins batches, by their numbers, in order. A caller who keeps
    batches and wants another one gets it, and the allowance is one larger from then on: nothing
    ever waits for what does not come.
    """

    def __init__(self, batches: int) -> None:
        # Its ``put`` may be called by the garbage collector, in the middle of anything.
        self._tokens: SimpleQueue[int] = SimpleQueue()
        for _ in range(batches):
            self._tokens.put(_ROOM)

    def lease(self, number: int) -> Lease:
        """Wait for room for batch ``number``.

        Raises
        ------
        CancelledError
            The allowance was closed.
        """
        while (token := self._tokens.get()) != _CLOSED:
            # Another number: a batch that was insisted on, and had got its room already.
            if token in {_ROOM, number}:
                lease = Lease()
                weakref.finalize(lease, self._tokens.put, _ROOM).atexit = False
                return lease
        self.close()
        raise CancelledError

    def insist(self, number: int) -> None:
        """Let batch ``number`` begin at once: the caller waits for it."""
        self._tokens.put(number)

    def close(self) -> None:
        """Let nobody wait any longer, now and later."""
        self._tokens.put(_CLOSED)
