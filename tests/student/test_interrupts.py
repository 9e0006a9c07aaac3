from __future__ import annotations

import signal
import threading

import pytest

from pipelines.student.interrupts import Interrupts


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    done = []
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt), interrupts.held():
        press_ctrl_c()
        done.append("rest")
    assert done == ["rest"]


def test_a_second_interrupt_does_not_wait() -> None:
    done = []
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt), interrupts.held():
        press_ctrl_c()
        press_ctrl_c()
        done.append("rest")
    assert done == []


def test_outside_a_block_it_is_at_once_and_the_handler_is_put_back() -> None:
    with pytest.raises(KeyboardInterrupt), Interrupts():
        press_ctrl_c()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_and_other_handlers_are_left_alone() -> None:
    found = []

    def enter() -> None:
        with Interrupts():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        enter()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert found == [signal.default_int_handler, signal.SIG_IGN]
