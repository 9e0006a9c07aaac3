from __future__ import annotations

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError

import pytest

from pipelines.stream.allowance import Allowance


def test_room_comes_back_when_a_lease_is_let_go_of() -> None:
    allowance = Allowance(2)
    first, second = allowance.lease(0), allowance.lease(1)
    with ThreadPoolExecutor(1) as pool:
        third = pool.submit(allowance.lease, 2)
        with pytest.raises(NotYetError):
            third.result(0.05)
        del first
        assert third.result(10) is not second


def test_who_insists_gets_room_for_that_batch_alone() -> None:
    allowance = Allowance(1)
    held = [allowance.lease(0)]
    allowance.insist(1)
    held.append(allowance.lease(1))
    allowance.insist(1)
    with ThreadPoolExecutor(1) as pool:
        third = pool.submit(allowance.lease, 2)
        with pytest.raises(NotYetError):
            third.result(0.05)
        held.clear()
        third.result(10)


def test_nobody_waits_once_it_is_closed() -> None:
    allowance = Allowance(1)
    held = allowance.lease(0)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(allowance.lease, number) for number in (1, 2)]
        threading.Timer(0.02, allowance.close).start()
        for future in waiting:
            with pytest.raises(CancelledError):
                future.result(10)
    del held
