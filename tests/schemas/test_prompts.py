from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DataError
from schemas.masks import encode_mask
from schemas.prompts import box_corners, central_point, sampled_point


def blank(height: int = 40, width: int = 60) -> npt.NDArray[np.bool_]:
    return np.zeros((height, width), dtype=bool)


def test_a_box_names_the_outermost_pixels() -> None:
    mask = blank()
    mask[3:10, 20:41] = True
    found = box_corners(encode_mask(mask))
    assert list(found.points) == [(20, 3), (40, 9)]
    assert (found.labels, found.height, found.width) == ((2, 3), 40, 60)


def test_points_are_scaled_by_each_side_of_the_image() -> None:
    mask = blank()
    mask[10, 30] = True
    assert box_corners(encode_mask(mask)).scaled_to(120).tolist() == [[60, 30], [60, 30]]


def test_the_central_point_lies_in_the_thickest_part() -> None:
    mask = blank()
    mask[5:8, 2:50] = True  # a long thin handle,
    mask[5:30, 40:59] = True  # and a block: 19 wide, with the centre of its rows free to move
    assert central_point(encode_mask(mask)).points == ((49, 17),)


def test_the_edge_of_the_image_is_a_border() -> None:
    full = np.ones((9, 9), dtype=bool)
    assert central_point(encode_mask(full)).points == ((4, 4),)
    corner = blank(9, 9)
    corner[:5, :5] = True
    assert central_point(encode_mask(corner)).points == ((2, 2),)


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (2, 2), (7, 4)])
def test_any_shape_has_a_centre(shape: tuple[int, int]) -> None:
    mask = blank()
    mask[4 : 4 + shape[0], 8 : 8 + shape[1]] = True
    ((x, y),) = central_point(encode_mask(mask)).points
    assert mask[int(y), int(x)]
    assert abs(y - (4 + (shape[0] - 1) / 2)) <= 0.5
    assert abs(x - (8 + (shape[1] - 1) / 2)) <= 0.5


def depth(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """How many times each pixel survives taking away all that touches a border, corners too."""
    count = np.zeros(mask.shape, dtype=np.int64)
    left: npt.NDArray[np.bool_] = mask
    while left.any():
        count += left
        padded = np.pad(left, 1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
        left = np.asarray(windows.all(axis=(2, 3)))
    return count


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 24), st.integers(1, 24), st.floats(0.3, 1))
def test_no_pixel_lies_deeper_than_the_central_one(
    seed: int, height: int, width: int, share: float
) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    mask[0, 0] = True
    ((x, y),) = central_point(encode_mask(mask)).points
    depths = depth(mask)
    assert depths[int(y), int(x)] == depths.max()


def test_sampled_points_lie_in_the_mask_and_follow_the_seed() -> None:
    mask = np.random.default_rng(0).random((40, 60)) < 0.2
    rle = encode_mask(mask)
    points = [sampled_point(rle, f"image/{number}").points[0] for number in range(400)]
    assert all(mask[int(y), int(x)] for x, y in points)
    assert len(set(points)) > 200
    assert abs(np.mean([x for x, _ in points]) - 29.5) < 4
    assert sampled_point(rle, "image/7").points[0] == points[7]
    assert sampled_point(rle, "image/7").labels == (1,)


@pytest.mark.parametrize("derive", [box_corners, central_point, lambda m: sampled_point(m, "a")])
def test_an_empty_mask_is_refused(derive: object) -> None:
    assert callable(derive)
    with pytest.raises(DataError, match="at least one pixel"):
        derive(encode_mask(blank()))
