"""Still pictures cut from the album: whole photographs first, then different parts of them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipelines.demo.album import ALBUM
from pipelines.demo.photographs import Outline, Photograph
from pipelines.demo.pictures import jpeg_bytes
from pipelines.demo.polygons import Ring, mask_rings, ring_area
from pipelines.demo.regions import Labels, object_labels

Window = tuple[int, int, int, int]
"""Left, upper, right, lower, in pixels of the photograph."""

_ASPECTS = (4 / 3, 3 / 4, 1.0, 16 / 9, 2 / 3)
_SCALES = (0.85, 0.6, 0.7, 0.95)
_LONG_SIDES = (640, 427, 500, 560, 480)
_SMALLEST_AREA = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnObject:
    """One object of a view as an annotator draws it."""

    number: int
    """Its label in the view."""
    outline: Outline
    rings: tuple[Ring, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A part of a photograph at some size."""

    photograph: Photograph
    window: Window
    size: tuple[int, int]
    """Width and height of the picture."""

    @property
    def is_whole(self) -> bool:
        """Whether the view shows all of its photograph."""
        return self.window == (0, 0, *self.photograph.open().size)

    def jpeg(self) -> bytes:
        """Return the picture, greyscale where the photograph is."""
        picture = self.photograph.open()
        return jpeg_bytes(picture.resize(self.size, Image.Resampling.LANCZOS, self.window))

    def labels(self) -> Labels:
        """Return the label of every pixel of the picture, as in ``object_labels``."""
        labels = Image.fromarray(object_labels(self.photograph))
        return np.asarray(labels.resize(self.size, Image.Resampling.NEAREST, self.window))


@functools.cache
def drawn_objects(view: View) -> tuple[DrawnObject, ...]:
    """Return the objects in view that are large enough to be drawn, as polygons."""
    labels = view.labels()
    present = np.unique(labels[labels > 0]).tolist()
    rings = {number: mask_rings(labels == number) for number in present}
    return tuple(
        DrawnObject(number=number, outline=outline, rings=tuple(rings[number]))
        for number, outline in enumerate(view.photograph.outlines, start=1)
        if number in rings and sum(map(ring_area, rings[number])) >= _SMALLEST_AREA
    )


def cut_views(count: int) -> Iterator[View]:
    """Yield ``count`` views, the same ones at every call; more views extend fewer."""
    for photograph in ALBUM[:count]:
        size = photograph.open().size
        yield View(photograph=photograph, window=(0, 0, *size), size=_fit(size, 640))
    annotated = [photograph for photograph in ALBUM if photograph.outlines]
    for number in range(count - len(ALBUM)):
        turn, place = divmod(number, len(annotated))
        yield _part(annotated[place], turn, number)


def _part(photograph: Photograph, turn: int, number: int) -> View:
    """Return a view centred on one object of the photograph, or as near as its borders allow."""
    labels = object_labels(photograph)
    target = turn % len(photograph.outlines) + 1
    centre = [float(np.mean(axis)) for axis in np.nonzero(labels == target)]
    height, width = labels.shape
    scale = _SCALES[number % len(_SCALES)]
    aspect = _ASPECTS[number % len(_ASPECTS)]
    part_width = round(scale * min(width, height * aspect))
    part_height = round(scale * min(height, width / aspect))
    left = _start(centre[1], part_width, width)
    upper = _start(centre[0], part_height, height)
    return View(
        photograph=photograph,
        window=(left, upper, left + part_width, upper + part_height),
        size=_fit((part_width, part_height), _LONG_SIDES[number % len(_LONG_SIDES)]),
    )


def _start(centre: float, length: int, limit: int) -> int:
    return min(max(round(centre - length / 2), 0), limit - length)


def _fit(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """Return ``size`` scaled so that its longer side is ``long_side``."""
    factor = long_side / max(size)
    return round(size[0] * factor), round(size[1] * factor)
