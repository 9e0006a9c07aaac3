"""Binary masks as COCO run lengths.

Runs go down the columns (Fortran order) and start with zeros, as in pycocotools, which does the
work. An empty mask is a legal mask; an object without annotation on a frame has none at all.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from schemas.errors import DataError
from schemas.geometry import Box

Mask = npt.NDArray[np.bool_]

# pycocotools walks along the edges pixel by pixel, and crashes on coordinates beyond an int.
_FARTHEST = 1e6


class MaskRLE(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A binary mask in COCO's compressed run-length form."""

    height: int
    width: int
    counts: bytes
    """COCO's compressed ASCII string."""

    def to_coco(self) -> dict[str, Any]:
        """Return the dict that pycocotools takes: ``size`` and ``counts``."""
        return {"size": [self.height, self.width], "counts": self.counts}

    def decode(self) -> Mask:
        """Return the mask as bool ``[height, width]``."""
        return np.asarray(coco.decode(self.to_coco()), dtype=bool)

    @property
    def area(self) -> int:
        """Number of pixels that are set."""
        return int(coco.area(self.to_coco()))

    @property
    def box(self) -> Box:
        """Tight box; all zeros for an empty mask."""
        x, y, w, h = (float(value) for value in coco.toBbox(self.to_coco()))
        return (x, y, x + w, y + h)


def encode_mask(mask_HW: npt.NDArray[Any]) -> MaskRLE:
    """Encode a ``[height, width]`` mask; every nonzero pixel is set."""
    if mask_HW.ndim != 2:
        raise DataError("mask", expected="two dimensions", got=f"shape {mask_HW.shape}")
    rle = coco.encode(np.asfortranarray(mask_HW != 0, dtype=np.uint8))
    height, width = rle["size"]
    return MaskRLE(height=height, width=width, counts=rle["counts"])


def mask_from_coco(segmentation: object, height: int, width: int, where: str) -> MaskRLE:
    """Return the mask of any of COCO's three forms: polygons, uncompressed RLE, compressed RLE.

    Polygon rings of one object are united; a flat list of numbers is one ring.

    Raises
    ------
    DataError
        The value is none of the three, or its size is not ``height`` x ``width``.
    """
    if isinstance(segmentation, list):
        return _from_polygons(segmentation, height, width, where)
    if isinstance(segmentation, dict) and {"size", "counts"} <= segmentation.keys():
        return _from_rle(segmentation, height, width, where)
    raise DataError(
        f"{where}: segmentation",
        expected="a list of polygons, or a dict with size and counts",
        got=repr(segmentation)[:80],
    )


def _from_polygons(rings: list[Any], height: int, width: int, where: str) -> MaskRLE:
    if rings and isinstance(rings[0], int | float):
        rings = [rings]
    for ring in rings:
        legal = isinstance(ring, list) and len(ring) >= 6 and len(ring) % 2 == 0
        if not legal or not all(isinstance(value, int | float) for value in ring):
            raise DataError(
                f"{where}: polygon",
                expected="an even count of at least 6 numbers",
                got=repr(ring)[:80],
            )
        if not (np.abs(ring) <= _FARTHEST).all():  # NaN is not <= anything
            raise DataError(
                f"{where}: polygon",
                expected=f"numbers of magnitude {_FARTHEST:g} at most",
                got=repr(ring)[:80],
            )
    if not rings:
        raise DataError(f"{where}: segmentation", expected="at least one polygon", got="[]")
    merged = coco.merge(coco.frPyObjects(rings, height, width))
    return MaskRLE(height=height, width=width, counts=merged["counts"])


def _from_rle(rle: dict[str, Any], height: int, width: int, where: str) -> MaskRLE:
    size, counts = rle["size"], rle["counts"]
    if list(size) != [height, width]:
        raise DataError(
            f"{where}: mask size", expected=f"{[height, width]} (height, width)", got=repr(size)
        )
    if isinstance(counts, list):
        counts = _checked_runs(counts, height * width, where)
        counts = coco.frPyObjects({"size": size, "counts": counts}, height, width)["counts"]
    elif isinstance(counts, str):
        counts = _ascii(counts, where)
    elif not isinstance(counts, bytes):
        raise DataError(f"{where}: RLE counts", expected="list or string", got=type(counts))
    mask = MaskRLE(height=height, width=width, counts=counts)
    _check_compressed(mask, where)
    return mask


def _checked_runs(runs: list[Any], pixels: int, where: str) -> list[int]:
    if not all(isinstance(run, int) and run >= 0 for run in runs) or sum(runs) != pixels:
        raise DataError(
            f"{where}: RLE runs", expected=f"integers >= 0 that add up to {pixels}", got=len(runs)
        )
    return runs


def _ascii(counts: str, where: str) -> bytes:
    try:
        return counts.encode("ascii")
    except UnicodeEncodeError as cause:
        raise DataError(f"{where}: RLE counts", expected="ASCII", got=repr(counts)[:40]) from cause


def _check_compressed(mask: MaskRLE, where: str) -> None:
    """Check the run lengths here, because pycocotools reads past its buffer on bad ones."""
    total = sum(_runs(mask.counts, where))
    if total != mask.height * mask.width:
        raise DataError(
            f"{where}: RLE runs", expected=f"{mask.height * mask.width} pixels in all", got=total
        )


def _runs(counts: bytes, where: str) -> list[int]:
    """Decode COCO's compressed string to run lengths.

    Each run is a little-endian base-32 number in characters 48..111; bit 5 says that more digits
    follow, bit 4 of the last digit is the sign, and from the fourth run on the value is the
    difference to the run two before (pycocotools, maskApi.c, rleFrString).
    """
    runs: list[int] = []
    value, shift = 0, 0
    for char in counts:
        digit = char - 48
        if not 0 <= digit < 64:
            raise DataError(f"{where}: RLE counts", expected="characters '0' to 'o'", got=char)
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        if value < 0:
            raise DataError(f"{where}: RLE counts", expected="run lengths >= 0", got=value)
        runs.append(value)
        value, shift = 0, 0
    if shift:
        raise DataError(f"{where}: RLE counts", expected="a complete last run", got=counts[-8:])
    return runs
