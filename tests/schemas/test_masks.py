from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from schemas.errors import DataError
from schemas.masks import MaskRLE, encode_mask, mask_from_coco

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20))


def uncompressed(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Run lengths counted directly, to check pycocotools' by other means."""
    flat = mask.ravel(order="F")
    runs, current, count = [], False, 0
    for value in flat:
        if value != current:
            runs.append(count)
            current, count = bool(value), 0
        count += 1
    return {"size": list(mask.shape), "counts": [*runs, count]}


@given(masks)
def test_encode_decode_round_trip(mask: npt.NDArray[np.bool_]) -> None:
    rle = encode_mask(mask)
    assert (rle.height, rle.width) == mask.shape
    assert np.array_equal(rle.decode(), mask)
    assert rle.area == mask.sum()


@given(masks)
def test_all_three_rle_forms_are_the_same_mask(mask: npt.NDArray[np.bool_]) -> None:
    rle = encode_mask(mask)
    h, w = mask.shape
    text = {"size": [h, w], "counts": rle.counts.decode()}
    assert mask_from_coco(text, h, w, "x") == rle
    assert mask_from_coco(uncompressed(mask), h, w, "x") == rle


@given(masks)
def test_a_mirrored_mask_is_that_of_the_mirrored_pixels(mask: npt.NDArray[np.bool_]) -> None:
    assert encode_mask(mask).mirrored() == encode_mask(mask[:, ::-1])


@given(masks)
def test_box_is_tight(mask: npt.NDArray[np.bool_]) -> None:
    rows, columns = np.nonzero(mask)
    expected = (0.0, 0.0, 0.0, 0.0)
    if rows.size:
        expected = (columns.min(), rows.min(), columns.max() + 1.0, rows.max() + 1.0)
    assert encode_mask(mask).box == expected


def test_polygons_are_united() -> None:
    left, right = [0, 0, 2, 0, 2, 4, 0, 4], [4, 0, 6, 0, 6, 4, 4, 4]
    mask = mask_from_coco([left, right], 4, 6, "x").decode()
    assert mask[:, :2].all()
    assert not mask[:, 2:4].any()
    assert mask[:, 4:].all()
    assert mask_from_coco(left, 4, 6, "x").area == 8


def test_empty_mask_is_a_mask() -> None:
    empty = encode_mask(np.zeros((480, 848), dtype=bool))
    assert empty.area == 0
    assert empty.counts == b"P`]<"  # the string that SA-V's files hold for it


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        3,
        [],
        [[]],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [["a"] * 6],
        [[float("nan")] * 6],
        [[0, 0, 1e9, 0, 1e9, 1e9]],
        {"size": [4, 6]},
        {"size": [6, 4], "counts": [24]},
        {"size": [4, 6], "counts": [23]},
        {"size": [4, 6], "counts": [30, -6]},
        {"size": [4, 6], "counts": "ä"},
        {"size": [4, 6], "counts": ""},
        {"size": [4, 6], "counts": "~~~~"},
        {"size": [4, 6], "counts": 24},
    ],
)
def test_malformed_segmentations_are_named(segmentation: object) -> None:
    with pytest.raises(DataError, match="annotation 7"):
        mask_from_coco(segmentation, 4, 6, "annotation 7")


@given(st.binary(max_size=12))
def test_no_bytes_crash_the_decoder(counts: bytes) -> None:
    """Random run lengths are refused, or decode to a mask of the stated size."""
    try:
        mask = mask_from_coco({"size": [4, 6], "counts": counts}, 4, 6, "x")
    except DataError:
        return
    assert mask.decode().shape == (4, 6)
    assert coco.area({"size": [4, 6], "counts": counts}) == mask.area


def test_struct_round_trip_to_coco() -> None:
    rle = encode_mask(np.eye(3, dtype=bool))
    assert MaskRLE(height=3, width=3, counts=rle.to_coco()["counts"]) == rle
