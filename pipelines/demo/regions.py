"""Turns hand-drawn outlines into masks that follow the edges of the photograph."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage.color import rgb2lab
from skimage.segmentation import watershed

from pipelines.demo.photographs import Photograph

Labels = npt.NDArray[np.uint8]


@functools.cache
def object_labels(photograph: Photograph) -> Labels:
    """Return ``[height, width]`` numbers: 0 for background, *i* for the *i*-th outline (from 1).

    Pixels farther than ``slack`` from every drawn line keep the drawing's label; between them a
    watershed of the colour gradient finds the true edge.
    """
    image = photograph.open()
    drawn = _draw(photograph, image.size)
    sure = _far_from_lines(drawn, photograph.slack)
    markers = np.where(sure, drawn.astype(np.int32) + 1, 0)
    labels = np.asarray(watershed(_gradient(image), markers) - 1, dtype=np.uint8)
    labels.setflags(write=False)
    return labels


def _draw(photograph: Photograph, size: tuple[int, int]) -> Labels:
    canvas = Image.new("L", size)
    pen = ImageDraw.Draw(canvas)
    for number, outline in enumerate(photograph.outlines, start=1):
        for ring in outline.rings.split(";"):
            points = [tuple(map(float, point.split(","))) for point in ring.split()]
            pen.polygon(points, fill=number)
    return np.asarray(canvas)


def _far_from_lines(drawn_HW: Labels, slack: int) -> npt.NDArray[np.bool_]:
    window = 2 * slack + 1
    low = ndimage.minimum_filter(drawn_HW, window)
    return np.asarray(low == ndimage.maximum_filter(drawn_HW, window))


def _gradient(image: Image.Image) -> npt.NDArray[np.uint16]:
    """Return the strength of edges; integers, so that the watershed never meets rounding noise."""
    lab_HWC = rgb2lab(np.asarray(image.convert("RGB")))
    strength = sum(
        ndimage.gaussian_gradient_magnitude(lab_HWC[..., channel], 1.0) for channel in range(3)
    )
    return np.asarray(np.rint(np.asarray(strength) * 16), dtype=np.uint16)
