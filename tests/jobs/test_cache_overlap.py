from __future__ import annotations

import contextlib
import itertools
import threading
import time

import pytest

from pipelines.jobs.overlap import Background, BusyTime


def test_background_runs_in_order_and_bounded() -> None:
    gate, done = threading.Event(), list[int]()

    def work(item: int) -> None:
        gate.wait()
        done.append(item)

    with Background(ahead=2) as background:
        background.submit(work, 0)
        background.submit(work, 1)
        third = threading.Thread(target=background.submit, args=(work, 2))
        third.start()
        third.join(0.05)
        assert third.is_alive()
        gate.set()
        third.join()
    assert done == [0, 1, 2]


def fail() -> None:
    raise ValueError("write failed")


def test_background_errors_surface_at_the_end() -> None:
    with pytest.raises(ValueError, match="write failed"), Background() as background:
        background.submit(fail)


def test_background_errors_stop_the_caller() -> None:
    calls = 0
    with pytest.raises(ValueError, match="write failed"), Background(ahead=1) as background:
        background.submit(fail)
        for _ in range(5):
            background.submit(int)
            calls += 1
    assert calls == 0


def test_an_error_of_the_block_is_not_hidden_by_waiting_calls() -> None:
    with pytest.raises(KeyError), Background() as background:
        background.submit(fail)
        raise KeyError


def test_busy_time_adds_up_also_when_the_step_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))
    busy = BusyTime()
    with busy.measure("work"), busy.measure("part"):
        pass
    with contextlib.suppress(KeyError), busy.measure("part"):
        raise KeyError
    assert busy.seconds == {"work": 3.0, "part": 2.0}
