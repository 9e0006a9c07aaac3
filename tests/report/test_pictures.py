from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pipelines.report.pictures import (
    COLOURS,
    Region,
    jpeg_uri,
    overlay,
    png_uri,
    shrink,
    shrink_mask,
)

SIZE = (60, 40)


def rectangle(
    left: int, top: int, right: int, bottom: int
) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    mask = np.zeros((SIZE[1], SIZE[0]), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def decoded(uri: str) -> Image.Image:
    head, _, body = uri.partition(";base64,")
    assert head in {"data:image/png", "data:image/jpeg"}
    return Image.open(io.BytesIO(base64.b64decode(body)))


def rgba(regions: list[Region]) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    return np.asarray(decoded(png_uri(overlay(regions, SIZE))).convert("RGBA"))


def colour(index: int) -> list[int]:
    return list(bytes.fromhex(COLOURS[index][1:]))


def test_a_mask_is_filled_outlined_and_clear_outside() -> None:
    pixels = rgba([Region(colour=2, mask_HW=rectangle(10, 10, 30, 30))])
    assert pixels[20, 20].tolist()[:3] == colour(2)
    assert 0 < pixels[20, 20, 3] < 255
    assert pixels[20, 10].tolist() == [*colour(2), 255]
    assert pixels[5, 5, 3] == 0


def test_small_objects_lie_on_top_in_any_order() -> None:
    large = Region(colour=0, mask_HW=rectangle(0, 0, 60, 40))
    small = Region(colour=1, mask_HW=rectangle(20, 10, 40, 30))
    first, second = rgba([large, small]), rgba([small, large])
    assert np.array_equal(first, second)
    assert first[20, 30].tolist()[:3] == colour(1)


def test_a_mask_that_ends_at_the_rim_has_no_outline_there() -> None:
    pixels = rgba([Region(colour=0, mask_HW=rectangle(0, 0, 60, 20))])
    assert pixels[0, 30, 3] < 255
    assert pixels[19, 30, 3] == 255


def test_a_crowd_is_hatched() -> None:
    mask = rectangle(5, 5, 55, 35)
    solid = rgba([Region(colour=0, mask_HW=mask)])[10:30, 10:50, 3]
    crowd = rgba([Region(colour=0, mask_HW=mask, is_crowd=True)])[10:30, 10:50, 3]
    assert (solid > 0).all()
    assert 0.2 < (crowd > 0).mean() < 0.6


def test_colours_start_again_after_the_last() -> None:
    mask = rectangle(10, 10, 30, 30)
    again = rgba([Region(colour=len(COLOURS) + 3, mask_HW=mask)])
    assert np.array_equal(again, rgba([Region(colour=3, mask_HW=mask)]))


def test_an_overlay_is_small() -> None:
    regions = [Region(colour=i, mask_HW=rectangle(i, i, 60 - i, 40 - i)) for i in range(10)]
    assert len(png_uri(overlay(regions, SIZE))) < 2000


@pytest.mark.parametrize(("shape", "size"), [((100, 200, 3), (50, 25)), ((30, 20, 3), (20, 30))])
def test_shrinking_keeps_the_aspect_and_never_enlarges(
    shape: tuple[int, int, int], size: tuple[int, int]
) -> None:
    picture = shrink(np.full(shape, 128, dtype=np.uint8), 50)
    assert picture.size == size
    assert decoded(jpeg_uri(picture)).size == size


def test_a_shrunk_mask_has_the_pixels_of_which_half_is_set() -> None:
    mask = np.zeros((4, 8), dtype=bool)
    mask[:, :3] = True
    assert shrink_mask(mask, (4, 2)).tolist() == [[True, True, False, False]] * 2
    mask[0, 2] = mask[1, 2] = mask[0, 3] = False
    assert shrink_mask(mask, (4, 2)).tolist() == [
        [True, False, False, False],
        [True, True, False, False],
    ]
