from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipelines.store import request_budget
from pipelines.store.request_budget import RequestBudget, RequestLimits
from schemas.errors import StorageError, UsageError


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(request_budget, "time", clock)
    return clock


def test_requests_are_spread_evenly(clock: Clock) -> None:
    budget = RequestBudget(RequestLimits(per_second=4), "s3://bucket")
    for _ in range(9):
        budget.spend("read")
    assert clock.now == 102.0
    assert (budget.sent, budget.waited_seconds) == (9, 2.0)
    clock.now += 10
    budget.spend("read")
    assert clock.now == 112.0, "what was not sent in a pause is not sent at once after it"


def test_those_over_the_total_are_refused_in_all_threads() -> None:
    budget = RequestBudget(RequestLimits(total=10), "s3://bucket")

    def spend(_: int) -> bool:
        try:
            budget.spend("read")
        except StorageError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(spend, range(50))) == 10
    assert budget.sent == 10
    with pytest.raises(StorageError, match="cannot read s3://bucket/key: the budget of 10"):
        budget.spend("read s3://bucket/key")


def test_without_limits_nothing_waits() -> None:
    budget = RequestBudget(RequestLimits(), "s3://bucket")
    for _ in range(1000):
        budget.spend("read")
    assert (budget.sent, budget.waited_seconds) == (1000, 0)


@pytest.mark.parametrize("limits", [{"per_second": 0.0}, {"total": -1}])
def test_limits_that_cannot_be_right(limits: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="more than 0"):
        RequestLimits(**limits)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork")
def test_a_forked_process_counts_for_itself_and_is_not_locked_out() -> None:
    budget = RequestBudget(RequestLimits(total=2), "s3://bucket")
    budget.spend("read")
    with budget._lock:
        child = multiprocessing.get_context("fork").Process(target=_spend_two, args=(budget,))
        child.start()
        child.join(30)
    assert child.exitcode == 0
    assert budget.sent == 1


def _spend_two(budget: RequestBudget) -> None:
    began = time.monotonic()
    budget.spend("read")
    budget.spend("read")
    assert budget.sent == 2
    assert time.monotonic() - began < 20
