from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.stream.mixture import Mixture, Source
from pipelines.stream.order import Order
from schemas.errors import UsageError


def mixture_of(sizes: list[int], weights: list[int], seed: int) -> Mixture:
    sources, first = [], 0
    for number, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
        order = Order(samples=size, seed=seed + number)
        sources.append(Source(order=order, first=first, weight=weight))
        first += size
    return Mixture(sources, seed)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    parts=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 6)), min_size=1, max_size=4),
    seed=st.integers(0, 2**70),
)
def test_every_source_keeps_its_weight_its_order_and_its_epochs(
    parts: list[tuple[int, int]], seed: int
) -> None:
    sizes, weights = [size for size, _ in parts], [weight for _, weight in parts]
    mixture = mixture_of(sizes, weights, seed)
    length = max(3 * sum(weights), 2 * mixture.epoch)
    found = mixture.at(np.arange(length))
    ends = np.cumsum(sizes)
    owners = np.searchsorted(ends, found, side="right")
    round_ = sum(weights)
    for number, weight in enumerate(weights):
        mine = owners[: length // round_ * round_].reshape(-1, round_) == number
        assert (mine.sum(axis=1) == weight).all()
        own = found[owners == number] - (ends[number] - sizes[number])
        expected = Order(samples=sizes[number], seed=seed + number).at(np.arange(len(own)))
        assert np.array_equal(own, expected)
    assert set(found[: mixture.epoch].tolist()) == set(range(int(ends[-1])))


@settings(deadline=None, max_examples=20, derandomize=True)
@given(positions=st.lists(st.integers(0, 10**12), min_size=1, max_size=30))
def test_any_position_is_known_by_itself(positions: list[int]) -> None:
    mixture = mixture_of([7, 3, 11], [3, 1, 2], 5)
    together = mixture.at(np.array(positions))
    alone = [int(mixture.at(np.array([position]))[0]) for position in positions]
    assert together.tolist() == alone


def test_weights_that_cannot_be() -> None:
    for weights in ([0], [1, -1], [1 << 20, 1]):
        with pytest.raises(UsageError, match="weights of a mixture"):
            mixture_of([2] * len(weights), weights, 0)
