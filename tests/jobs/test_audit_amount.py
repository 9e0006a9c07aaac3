from __future__ import annotations

import numpy as np
import pytest

from pipelines.jobs.audit_amount import Amount, spread


@pytest.mark.parametrize(
    ("text", "rows", "shards", "expected"),
    [
        ("0.1%", 100_000, 10, 100),
        ("0.1%", 100_000, 500, 500),
        ("1%", 150, 1, 2),
        ("100%", 7, 3, 7),
        ("64", 100_000, 500, 64),
        ("64", 10, 2, 10),
        ("1%", 0, 0, 0),
    ],
)
def test_a_share_has_a_row_of_each_shard_and_a_number_is_exact(
    text: str, rows: int, shards: int, expected: int
) -> None:
    assert Amount.parse(text).of(rows, shards) == expected


@pytest.mark.parametrize("wanted", [1, 5, 7, 40, 100, 106, 107, 500])
def test_rows_are_spread_by_size(wanted: int) -> None:
    sizes = {0: 50, 1: 0, 2: 7, 3: 1, 5: 29, 9: 20}
    for seed in range(20):
        quotas = spread(wanted, sizes, np.random.default_rng(seed))
        assert sum(quotas.values()) == min(wanted, 107)
        assert all(1 <= rows <= sizes[shard] for shard, rows in quotas.items())
        if wanted >= 5:
            assert quotas.keys() == {0, 2, 3, 5, 9}
        if 5 <= wanted < 107:
            even = 1 + 49 * (wanted - 5) / 102
            assert abs(quotas[0] - even) <= 1


def test_few_rows_reach_all_parts_of_many_shards() -> None:
    for seed in range(20):
        quotas = spread(10, dict.fromkeys(range(1000), 3), np.random.default_rng(seed))
        assert [shard // 100 for shard in sorted(quotas)] == list(range(10))
