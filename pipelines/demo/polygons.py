"""Outer contours of masks as COCO polygons."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import approximate_polygon, find_contours

from schemas.masks import Mask

Ring = npt.NDArray[np.float64]
"""``[points, 2]``: x and y in pixels, the corner of the picture at 0, 0; not closed."""

_SMALLEST_PART = 64
"""Parts of fewer pixels are left out: an annotator would not have drawn them."""
_TOLERANCE = 0.75
"""How far a simplified ring may leave its contour, in pixels."""


def mask_rings(mask_HW: Mask) -> list[Ring]:
    """Return one ring per part of the mask; holes are filled, as COCO's polygons have none."""
    parts, count = ndimage.label(ndimage.binary_fill_holes(mask_HW))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    return [
        _outer_ring(parts == part) for part in range(1, count + 1) if sizes[part] >= _SMALLEST_PART
    ]


def _outer_ring(part_HW: Mask) -> Ring:
    height, width = part_HW.shape
    # A frame of background closes the contours of parts that touch the border.
    contours = find_contours(np.pad(part_HW, 1).astype(np.float64), 0.5)
    contour = max(contours, key=len)
    simple = approximate_polygon(contour, _TOLERANCE)[:-1, ::-1]
    # Contours count from pixel centres and from the frame, COCO from the corner of the picture.
    return np.asarray(np.clip(simple - 0.5, 0, (width, height)), dtype=np.float64).round(2)


def ring_area(ring: Ring) -> float:
    """Return the area that the ring encloses."""
    x, y = ring.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
