from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipelines.normalize.indexed_png import read_binary_mask, read_indexed_masks
from schemas.errors import DataError
from tests.normalize.archives import Indices, objects, palette_png


def png(pixels: Indices, mode: str | None = None) -> bytes:
    image = Image.fromarray(pixels)
    body = io.BytesIO()
    (image if mode is None else image.convert(mode)).save(body, "PNG")
    return body.getvalue()


@pytest.mark.parametrize("value", [1, 128, 255])
@pytest.mark.parametrize("mode", [None, "RGB", "RGBA"])
def test_whatever_is_not_black_is_the_object_of_a_binary_mask(value: int, mode: str | None) -> None:
    mask = objects(24, 12, value)
    found = read_binary_mask(png(mask, mode), "mask")
    assert list(found.objects) == [1]
    np.testing.assert_array_equal(found.objects[1].decode(), mask > 0)
    assert found.void is None


def test_binary_masks_may_have_one_bit_or_a_palette() -> None:
    bits = read_binary_mask(png(objects(24, 12, 255), "1"), "mask")
    indexed = read_binary_mask(palette_png(objects(24, 12, 1)), "mask")
    assert bits.objects == indexed.objects


def test_a_black_binary_mask_has_no_object() -> None:
    assert read_binary_mask(png(objects(24, 12)), "mask").objects == {}


def test_several_indices_are_no_binary_mask() -> None:
    with pytest.raises(DataError, match=r"a/0\.png: several objects.*got \[1, 2\]"):
        read_binary_mask(palette_png(objects(24, 12, 1, 2)), "a/0.png")


def test_colours_are_no_binary_mask() -> None:
    colours = np.zeros((12, 24, 3), dtype=np.uint8)
    colours[2, 3] = (0, 0, 7)
    with pytest.raises(DataError, match=r"a/0\.png: a mask with colours"):
        read_binary_mask(png(colours), "a/0.png")


@pytest.mark.parametrize("body", [b"", b"\x89PNG", png(objects(24, 12, 255))[:45], b"<html>"])
def test_what_is_no_image_is_refused_by_both(body: bytes) -> None:
    for reader in (read_binary_mask, read_indexed_masks):
        with pytest.raises(DataError, match=r"a/0\.png"):
            reader(body, "a/0.png")


def test_grey_may_hold_indices() -> None:
    found = read_indexed_masks(png(objects(24, 12, 1, 3)), "mask")
    assert list(found.objects) == [1, 3]


def test_void_beside_objects_is_no_object() -> None:
    found = read_indexed_masks(palette_png(objects(24, 12, 2, 255)), "mask")
    assert list(found.objects) == [2]
    assert found.void is not None
    assert found.void.area == 22
