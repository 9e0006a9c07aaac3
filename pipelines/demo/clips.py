"""Clips filmed on the album: a window that pans and zooms smoothly over a photograph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from pipelines.demo.album import ASTRONAUT, CAT, DAHLIA, ESPRESSO, MOTORCYCLE, PAGODA, ROCKET
from pipelines.demo.photographs import Outline, Photograph
from pipelines.demo.regions import Labels, object_labels

Shot = tuple[float, float, float]
"""Centre x, centre y and width of the window, in pixels of the photograph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture of a clip, and the object at each of its pixels."""

    picture: Image.Image
    objects: Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A camera path over a photograph."""

    name: str
    photograph: Photograph
    outlines: tuple[int, ...]
    """Outlines (from 1) that are objects of the clip; the first one is object 1."""
    size: tuple[int, int]
    first: Shot
    last: Shot

    def outline(self, number: int) -> Outline:
        """Return what object ``number`` (from 1) is."""
        return self.photograph.outlines[self.outlines[number - 1] - 1]

    def frames(self, count: int) -> Iterator[Frame]:
        """Yield ``count`` frames; objects keep their numbers, whether in view or not."""
        picture = self.photograph.open().convert("RGB")
        objects = Image.fromarray(self._objects())
        for time in np.linspace(0.0, 1.0, count):
            window = self._window(float(time * time * (3 - 2 * time)))
            yield Frame(
                picture=picture.resize(self.size, Image.Resampling.BICUBIC, window),
                objects=np.asarray(objects.resize(self.size, Image.Resampling.NEAREST, window)),
            )

    def _objects(self) -> Labels:
        labels = object_labels(self.photograph)
        objects = np.zeros_like(labels)
        for number, outline in enumerate(self.outlines, start=1):
            # What lies within an object belongs to it, unless it is an object of the clip too.
            objects[ndimage.binary_fill_holes(labels == outline)] = number
        return objects

    def _window(self, progress: float) -> tuple[float, float, float, float]:
        x, y, width = (a + (b - a) * progress for a, b in zip(self.first, self.last, strict=True))
        height = width * self.size[1] / self.size[0]
        return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


MOTORCYCLE_PAN = Clip(
    name="motorcycle-pan",  # the bench leaves the window, a box enters it
    photograph=MOTORCYCLE,
    outlines=(5, 1, 4),
    size=(428, 240),
    first=(270, 230, 500),
    last=(515, 250, 430),
)
ASTRONAUT_TILT = Clip(
    name="astronaut-tilt",  # the shuttle leaves the window, the helmet enters it
    photograph=ASTRONAUT,
    outlines=(3, 2, 4),
    size=(320, 240),
    first=(270, 130, 330),
    last=(330, 400, 290),
)
ESPRESSO_ZOOM = Clip(
    name="espresso-zoom",
    photograph=ESPRESSO,
    outlines=(1, 2, 3),
    size=(360, 240),
    first=(300, 200, 590),
    last=(310, 170, 400),
)
CAT_LOOK = Clip(
    name="cat-look",
    photograph=CAT,
    outlines=(1, 2, 3),
    size=(400, 240),
    first=(180, 165, 350),
    last=(255, 150, 300),
)
ROCKET_PAD = Clip(
    name="rocket-pad",  # two towers enter the window
    photograph=ROCKET,
    outlines=(5, 2, 3),
    size=(240, 320),
    first=(322, 250, 160),
    last=(322, 214, 310),
)
PAGODA_PAN = Clip(
    name="pagoda-pan",
    photograph=PAGODA,
    outlines=(1, 2, 3),
    size=(360, 240),
    first=(230, 200, 430),
    last=(340, 220, 580),
)
DAHLIA_DRIFT = Clip(
    name="dahlia-drift",
    photograph=DAHLIA,
    outlines=(1, 2),
    size=(320, 240),
    first=(290, 200, 420),
    last=(330, 250, 460),
)

VAL_CLIPS = (MOTORCYCLE_PAN, ASTRONAUT_TILT, ESPRESSO_ZOOM, CAT_LOOK, ROCKET_PAD)
TRAIN_CLIPS = (PAGODA_PAN, DAHLIA_DRIFT)
