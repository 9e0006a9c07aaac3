"""Object masks in PNGs: by palette index (DAVIS 2017, YouTube-VOS, MOSE, LVOS) or binary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.media.images import decode_image, decode_indexed
from schemas.errors import DataError
from schemas.masks import MaskRLE, encode_mask

BACKGROUND, VOID = 0, 255


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedMasks:
    """The objects of one annotated frame."""

    width: int
    height: int
    objects: Mapping[int, MaskRLE]
    """By object id, ascending; only those that are visible."""
    void: MaskRLE | None
    """Pixels of index 255, when there are any."""

    def resized(self, width: int, height: int) -> IndexedMasks:
        """Return the masks at another size, by the nearest pixel."""
        objects = {number: _resized(mask, width, height) for number, mask in self.objects.items()}
        void = None if self.void is None else _resized(self.void, width, height)
        return IndexedMasks(width=width, height=height, objects=objects, void=void)


def read_indexed_masks(encoded: bytes, where: str) -> IndexedMasks:
    """Return the objects of an indexed PNG: index 0 is background, 255 void, others object ids.

    Raises
    ------
    DataError
        It is no indexed PNG, or holds 0 and 255 alone without a palette: such a mask is binary
        (DAVIS 2016), and its 255 is the object.
    """
    indices_HW = decode_indexed(encoded, where)
    ids = [int(index) for index in np.unique(indices_HW)]
    if ids[-1] == VOID and set(ids) <= {BACKGROUND, VOID} and not _has_palette(encoded):
        raise DataError(f"{where}: a binary mask of 0 and 255", expected="one index per object")
    height, width = indices_HW.shape
    return IndexedMasks(
        width=width,
        height=height,
        objects={
            index: encode_mask(indices_HW == index)
            for index in ids
            if index not in (BACKGROUND, VOID)
        },
        void=encode_mask(indices_HW == VOID) if ids[-1] == VOID else None,
    )


def read_binary_mask(encoded: bytes, where: str) -> IndexedMasks:
    """Return the one object of a binary mask, id 1: what is not black, 255 included (DAVIS 2016).

    Raises
    ------
    DataError
        It is no image, has colours, or a palette with several indices: those are several objects.
    """
    foreground_HW = _foreground(encoded, where)
    height, width = foreground_HW.shape
    objects = {1: encode_mask(foreground_HW)} if foreground_HW.any() else {}
    return IndexedMasks(width=width, height=height, objects=objects, void=None)


def empty_mask(width: int, height: int) -> MaskRLE:
    """Return the mask of an object that is annotated as not visible."""
    return encode_mask(np.zeros((height, width), dtype=np.uint8))


def _foreground(encoded: bytes, where: str) -> npt.NDArray[np.bool_]:
    expected = "a binary mask, black and one other value"
    if _has_palette(encoded):
        indices_HW = decode_indexed(encoded, where)
        ids = {int(index) for index in np.unique(indices_HW)} - {BACKGROUND}
        if len(ids) > 1:
            raise DataError(f"{where}: several objects", expected=expected, got=sorted(ids))
        return np.asarray(indices_HW != BACKGROUND)
    image_HWC = decode_image(encoded, where)
    if (image_HWC != image_HWC[:, :, :1]).any():
        raise DataError(f"{where}: a mask with colours", expected=expected)
    return np.asarray(image_HWC[:, :, 0] != BACKGROUND)


def _resized(mask: MaskRLE, width: int, height: int) -> MaskRLE:
    image = Image.fromarray(mask.decode())
    return encode_mask(np.asarray(image.resize((width, height), Image.Resampling.NEAREST)))


def _has_palette(png: bytes) -> bool:
    # The colour type stands after the signature, a length, IHDR, width, height and bit depth.
    return png[25:26] == b"\x03"
