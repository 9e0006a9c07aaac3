"""LVIS v1 with made-up images: a val whose images are in COCO's train2017 and val2017."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.normalize.archives import jpeg, write_zip

SQUARE = [2, 2, 12, 2, 12, 12, 2, 12]
IMAGES = {"train2017/000000000030.jpg": 30, "val2017/000000000009.jpg": 9}


class LvisSource:
    """Tests change its parts, then write it."""

    def __init__(self) -> None:
        self.images = {path: jpeg(20, 16, number) for path, number in IMAGES.items()}
        self.annotations: dict[str, Any] = {
            "images": [_image(path, number) for path, number in IMAGES.items()],
            "annotations": [
                {"id": 1, "image_id": 9, "category_id": 2, "segmentation": [SQUARE], "area": 100.0}
                | {"bbox": [2, 2, 10, 10]},
                {"id": 2, "image_id": 9, "category_id": 1, "segmentation": [SQUARE], "area": 100.0}
                | {"bbox": [2, 2, 10, 10]},
            ],
            "categories": [
                _category(1, "aerosol_can", "c", ["aerosol_can", "spray_can"]),
                _category(2, "bow_(weapon)", "r", ["bow_(weapon)"]),
                _category(3, "bow_(decorative_ribbons)", "f", ["bow_(decorative_ribbons)"]),
                _category(4, "Christmas_tree", "f", ["Christmas_tree"]),
            ],
        }

    def image(self, number: int) -> dict[str, Any]:
        """Return the record of an image."""
        return next(image for image in self.annotations["images"] if image["id"] == number)

    def write(self, folder: Path) -> Path:
        """Write archives as the two publishers name them."""
        body = json.dumps(self.annotations).encode()
        write_zip(folder / "lvis_v1_val.json.zip", {"lvis_v1_val.json": body})
        for top in ("train2017", "val2017"):
            members = {path: body for path, body in self.images.items() if path.startswith(top)}
            write_zip(folder / f"{top}.zip", members)
        return folder


def _image(path: str, number: int) -> dict[str, Any]:
    return {
        "id": number,
        "coco_url": f"http://images.cocodataset.org/{path}",
        "width": 20,
        "height": 16,
        "neg_category_ids": [],
        "not_exhaustive_category_ids": [],
    }


def _category(number: int, name: str, frequency: str, synonyms: list[str]) -> dict[str, Any]:
    return {
        "id": number,
        "name": name,
        "synset": f"{name.lower()}.n.01",
        "frequency": frequency,
        "synonyms": synonyms,
        "def": f"what {name} is",
        "image_count": 1,
        "instance_count": 1,
    }
