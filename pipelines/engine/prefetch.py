"""Computing results in threads before they are asked for, in order and in bounded memory."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int,
    ahead: int,
    waiting: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> Generator[Result, None, None]:
    """Yield ``function(item)`` in order, computed in threads up to ``ahead`` items early.

    An error appears where its item's result would; closing the generator ends the threads.

    Parameters
    ----------
    waiting
        Entered while the caller waits for a result.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prefetch")
    begun: deque[Future[Result]] = deque()

    def next_result() -> Result:
        with waiting():
            return begun.popleft().result()

    try:
        for item in items:
            begun.append(pool.submit(function, item))
            if len(begun) > ahead:
                yield next_result()
        while begun:
            yield next_result()
    finally:
        pool.shutdown(cancel_futures=True)
