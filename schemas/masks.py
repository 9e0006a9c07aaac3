"""Binary masks as COCO run lengths.

Runs go down the columns (Fortran order) and start with zeros, as in pycocotools, which does the
work. An empty mask is a legal mask; an object without annotation on a frame has none at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from schemas.errors import DataError
from schemas.geometry import Box
from schemas.run_lengths import mirror_runs, run_lengths, run_totals

Mask = npt.NDArray[np.bool_]

# pycocotools walks along the edges pixel by pixel, and crashes on coordinates beyond an int.
_FARTHEST = 1e6


class MaskRLE(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
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

    def mirrored(self) -> MaskRLE:
        """Return the mask mirrored left to right."""
        runs = mirror_runs(run_lengths(self.counts), self.height).tolist()
        whole = {"size": [self.height, self.width], "counts": runs}
        counts = coco.frPyObjects(whole, self.height, self.width)["counts"]
        return MaskRLE(height=self.height, width=self.width, counts=counts)


def encode_mask(mask_HW: npt.NDArray[Any]) -> MaskRLE:
    """Encode a ``[height, width]`` mask; every nonzero pixel is set."""
    if mask_HW.ndim != 2:
        raise DataError("mask", expected="two dimensions", got=f"shape {mask_HW.shape}")
    rle = coco.encode(np.asfortranarray(mask_HW != 0, dtype=np.uint8))
    height, width = rle["size"]
    return MaskRLE(height=height, width=width, counts=rle["counts"])


def masks_from_texts(
    texts: Sequence[str], height: int, width: int, names: Sequence[str]
) -> list[MaskRLE]:
    """Return the masks of several compressed run lengths of one image.

    Raises
    ------
    DataError
        One is malformed or has another number of pixels; the message begins with its name.
    """
    masks = [
        MaskRLE(height=height, width=width, counts=_ascii(text, name))
        for text, name in zip(texts, names, strict=True)
    ]
    _check_compressed(masks, names)
    return masks


def mask_areas(masks: Sequence[MaskRLE]) -> list[int]:
    """Return the number of set pixels of each mask."""
    return [int(area) for area in coco.area([mask.to_coco() for mask in masks])] if masks else []


def mask_boxes(masks: Sequence[MaskRLE]) -> list[Box]:
    """Return the tight box of each mask; all zeros for an empty one."""
    if not masks:
        return []
    boxes = coco.toBbox([mask.to_coco() for mask in masks]).tolist()
    return [(x, y, x + w, y + h) for x, y, w, h in boxes]


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
    if size not in ([height, width], (height, width)):
        raise DataError(
            f"{where}: mask size", expected=f"{[height, width]} (height, width)", got=repr(size)
        )
    if isinstance(counts, list):
        runs = _checked_runs(counts, height * width, where)
        whole = {"size": [height, width], "counts": runs}
        counts = coco.frPyObjects(whole, height, width)["counts"]
    elif isinstance(counts, str):
        counts = _ascii(counts, where)
    elif not isinstance(counts, bytes):
        raise DataError(f"{where}: RLE counts", expected="list or string", got=type(counts))
    mask = MaskRLE(height=height, width=width, counts=counts)
    _check_compressed([mask], [where])
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


def _check_compressed(masks: Sequence[MaskRLE], names: Sequence[str]) -> None:
    """Check the run lengths here, because pycocotools reads past its buffer on bad ones."""
    totals = run_totals([mask.counts for mask in masks], names)
    for name, mask, total in zip(names, masks, totals, strict=True):
        if total != mask.height * mask.width:
            raise DataError(
                f"{name}: RLE runs", expected=f"{mask.height * mask.width} pixels in all", got=total
            )
