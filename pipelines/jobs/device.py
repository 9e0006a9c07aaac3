"""The device beside the host: copies on streams of their own, and the time that it computes.

With CUDA the host only queues work here. What has arrived is known by events, so that reading,
computing, copying back and writing all happen at once. On a CPU the same calls do the work where
it is asked for, and copy nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

import torch

Report = Callable[[str, float], None]
"""Told a step and its seconds."""
Encode = Callable[[torch.Tensor], torch.Tensor]
"""Turns values ``[B, *item]`` into what is stored, ``[B, *stored]``, on their device."""


class Arriving:
    """A batch of one feature on its way to the host.

    Parameters
    ----------
    encode
        Still to be done to each row; None when the device has done it.
    """

    def __init__(
        self, values: torch.Tensor, encode: Encode | None = None, copied: Span | None = None
    ) -> None:
        self._values, self._encode, self._copied = values, encode, copied

    def wait(self) -> None:
        """Return when the whole batch has arrived."""
        if self._copied is not None:
            self._copied.end()

    def rows(self) -> Iterator[torch.Tensor]:
        """Yield the rows of a batch that has arrived, as they are stored."""
        if self._encode is None:
            yield from self._values
            return
        for place in range(len(self._values)):
            yield self._encode(self._values[place : place + 1])[0]


class Span:
    """A stretch of work on a CUDA stream, whose length is known once it is over."""

    def __init__(self, step: str, report: Report) -> None:
        self._step, self._report = step, report
        self._begun = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._ended = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._begun.record()

    def close(self) -> None:
        """End the stretch after the work that is queued so far."""
        self._ended.record()

    def end(self) -> None:
        """Wait until the device has come to the end, and report the time it took."""
        self._ended.synchronize()
        self._report(self._step, self._begun.elapsed_time(self._ended) / 1000)


class Device:
    """Copies to and from one device, for one unit.

    Parameters
    ----------
    report
        Is told the seconds of ``h2d``, ``forward`` and ``d2h``, perhaps later and by the thread
        that waits for a batch.
    """

    def __init__(self, device: torch.device, report: Report) -> None:
        self._device, self._report = device, report
        self._cuda = device.type == "cuda"
        self._spans: list[Span] = []
        if self._cuda:
            self._incoming = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._outgoing = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def upload(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return equal images as one batch on the device; the copy goes on while it computes."""
        if not self._cuda:
            begun = time.perf_counter()
            stacked = torch.stack(list(images))
            self._report("h2d", time.perf_counter() - begun)
            return stacked
        # The allocator of pinned memory keeps freed blocks until copies from them are over.
        host = torch.empty((len(images), *images[0].shape), dtype=images[0].dtype, pin_memory=True)
        torch.stack(list(images), out=host)
        with torch.cuda.stream(self._incoming):
            span = Span("h2d", self._report)
            batch = host.to(self._device, non_blocking=True)
            span.close()
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._incoming)
        batch.record_stream(current)
        self._spans.append(span)
        return batch

    @contextlib.contextmanager
    def forward(self) -> Iterator[None]:
        """Count what the block queues (on a CPU: does) as the device's work."""
        if self._cuda:
            span = Span("forward", self._report)
            yield
            span.close()
            self._spans.append(span)
            return
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._report("forward", time.perf_counter() - begun)

    def download(self, values: torch.Tensor, encode: Encode) -> Arriving:
        """Begin to copy a batch to the host, encoded first: half of the bytes for half floats.

        What is on the host is encoded there, by whoever takes the rows.
        """
        if values.device.type != "cuda":
            return Arriving(values, encode)
        stored = encode(values)
        self._outgoing.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._outgoing):
            span = Span("d2h", self._report)
            host = torch.empty(stored.shape, dtype=stored.dtype, pin_memory=True)
            host.copy_(stored, non_blocking=True)
            span.close()
        stored.record_stream(self._outgoing)
        return Arriving(host, copied=span)

    def take_spans(self) -> list[Span]:
        """Hand over the work that was queued since the last call; ``end`` each to have it told."""
        spans, self._spans = self._spans, []
        return spans
