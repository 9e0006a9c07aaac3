"""A forward pass over batches that survives a full device and finds the item that breaks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Generic, Protocol, TypeVar

import torch

from pipelines.teachers.base import DeviceFeatures, Features
from schemas.features import RowKind

Item = TypeVar("Item")


class Output(Protocol):
    """Takes what a forward pass gives, by numbers of the rows that its items stand for."""

    def forward(self) -> AbstractContextManager[None]:
        """Count the block as a forward pass."""

    def put(self, rows: Sequence[int], features: Features | DeviceFeatures) -> None:
        """Write the features of these rows."""

    def quarantine(self, kind: RowKind, rows: Sequence[int], reason: str) -> None:
        """Record rows that failed."""


_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "defaultcpuallocator")


class Forward(Generic[Item]):
    """Runs ``call`` over items and hands the features to the writer.

    When memory runs out, the device's or the host's, the batch is halved, for the rest of the unit
    too. When a batch fails otherwise, its halves are tried, down to the one item that fails alone;
    an item that fails alone twice is quarantined.

    Parameters
    ----------
    call
        Returns the features of several items, ``features[name][i]`` for item ``i``.
    kind
        What the rows of the items are.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Features | DeviceFeatures],
        kind: RowKind,
        writer: Output,
    ) -> None:
        self._call, self._kind, self._writer = call, kind, writer
        self._limit: int | None = None

    def run(self, rows: Sequence[int], items: Sequence[Item]) -> None:
        """Compute and write these rows."""
        step = self._limit or max(len(rows), 1)
        for first in range(0, len(rows), step):
            self._run_batch(rows[first : first + step], items[first : first + step])

    def _run_batch(
        self, rows: Sequence[int], items: Sequence[Item], *, again: bool = False
    ) -> None:
        try:
            with self._writer.forward():
                features = self._call(items)
        except torch.AcceleratorError:
            # The device's context is lost: no item can be blamed, and none will succeed.
            raise
        except RuntimeError as error:
            out_of_memory = _is_out_of_memory(error)
            if len(rows) == 1 and out_of_memory:
                raise
            reason = f"forward: {type(error).__name__}: {_first_line(error)}"
        else:
            self._writer.put(rows, features)
            return
        # Not in the except block, where the error's frames would keep the batch's tensors alive.
        if out_of_memory:
            torch.cuda.empty_cache()
            self._limit = len(rows) // 2
            self.run(rows, items)
        elif len(rows) == 1 and again:
            self._writer.quarantine(self._kind, rows, reason)
        elif len(rows) == 1:
            self._run_batch(rows, items, again=True)
        else:
            half = len(rows) // 2
            self._run_batch(rows[:half], items[:half])
            self._run_batch(rows[half:], items[half:])


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Say whether an allocator gave up; those of the host raise a plain ``RuntimeError``."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        sign in str(error).lower() for sign in _OUT_OF_MEMORY
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")
