from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from downloaders.group_commit import GroupCommit


def test_those_who_come_while_one_commits_share_the_next() -> None:
    groups: list[list[int]] = []
    begun, go_on = threading.Event(), threading.Event()

    def commit(items: Sequence[int]) -> None:
        groups.append(sorted(items))
        begun.set()
        assert go_on.wait(10)

    group = GroupCommit(commit)
    with ThreadPoolExecutor(9) as threads:
        first = threads.submit(group.add, 0)
        assert begun.wait(10)
        others = [threads.submit(group.add, number) for number in range(1, 9)]
        while len(group._queue) < len(others):
            pass
        go_on.set()
        for future in (first, *others):
            future.result()
    assert groups == [[0], list(range(1, 9))]


def test_a_failure_reaches_those_whose_items_it_had() -> None:
    def commit(items: Sequence[int]) -> None:
        if 1 in items:
            raise OSError("disk")

    group = GroupCommit(commit)
    with pytest.raises(OSError, match="disk"):
        group.add(1)
    group.add(2)
