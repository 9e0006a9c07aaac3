from __future__ import annotations

import pytest

from pipelines.engine.unit_queue import UnitQueue
from pipelines.engine.work import Failure, UnitReport, WorkUnit
from tests.engine.stages import Heard, make_units


@pytest.fixture
def heard() -> Heard:
    return Heard()


def make_queue(heard: Heard, units: int = 1) -> UnitQueue:
    return UnitQueue(make_units(units), heard, max_attempts=2, max_losses=3)


def take(queue: UnitQueue) -> WorkUnit:
    unit = queue.take()
    assert unit is not None
    return unit


def test_a_unit_is_out_at_most_once(heard: Heard) -> None:
    queue = make_queue(heard)
    unit = take(queue)
    assert queue.take() is None
    assert queue.unsettled == 1
    queue.settle(unit, UnitReport(unit=unit, status="done"))
    assert queue.unsettled == 0


def test_losses_do_not_use_up_attempts(heard: Heard) -> None:
    queue = make_queue(heard)
    for _ in range(2):
        queue.lose(take(queue), "gone")
    queue.settle(take(queue), Failure(unit=make_units(1)[0], kind="code", error="x"))
    unit = take(queue)
    queue.settle(unit, UnitReport(unit=unit, status="done"))
    assert [report.unit for report in heard.finished] == [unit]


def test_losses_have_an_end(heard: Heard) -> None:
    queue = make_queue(heard)
    for _ in range(3):
        queue.lose(take(queue), "gone")
    assert queue.unsettled == 0
    assert [(item.kind, item.attempts) for item in heard.failed] == [("infrastructure", 3)]


def test_a_retry_comes_after_the_others(heard: Heard) -> None:
    queue = make_queue(heard, units=2)
    first = take(queue)
    queue.settle(first, Failure(unit=first, kind="code", error="x"))
    assert [take(queue).shard, take(queue).shard] == [1, 0]


def test_abandoned_units_fail_each(heard: Heard) -> None:
    queue = make_queue(heard, units=3)
    queue.abandon("no worker")
    assert queue.unsettled == 0
    assert heard.shards == [0, 1, 2]
    assert {item.kind for item in heard.failed} == {"infrastructure"}
