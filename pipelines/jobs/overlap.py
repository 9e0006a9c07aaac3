"""Forward and write at the same time, in bounded memory, and know what each step costs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec, Self

from pipelines.engine.pulse import PULSE

Arguments = ParamSpec("Arguments")


class Background:
    """Runs calls in one thread, in order; the caller waits while ``ahead`` of them are unfinished.

    An error of a call is raised by a later ``submit``, at the latest by the end of the block.
    """

    def __init__(self, ahead: int = 2) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="background")
        self._waiting: deque[Future[object]] = deque()
        self._ahead = ahead

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.wait()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def submit(
        self,
        function: Callable[Arguments, object],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> None:
        """Run the call later."""
        while len(self._waiting) >= self._ahead:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(function, *args, **kwargs))

    def wait(self) -> None:
        """Return when all calls are done."""
        while self._waiting:
            self._waiting.popleft().result()


class BusyTime:
    """Sums the seconds that threads spend in named steps; each that ends is a sign of life."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def measure(self, step: str) -> Iterator[None]:
        """Count the time of the block as work on ``step``."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.add(step, time.perf_counter() - begun)

    def add(self, step: str, seconds: float) -> None:
        """Count seconds that were measured elsewhere."""
        with self._lock:
            self._seconds[step] += seconds
        PULSE.beat()

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by step."""
        return dict(self._seconds)
