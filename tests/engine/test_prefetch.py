from __future__ import annotations

import threading
import time

import pytest

from pipelines.engine.prefetch import prefetch


def test_prefetch_keeps_the_order_and_the_bound() -> None:
    begun: list[int] = []
    taken = 0

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.001 * (item % 3))
        return item * item

    for index, result in enumerate(prefetch(work, range(30), threads=3, ahead=4)):
        taken += 1
        assert result == index * index
        assert len(begun) <= taken + 4
    assert taken == 30


def test_prefetch_raises_in_the_place_of_the_item() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("item 2")
        return item

    seen = []
    with pytest.raises(ValueError, match="item 2"):
        for result in prefetch(work, range(10), threads=2, ahead=3):
            seen.append(result)  # noqa: PERF402
    assert seen == [0, 1]


def test_closing_prefetch_ends_its_threads() -> None:
    results = prefetch(abs, range(1000), threads=2, ahead=2)
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]
