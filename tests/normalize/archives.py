"""Small archives in the layouts of COCO and DAVIS, built anew for each test."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Indices = npt.NDArray[np.uint8]


def jpeg(width: int, height: int, seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    body = io.BytesIO()
    Image.fromarray(noise).save(body, "JPEG")
    return body.getvalue()


def palette_png(indices: Indices) -> bytes:
    image = Image.fromarray(indices)
    image.putpalette(bytes(range(256)) * 3)
    body = io.BytesIO()
    image.save(body, "PNG")
    return body.getvalue()


def objects(width: int, height: int, *ids: int) -> Indices:
    """Return a mask with a column of two pixels' width for each id, then background."""
    indices = np.zeros((height, width), dtype=np.uint8)
    for place, number in enumerate(ids):
        indices[1:, 2 * place : 2 * place + 2] = number
    return indices


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in members.items():
            archive.writestr(zipfile.ZipInfo(name), body)
    return path


def write_folder(folder: Path, members: dict[str, bytes]) -> Path:
    for name, body in members.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return folder


class CocoSource:
    """A val2017 of four images; tests change its parts, then write it."""

    def __init__(self) -> None:
        self.images = {f"{number:012d}.jpg": jpeg(20, 16, number) for number in (9, 25, 30, 42)}
        square = [2, 2, 12, 2, 12, 12, 2, 12]
        crowd = {"size": [16, 20], "counts": [32, 64, 224]}
        self.instances: dict[str, Any] = {
            "images": [
                {"id": int(name[:12]), "file_name": name, "width": 20, "height": 16, "license": 1}
                for name in self.images
            ],
            "annotations": [
                _object(3, 9, [square], 100.0),
                _object(1, 9, [[1, 1, 5, 1, 5, 5]], 8.0, category_id=18),
                _object(2, 25, crowd, 64.0, iscrowd=1),
                _object(7, 42, [square, [14, 2, 18, 2, 18, 6]], 108.0),
            ],
            "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
        }
        self.captions: dict[str, Any] = {
            "images": [],
            "annotations": [
                {"id": 11, "image_id": 9, "caption": " A person\nand a dog. "},
                {"id": 10, "image_id": 9, "caption": "Two friends."},
                {"id": 12, "image_id": 30, "caption": "Two friends."},
            ],
        }

    @property
    def annotation_members(self) -> dict[str, bytes]:
        return {
            "annotations/instances_val2017.json": json.dumps(self.instances).encode(),
            "annotations/captions_val2017.json": json.dumps(self.captions).encode(),
        }

    @property
    def image_members(self) -> dict[str, bytes]:
        return {f"val2017/{name}": body for name, body in self.images.items()}

    def write(self, folder: Path) -> Path:
        """Write archives where the publisher's server has them."""
        write_zip(folder / "zips" / "val2017.zip", self.image_members)
        write_zip(folder / "annotations" / "annotations_trainval2017.zip", self.annotation_members)
        return folder


class DavisSource:
    """A val of two clips: object 2 of ``boat`` appears late, and leaves again."""

    def __init__(self) -> None:
        self.members: dict[str, bytes] = {
            "DAVIS/ImageSets/2017/val.txt": b"boat\nant\n",
            "DAVIS/ImageSets/2017/train.txt": b"zebra\n",
        }
        self.clip("boat", [(1,), (1, 2), (2, 255), ()])
        self.clip("ant", [(3,), (3,)], width=26)
        self.clip("zebra", [(1,)])

    def clip(self, name: str, frames: list[tuple[int, ...]], width: int = 24) -> None:
        for number, ids in enumerate(frames):
            place = f"480p/{name}/{number:05d}"
            self.members[f"DAVIS/JPEGImages/{place}.jpg"] = jpeg(width, 12, number)
            self.members[f"DAVIS/Annotations/{place}.png"] = palette_png(objects(width, 12, *ids))

    def write(self, folder: Path) -> Path:
        write_zip(folder / "DAVIS-2017-trainval-480p.zip", self.members)
        return folder


def _object(number: int, image: int, segmentation: object, area: float, **more: int) -> Any:
    record = {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "segmentation": segmentation,
        "bbox": [2.0, 2.0, 10.0, 10.0],
        "area": area,
        "iscrowd": 0,
    }
    return record | more
