from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.stream.shard_order import ShardOrder
from schemas.errors import UsageError


def order_of(counts: list[int], seed: int = 0, window: int = 2) -> ShardOrder:
    return ShardOrder(counts=np.array(counts, dtype=np.int64), seed=seed, window=window)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any),
    window=st.integers(1, 14),
    seed=st.integers(0, 99),
)
def test_every_epoch_has_each_sample_once_and_few_shards_at_a_time(
    counts: list[int], window: int, seed: int
) -> None:
    order = order_of(counts, seed, window)
    shard_of = np.repeat(np.arange(len(counts)), counts)
    for epoch in (0, 1, 10**6):
        first = epoch * order.epoch
        found = order.at(np.arange(first, first + order.epoch))
        assert sorted(found.tolist()) == list(range(sum(counts)))
        shards = shard_of[found].tolist()
        for shard in set(shards):
            last = len(shards) - 1 - shards[::-1].index(shard)
            assert len(set(shards[shards.index(shard) : last + 1])) <= window


def test_seed_and_epoch_decide_the_order() -> None:
    counts = [8] * 40
    whole = order_of(counts, seed=3).at(np.arange(640))
    assert whole[:320].tolist() != whole[320:].tolist()
    assert order_of(counts, seed=4).at(np.arange(320)).tolist() != whole[:320].tolist()
    positions = np.array([500, 3, 320, 319, 639])
    assert order_of(counts, seed=3).at(positions).tolist() == whole[positions].tolist()


def test_samples_of_a_window_are_mixed() -> None:
    found = order_of([50] * 10, window=5).at(np.arange(250))
    shards = found // 50
    assert len(set(shards.tolist())) == 5
    runs = int((np.diff(shards) != 0).sum()) + 1
    assert runs > 100, "not shard after shard"


def test_shards_come_in_random_order() -> None:
    shards = order_of([1] * 200, window=1).at(np.arange(200))
    assert (np.diff(shards) == 1).mean() < 0.1


@pytest.mark.parametrize(("counts", "window"), [([0, 0], 1), ([], 1), ([3], 0)])
def test_what_cannot_be(counts: list[int], window: int) -> None:
    with pytest.raises(UsageError, match="an order by shards"):
        order_of(counts, window=window)
