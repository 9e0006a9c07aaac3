"""The demo's pictures as archives of SA-1B, in its layout and JSON schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from scipy import ndimage

from pipelines.demo.archives import Member, gzip_bytes, tar_bytes, write_file
from pipelines.demo.mask_quality import smoothness, stability
from pipelines.demo.signed_links import write_links
from pipelines.demo.views import View, cut_views
from schemas.masks import Mask, encode_mask

_NAMES = ("sa_000000.tar", "sa_000001.tar")
_FIRST_VIEW = 40
_PER_ARCHIVE = 4
_IMAGE_IDS = (1, 11187)
"""First image of each archive; a real one holds about 11200."""
_FIRST_MASK = 2**31 - 20
"""Ids do not fit 32 bits."""
_SMALLEST_MASK = 100


def write_sa1b_archives(folder: Path) -> list[Path]:
    """Create ``sa_000000.tar`` and ``sa_000001.tar`` in ``folder``.

    The second is gzipped in spite of its name, and has its members in a folder; both happen.
    """
    members = list(_members())
    first, second = members[: 2 * _PER_ARCHIVE], members[2 * _PER_ARCHIVE :]
    nested = [(f"sa_000001/{name}", body) for name, body in second]
    return [
        write_file(folder / _NAMES[0], tar_bytes((f"./{name}", body) for name, body in first)),
        write_file(folder / _NAMES[1], gzip_bytes(tar_bytes(nested))),
    ]


def write_sa1b_links(folder: Path, base_url: str) -> Path:
    """Write ``sa-1b-links.txt`` in ``folder``: the list of links that a person would be given.

    Parameters
    ----------
    base_url
        Where the archives are served from.
    """
    return write_links(folder / "sa-1b-links.txt", base_url, _NAMES)


def _members() -> Iterator[Member]:
    mask_id = _FIRST_MASK
    views = list(cut_views(_FIRST_VIEW + 2 * _PER_ARCHIVE))[_FIRST_VIEW:]
    for number, view in enumerate(views):
        archive, place = divmod(number, _PER_ARCHIVE)
        key = _IMAGE_IDS[archive] + place
        masks = _masks(view)
        annotations = [
            _annotation(mask_id + index, mask, whole_numbers=place % 2 == 1)
            for index, mask in enumerate(masks)
        ]
        mask_id += len(masks)
        width, height = view.size
        image = {"image_id": key, "width": width, "height": height, "file_name": f"sa_{key}.jpg"}
        body = msgspec.json.encode({"image": image, "annotations": annotations})
        yield f"sa_{key}.jpg", view.jpeg()
        yield f"sa_{key}.json", body


def _masks(view: View) -> list[Mask]:
    """Return what is drawn, what it encloses, and its separate parts: SA-1B nests masks too."""
    labels = view.labels()
    found: dict[bytes, Mask] = {}
    for number in np.unique(labels[labels > 0]).tolist():
        drawn = labels == number
        parts, count = ndimage.label(drawn)
        each = [parts == part for part in range(1, count + 1)]
        for mask in (drawn, np.asarray(ndimage.binary_fill_holes(drawn)), *each):
            if mask.sum() >= _SMALLEST_MASK:
                found.setdefault(mask.tobytes(), mask)
    return list(found.values())


def _annotation(key: int, mask: Mask, *, whole_numbers: bool) -> dict[str, Any]:
    rle = encode_mask(mask)
    left, upper, right, lower = rle.box
    crop = [0, 0, mask.shape[1], mask.shape[0]]
    return {
        "id": key,
        "segmentation": {"size": [rle.height, rle.width], "counts": rle.counts.decode("ascii")},
        # From the first to the last pixel: one less than the number of pixels.
        "bbox": [left, upper, right - left - 1, lower - upper - 1],
        "area": rle.area,
        # No model made these masks, so none can rate them: these are measures of their shape.
        "predicted_iou": smoothness(mask),
        "stability_score": stability(mask),
        "crop_box": crop if whole_numbers else [float(value) for value in crop],
        "point_coords": [_inner_point(mask)],
    }


def _inner_point(mask: Mask) -> list[float]:
    """Return x and y of the pixel that is farthest from the edge of the mask."""
    depth = ndimage.distance_transform_cdt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return [float(column), float(row)]
