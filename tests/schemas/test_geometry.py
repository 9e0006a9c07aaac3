from __future__ import annotations

import pytest

from schemas.errors import DataError
from schemas.geometry import box_from_xywh


def test_xywh_becomes_exclusive_corners() -> None:
    assert box_from_xywh([1, 2, 3.5, 4], "x") == (1.0, 2.0, 4.5, 6.0)


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [1, 2, 3],
        [1, 2, -3, 4],
        [1, 2, float("inf"), 4],
        ["a", 1, 1, 1],
        "1234",
        [10**400] * 4,
    ],
)
def test_other_values_are_refused_by_name(bad: object) -> None:
    with pytest.raises(DataError, match="annotation 9: bbox"):
        box_from_xywh(bad, "annotation 9")
