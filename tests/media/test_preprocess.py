from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers.models.sam3.image_processing_sam3 import Sam3ImageProcessor

from pipelines.media.preprocess import (
    normalize,
    resize_by,
    resize_longest_side,
    resize_to_square,
)
from schemas.errors import DataError
from schemas.features import PreprocessSpec

SPEC = PreprocessSpec(image_size=1008)


def random_image(height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("height", "width"),
    [(480, 640), (1008, 1008), (1500, 2000), (64, 3000), (3000, 17), (1, 1), (1007, 1009)],
)
def test_pixels_are_bit_for_bit_those_of_the_processor(height: int, width: int) -> None:
    image = random_image(height, width)
    expected = Sam3ImageProcessor()(
        images=image, input_data_format="channels_last", return_tensors="pt"
    )["pixel_values"]
    found = normalize(resize_to_square(image, 1008)[None], SPEC)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("layout", ["read-only", "fortran", "flipped"])
def test_the_layout_in_memory_does_not_count(layout: str) -> None:
    image = random_image(50, 70)
    expected = resize_to_square(image, 64)
    other = {"read-only": image.copy(), "fortran": np.asfortranarray(image)}.get(
        layout, np.ascontiguousarray(image[:, ::-1])[:, ::-1]
    )
    other.setflags(write=False)
    assert torch.equal(resize_to_square(other, 64), expected)


def test_resized_image_is_contiguous_channels_first() -> None:
    resized = resize_to_square(random_image(50, 70), 64)
    assert (resized.shape, resized.dtype) == ((3, 64, 64), torch.uint8)
    assert resized.is_contiguous()


def test_resizes_into_a_row_of_a_batch() -> None:
    batch = torch.full((3, 3, 64, 64), 7, dtype=torch.uint8)
    image = random_image(50, 70)
    assert resize_to_square(image, 64, batch[1]).data_ptr() == batch[1].data_ptr()
    assert torch.equal(batch[1], resize_to_square(image, 64))
    assert (batch[[0, 2]] == 7).all()


def test_resizing_leaves_the_image_alone() -> None:
    image = random_image(64, 64)
    resize_to_square(image, 64).zero_()
    np.testing.assert_array_equal(image, random_image(64, 64))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_refuses_what_is_no_rgb_image(
    image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
) -> None:
    with pytest.raises(DataError, match="height, width, 3"):
        resize_to_square(image, 64)


def test_normalizes_each_channel_by_its_own_mean_and_deviation() -> None:
    spec = PreprocessSpec(image_size=1, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    pixels = normalize(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8), spec)
    assert pixels.flatten().tolist() == [1.0, 1.0, 0.0]


class TestLongestSide:
    """Where SAM's ``ResizeLongestSide`` and its padding put each pixel."""

    @pytest.mark.parametrize(
        ("height", "width", "inner"), [(30, 60, (32, 64)), (61, 33, (64, 35)), (7, 700, (1, 64))]
    )
    def test_the_image_fills_the_longer_side_and_the_rest_is_filled(
        self, height: int, width: int, inner: tuple[int, int]
    ) -> None:
        image_HWC = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        out_CHW = torch.zeros((3, 64, 64), dtype=torch.uint8)
        found = resize_longest_side(image_HWC, 64, out_CHW, fill=(124, 116, 104))
        assert found is out_CHW
        assert torch.equal(found, resize_longest_side(image_HWC, 64, fill=(124, 116, 104)))
        floats = torch.from_numpy(image_HWC).permute(2, 0, 1)[None].float()
        expected = F.interpolate(floats, inner, mode="bilinear", antialias=True)[0]
        assert found.shape == (3, 64, 64)
        assert found.dtype == torch.uint8
        assert (found[:, : inner[0], : inner[1]] - expected).abs().max() <= 1
        for outside in (found[:, inner[0] :], found[:, :, inner[1] :]):
            assert (outside == torch.tensor([124, 116, 104]).view(3, 1, 1)).all()

    def test_padding_is_nearly_zero_once_normalized(self) -> None:
        spec = PreprocessSpec(
            image_size=64,
            resize="longest-side-pad-bilinear-antialias-float32",
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        )
        image = resize_by(spec)(np.full((8, 64, 3), 255, np.uint8), 64, None)
        padding = normalize(image[None], spec)[0, :, 8:]
        assert padding.abs().max() < 0.01

    def test_other_teachers_stretch_the_image(self) -> None:
        assert resize_by(PreprocessSpec(image_size=64)) is resize_to_square

    def test_what_is_no_image_is_refused(self) -> None:
        with pytest.raises(DataError, match="uint8 of shape"):
            resize_longest_side(np.zeros((4, 4), np.uint8), 64, fill=(0, 0, 0))
