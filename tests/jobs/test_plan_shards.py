from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.jobs.plan_shards import plan_shards, shard_capacity
from schemas.errors import DataError, UsageError
from schemas.samples import Group


def groups(rows: list[int]) -> list[Group]:
    return [Group(key=f"{number:04d}", rows=count) for number, count in enumerate(rows)]


@settings(deadline=None, max_examples=100, derandomize=True)
@given(rows=st.lists(st.integers(1, 9), min_size=1, max_size=40), requested=st.integers(1, 12))
def test_no_group_is_cut_lost_or_moved(rows: list[int], requested: int) -> None:
    given_groups = groups(rows)
    capacity = shard_capacity(given_groups, requested)
    assert capacity == max(requested, *rows)
    plans = plan_shards(given_groups, requested)
    assert [group for plan in plans for group in plan.groups] == given_groups
    assert [plan.shard for plan in plans] == list(range(len(plans)))
    assert all(1 <= plan.rows <= capacity for plan in plans)
    # Greedy: the first group of a shard did not fit into the one before.
    for plan, following in itertools.pairwise(plans):
        assert plan.rows + following.groups[0].rows > requested
    # One long clip leaves the other shards as small as they were asked for.
    assert all(plan.rows <= requested or len(plan.groups) == 1 for plan in plans)


def test_stills_fill_their_shards() -> None:
    assert [plan.rows for plan in plan_shards(groups([1] * 10), 4)] == [4, 4, 2]


def test_a_long_clip_is_a_shard_of_its_own() -> None:
    plans = plan_shards(groups([9, 2, 2, 9, 1]), 4)
    assert [plan.rows for plan in plans] == [9, 4, 9, 1]


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(DataError, match="no samples"):
        plan_shards([], 4)
    with pytest.raises(DataError, match="same key"):
        plan_shards([Group(key="a", rows=1), Group(key="a", rows=1)], 4)
    with pytest.raises(DataError, match="group a; expected 1 sample or more; got 0"):
        plan_shards([Group(key="a", rows=0)], 4)
    with pytest.raises(UsageError, match="rows per shard"):
        shard_capacity(groups([1]), 0)
