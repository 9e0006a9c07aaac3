"""From a decoded image to the teacher's input tensor, bit for bit as Sam3ImageProcessor does it.

The two halves run in different places: threads on the CPU resize to uint8, the device normalizes,
so that a quarter of the bytes travel. Suffixes: H height, W width, C channels, B batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from schemas.errors import DataError
from schemas.features import PreprocessSpec

Resize_HWC = Callable[[npt.NDArray[np.uint8], int, torch.Tensor | None], torch.Tensor]
"""From a uint8 RGB image and a size to uint8 ``[3, size, size]``, a new tensor or the given one."""


def resize_to_square(
    image_HWC: npt.NDArray[np.uint8], size: int, out_CHW: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the RGB image as uint8 ``[3, size, size]``; the aspect is not kept.

    Bilinear with antialias, rounded to uint8: a float32 resize would differ by up to one level.

    Parameters
    ----------
    out_CHW
        Where to put it, as a row of a batch; by default into new memory.

    Raises
    ------
    DataError
        The array is not uint8 ``[height, width, 3]`` with at least one pixel.
    """
    batch_BCHW = _as_batch(image_HWC)
    resized_BCHW = F.interpolate(batch_BCHW, (size, size), mode="bilinear", antialias=True)
    if out_CHW is None:
        out_CHW = torch.empty((3, size, size), dtype=torch.uint8)
    # Of turning the result, numpy makes half the work.
    np.copyto(out_CHW.numpy(), resized_BCHW[0].numpy())
    return out_CHW


def _as_batch(image_HWC: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Return the image as uint8 ``[1, 3, height, width]``, without a copy where that may be."""
    if image_HWC.dtype != np.uint8 or image_HWC.shape[2:] != (3,) or image_HWC.size == 0:
        raise DataError(
            "image",
            expected="uint8 of shape (height, width, 3)",
            got=f"{image_HWC.dtype} of shape {image_HWC.shape}",
        )
    # PyTorch wants memory that it may write to; arrays that PIL lends are read-only.
    image = torch.from_numpy(np.require(image_HWC, requirements=["C", "W"]))
    # The batch comes first: PyTorch takes strides of ``permute(2, 0, 1)[None]`` for planes, and
    # needs twice the time for equal pixels.
    return image[None].permute(0, 3, 1, 2)


def resize_longest_side(
    image_HWC: npt.NDArray[np.uint8],
    size: int,
    out_CHW: torch.Tensor | None = None,
    *,
    fill: tuple[int, int, int],
) -> torch.Tensor:
    """Return the RGB image as uint8 ``[3, size, size]``: its longer side fills the square.

    What is left to the right or below has the colour ``fill``. This is the place of every pixel in
    SAM's own preprocessing (``ResizeLongestSide``), which stays in float32; here values are
    rounded to uint8.

    Parameters
    ----------
    out_CHW
        As for ``resize_to_square``.

    Raises
    ------
    DataError
        As for ``resize_to_square``.
    """
    batch_BCHW = _as_batch(image_HWC)
    height, width = batch_BCHW.shape[-2:]
    scale = size / max(height, width)
    inner = (max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5)))
    resized_BCHW = F.interpolate(batch_BCHW, inner, mode="bilinear", antialias=True)
    if out_CHW is None:
        out_CHW = torch.empty((3, size, size), dtype=torch.uint8)
    out = out_CHW.numpy()
    out[:] = np.array(fill, dtype=np.uint8)[:, None, None]
    out[:, : inner[0], : inner[1]] = resized_BCHW[0].numpy()
    return out_CHW


def resize_by(spec: PreprocessSpec) -> Resize_HWC:
    """Return how a teacher brings an image to a size: every pixel to where its features are."""
    if not spec.pads:
        return resize_to_square
    # What is zero once it is normalized, to the next level.
    red, green, blue = (round(255 * value) for value in spec.mean)
    return partial(resize_longest_side, fill=(red, green, blue))


def normalize(batch_BCHW: torch.Tensor, spec: PreprocessSpec) -> torch.Tensor:
    """Return the uint8 batch as normalized float32, on the batch's device.

    Mean and deviation are scaled to 0..255 first: ``(x - 127.5) / 127.5`` is what the processor
    computes, and ``(x / 255 - 0.5) / 0.5`` differs in the last bit.
    """
    mean, std = (
        (255 * torch.tensor(values, dtype=torch.float32)).to(batch_BCHW.device).view(1, 3, 1, 1)
        for values in (spec.mean, spec.std)
    )
    return (batch_BCHW.to(torch.float32) - mean) / std
