"""What a mask says as a point or a box: prompts in the form that SAM takes, always the same ones.

Coordinates are numbers of pixels, ``(column, row)``: the prompt encoder itself adds the half pixel
that leads to their centres. So a box names its outermost pixels, unlike boxes elsewhere here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from schemas.errors import DataError
from schemas.geometry import Point
from schemas.ids import digest_bytes
from schemas.masks import Mask, MaskRLE
from schemas.run_lengths import run_lengths

PromptKind = Literal["mask", "box", "point"]

STILL_PROMPTS: tuple[PromptKind, ...] = ("point", "box")
"""What is asked about each object of a still image, in the order of the rows."""


def still_prompts(counts: Mapping[str, int]) -> int:
    """Return the rows of a ``prompts.*`` array over stills with these counts of a normalization.

    Each object but a crowd is asked about in each way.
    """
    return len(STILL_PROMPTS) * (counts.get("annotations", 0) - counts.get("crowd", 0))


INSIDE, CORNER_FIRST, CORNER_LAST = 1, 2, 3
"""SAM's labels: a point of the object, and the two corners of its box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointPrompt:
    """Labelled points on an image of a known size."""

    points: tuple[Point, ...]
    labels: tuple[int, ...]
    height: int
    width: int

    def scaled_to(self, size: int) -> npt.NDArray[np.float32]:
        """Return the points [K, 2] on the image resized to a square of this side."""
        scale = np.array([size / self.width, size / self.height], dtype=np.float32)
        return np.array(self.points, dtype=np.float32) * scale


def box_corners(mask: MaskRLE) -> PointPrompt:
    """Return the corners of the tight box: the outermost pixels of the mask, which has some."""
    left, top, right, bottom = _require_pixels(mask).box
    return box_prompt(left, top, right - 1, bottom - 1, height=mask.height, width=mask.width)


def box_prompt(
    left: float, top: float, right: float, bottom: float, *, height: int, width: int
) -> PointPrompt:
    """Return the box whose outermost pixels these are."""
    return PointPrompt(
        points=((left, top), (right, bottom)),
        labels=(CORNER_FIRST, CORNER_LAST),
        height=height,
        width=width,
    )


def point_prompt(column: float, row: float, *, height: int, width: int) -> PointPrompt:
    """Return the pixel of an object."""
    return PointPrompt(points=((column, row),), labels=(INSIDE,), height=height, width=width)


def central_point(mask: MaskRLE) -> PointPrompt:
    """Return the pixel that lies deepest in the mask: the centre of the largest square inside.

    The edge of the image counts as a border. Of several such pixels it is the one nearest to their
    mean, then the first by row and column.
    """
    left, top, right, bottom = (int(edge) for edge in _require_pixels(mask).box)
    rows, columns = np.nonzero(_deepest(mask.decode()[top:bottom, left:right]))
    away = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
    nearest = int(away.argmin())
    return _one_point(mask, left + int(columns[nearest]), top + int(rows[nearest]))


def sampled_point(mask: MaskRLE, seed: str) -> PointPrompt:
    """Return a pixel of the mask, each with the same chance, chosen by the digest of ``seed``."""
    runs = run_lengths(_require_pixels(mask).counts)
    ends, inside = np.cumsum(runs)[1::2], np.cumsum(runs[1::2])
    number = int(digest_bytes(seed.encode())[:16], 16) % int(inside[-1])
    run = int(np.searchsorted(inside, number, side="right"))
    column, row = divmod(int(ends[run] - inside[run]) + number, mask.height)
    return _one_point(mask, column, row)


def _one_point(mask: MaskRLE, column: int, row: int) -> PointPrompt:
    return point_prompt(float(column), float(row), height=mask.height, width=mask.width)


def _deepest(mask_HW: Mask) -> Mask:
    """Mark the pixels around which the largest square of odd side fits, by halving the search."""
    sums = np.pad(mask_HW.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    fits, too_large = 0, (min(mask_HW.shape) + 1) // 2
    while too_large - fits > 1:
        reach = (fits + too_large) // 2
        if _around(sums, reach).any():
            fits = reach
        else:
            too_large = reach
    deepest = np.zeros_like(mask_HW)
    inner = _around(sums, fits)
    deepest[fits : fits + inner.shape[0], fits : fits + inner.shape[1]] = inner
    return deepest


def _around(sums: np.ndarray[tuple[int, ...], np.dtype[np.int64]], reach: int) -> Mask:
    """Say for each pixel at least ``reach`` from the edges whether the square around it is full."""
    side = 2 * reach + 1
    full = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return np.asarray(full == side * side)


def _require_pixels(mask: MaskRLE) -> MaskRLE:
    if not mask.area:
        raise DataError("prompt", expected="a mask with at least one pixel", got="an empty one")
    return mask
