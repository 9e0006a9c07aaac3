"""Ctrl-C between two steps of training, never within one."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Self


class Interrupts:
    """Delays an interrupt that comes in a held block to the block's end; a second one is at once.

    Signals are the main thread's: elsewhere, and where a caller handles them, nothing is changed.
    """

    def __init__(self) -> None:
        self._held = self._heard = self._installed = False

    def __enter__(self) -> Self:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            signal.signal(signal.SIGINT, self._hear)
            self._installed = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Raise ``KeyboardInterrupt`` at the end of the block when one was asked for in it."""
        self._held, self._heard = True, False
        try:
            yield
        finally:
            self._held = False
        if self._heard:
            raise KeyboardInterrupt

    def _hear(self, _signal: int, _frame: object) -> None:
        if not self._held or self._heard:
            raise KeyboardInterrupt
        self._heard = True
