"""Outer contours of masks as COCO polygons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
    for window in ndimage.find_objects(mask_HW.astype(np.uint8)):
        # All work is done in the box about the object, which is small as a rule.
        upper, left = window[0].start, window[1].start
        parts, count = ndimage.label(ndimage.binary_fill_holes(np.pad(mask_HW[window], 1)))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        large = (part for part in range(1, count + 1) if sizes[part] >= _SMALLEST_PART)
        rings = (_outer_ring(parts == part) + (left, upper) for part in large)
        return [np.clip(ring, 0, mask_HW.shape[::-1]).round(2) for ring in rings]
    return []


def _outer_ring(part_HW: Mask) -> Ring:
    """Return the ring of a part that has one pixel of background around it."""
    contours = find_contours(part_HW.astype(np.float64), 0.5)
    contour = max(contours, key=len)
    simple = approximate_polygon(contour, _TOLERANCE)[:-1, ::-1]
    # Contours count from pixel centres and from the background, COCO from the picture's corner.
    return np.asarray(simple - 0.5, dtype=np.float64)


def ring_area(ring: Ring) -> float:
    """Return the area that the ring encloses."""
    x, y = ring.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def polygon_fields(rings: Sequence[Ring]) -> dict[str, Any]:
    """Return the ``segmentation``, ``area`` and ``bbox`` of an object, as COCO and LVIS do."""
    points = np.concatenate(rings)
    low, high = points.min(axis=0), points.max(axis=0)
    return {
        "segmentation": [ring.ravel().tolist() for ring in rings],
        "area": round(sum(map(ring_area, rings)), 4),
        "bbox": [*low.tolist(), *(high - low).round(2).tolist()],
    }
