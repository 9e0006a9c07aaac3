"""SA-1B's archives with made-up images and masks, built anew for each test."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from downloaders.sources import DatasetSource
from pipelines.normalize.sources import SourceFiles
from tests.normalize.archives import jpeg

WIDTH, HEIGHT = 24, 18


def masks_file(number: int, objects: int = 3) -> dict[str, Any]:
    """Return the JSON of one image, by the rules of the published ones."""
    return {
        "image": {
            "image_id": number,
            "width": WIDTH,
            "height": HEIGHT,
            "file_name": f"sa_{number}.jpg",
        },
        "annotations": [_mask(number, place) for place in range(objects)],
    }


def members(*numbers: int, folder: str = "") -> dict[str, bytes]:
    """Return the pairs of these images."""
    found = {}
    for number in numbers:
        found[f"{folder}sa_{number}.jpg"] = jpeg(WIDTH, HEIGHT, number)
        found[f"{folder}sa_{number}.json"] = json.dumps(masks_file(number)).encode()
    return found


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return path


def archives(*paths: Path) -> SourceFiles:
    """Return the archives as ``samdistill download`` would have brought them."""
    sources = (
        DatasetSource(name=path.name, path=path, top=None, digest=f"sha256:{path.stat().st_size}")
        for path in paths
    )
    return SourceFiles(paths[0].parent, tuple(sources))


def _mask(number: int, place: int) -> dict[str, Any]:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F")
    mask[2 + place : 9 + place, 3 + place : 11] = 1
    rle = coco.encode(mask)
    x, y, w, h = (float(value) for value in coco.toBbox(rle))
    return {
        "id": 3_000_000_000 + 100 * number + place,
        "segmentation": {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()},
        "bbox": [x, y, w - 1, h - 1],
        "area": int(coco.area(rle)),
        "predicted_iou": 0.9 + place / 100,
        "stability_score": 0.95,
        "crop_box": [0, 0, WIDTH, HEIGHT],
        "point_coords": [[x + 1.5, y + 2.25]],
    }
