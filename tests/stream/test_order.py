from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.stream.order import Order
from schemas.errors import UsageError

GOLDEN = [2, 8, 0, 1, 6, 5, 9, 4, 3, 7]

quick = settings(deadline=None, max_examples=60, derandomize=True)


def epoch_of(order: Order, epoch: int) -> list[int]:
    first = epoch * order.samples
    indices: list[int] = order.at(np.arange(first, first + order.samples)).tolist()
    return indices


@quick
@given(st.integers(1, 3000), st.integers(0, 2**63), st.integers(0, 5))
def test_every_epoch_is_a_permutation(samples: int, seed: int, epoch: int) -> None:
    assert sorted(epoch_of(Order(samples=samples, seed=seed), epoch)) == list(range(samples))


@pytest.mark.parametrize("samples", [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 4096, 4097, 100_003])
def test_sizes_around_powers_of_two(samples: int) -> None:
    indices = epoch_of(Order(samples=samples, seed=1), 0)
    assert len(set(indices)) == samples
    assert min(indices) == 0
    assert max(indices) == samples - 1


def test_seed_and_epoch_change_the_order() -> None:
    orders = [
        epoch_of(Order(samples=100, seed=seed), epoch) for seed in range(4) for epoch in range(4)
    ]
    assert len({tuple(order) for order in orders}) == len(orders)


def test_positions_are_shuffled_evenly() -> None:
    """Each sample comes equally often in each tenth of an epoch, and neighbours part."""
    samples, epochs = 50, 400
    table = np.array([epoch_of(Order(samples=samples, seed=9), epoch) for epoch in range(epochs)])
    first_tenth = np.bincount(table[:, :5].ravel(), minlength=samples)
    # Binomial with mean 40 and deviation 6.
    assert first_tenth.min() > 40 - 4.5 * 6
    assert first_tenth.max() < 40 + 4.5 * 6
    follows = (np.diff(table, axis=1) == 1).mean()
    assert follows < 3 / samples


def test_positions_may_lie_far_out_and_in_any_epoch() -> None:
    order = Order(samples=2**40 + 7, seed=3)
    positions = np.array([0, 5, 2**40 + 6, 2**40 + 7, 9 * 2**40])
    together = order.at(positions)
    assert ((together >= 0) & (together < order.samples)).all()
    assert together.tolist() == [order.at(positions[i : i + 1])[0] for i in range(5)]


def test_order_is_the_same_on_every_machine() -> None:
    """Changing these numbers would silently reorder every run that resumes."""
    assert epoch_of(Order(samples=10, seed=0), 0) == GOLDEN
    code = (
        "import numpy as np; from pipelines.stream.order import Order;"
        "print(Order(samples=10, seed=0).at(np.arange(10)).tolist())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(GOLDEN)


def test_no_samples_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one sample"):
        Order(samples=0, seed=0)
