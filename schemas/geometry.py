"""Boxes. Inside the project a box is always ``(x0, y0, x1, y1)`` in pixels, edges exclusive."""

from __future__ import annotations

import math

from schemas.errors import DataError

Box = tuple[float, float, float, float]
Point = tuple[float, float]
"""``(x, y)`` in pixels."""


def box_from_xywh(xywh: object, where: str) -> Box:
    """Return the box of a COCO ``[x, y, width, height]`` list.

    Raises
    ------
    DataError
        Not four finite numbers, or a negative width or height.
    """
    if not isinstance(xywh, list | tuple) or len(xywh) != 4:
        raise DataError(f"{where}: bbox", expected="[x, y, width, height]", got=repr(xywh))
    try:
        x, y, w, h = (float(value) for value in xywh)
    except (TypeError, ValueError, OverflowError) as cause:
        raise DataError(f"{where}: bbox", expected="four numbers", got=repr(xywh)) from cause
    if not all(math.isfinite(value) for value in (x, y, w, h)) or w < 0 or h < 0:
        raise DataError(
            f"{where}: bbox", expected="finite numbers, width and height >= 0", got=repr(xywh)
        )
    return (x, y, x + w, y + h)


def mirror_box(box: Box, width: float) -> Box:
    """Return the box on an image of that width mirrored left to right."""
    x0, y0, x1, y1 = box
    return (width - x1, y0, width - x0, y1)
