"""Pictures inside a page: photographs, masks as palette overlays, data URIs.

Suffixes: H height, W width.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from schemas.masks import Mask

COLOURS = (
    "#4e9bff", "#ff8a3d", "#35c98b", "#f2557a", "#a978f5",
    "#f5c53b", "#2bc4d8", "#e56bd1", "#8fd14f", "#ff6f59",
)  # fmt: skip
"""Distinct on most photographs, in the order in which objects take them."""

_FILL_ALPHA, _EDGE_ALPHA = 105, 255
_HATCHES, _EDGES = 40, 300
"""A longer side has so many hatch lines; an outline is one such part of it wide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One object's mask, at the size of the picture that it lies on."""

    colour: int
    """Index into ``COLOURS``, modulo their number."""
    mask_HW: Mask
    is_crowd: bool = False


def colour_of(index: int) -> str:
    """Return the CSS colour of an object."""
    return COLOURS[index % len(COLOURS)]


def shrink(image_HWC: npt.NDArray[np.uint8], longest: int) -> Image.Image:
    """Return the picture with its longest side at most ``longest`` pixels."""
    picture = Image.fromarray(image_HWC)
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return picture


def shrink_mask(mask_HW: Mask, size: tuple[int, int]) -> Mask:
    """Return the mask at ``(width, height)``: a pixel is set when half of its area is."""
    grey = Image.fromarray(mask_HW.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    return np.asarray(grey) >= 128


def overlay(regions: Iterable[Region], size: tuple[int, int]) -> Image.Image:
    """Return a transparent palette picture of the regions, the large ones below the small ones.

    A crowd region is hatched. A palette keeps such a picture at a few kilobytes.
    """
    pixels_HW = np.zeros((size[1], size[0]), dtype=np.uint8)
    rows_H1, columns_1W = np.ogrid[: size[1], : size[0]]
    period, width = max(6, max(size) // _HATCHES), max(1, max(size) // _EDGES)
    hatched_HW = (rows_H1 + columns_1W) % period < period // 3
    for region in sorted(regions, key=lambda region: -int(region.mask_HW.sum())):
        entry = 1 + 2 * (region.colour % len(COLOURS))
        filled_HW = region.mask_HW & hatched_HW if region.is_crowd else region.mask_HW
        pixels_HW[filled_HW] = entry
        pixels_HW[_edge(region.mask_HW, width)] = entry + 1
    return _with_palette(pixels_HW)


def jpeg_uri(picture: Image.Image) -> str:
    """Return a photograph as a data URI."""
    body = io.BytesIO()
    picture.save(body, "JPEG", quality=82, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(body.getvalue()).decode()}"


def png_uri(picture: Image.Image) -> str:
    """Return a picture as a data URI without loss."""
    body = io.BytesIO()
    picture.save(body, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(body.getvalue()).decode()}"


def _edge(mask_HW: Mask, width: int) -> Mask:
    """Return the pixels of the mask next to its outside; the picture's rim is no outside."""
    inside = mask_HW
    for _ in range(width):
        padded = np.pad(inside, 1, mode="edge")
        inside = inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2]
        inside = inside & padded[1:-1, 2:]
    return mask_HW & ~inside


def _with_palette(pixels_HW: npt.NDArray[np.uint8]) -> Image.Image:
    entries = [(0, 0, 0, 0)]
    for colour in COLOURS:
        red, green, blue = bytes.fromhex(colour[1:])
        entries += [(red, green, blue, _FILL_ALPHA), (red, green, blue, _EDGE_ALPHA)]
    picture = Image.fromarray(pixels_HW).convert("P")
    picture.putpalette(bytes(value for entry in entries for value in entry[:3]))
    picture.info["transparency"] = bytes(entry[3] for entry in entries)
    return picture
