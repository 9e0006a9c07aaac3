"""The annotations of LVIS v1 on the very images of the demo's COCO, in its layout and schema."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pipelines.demo.album import ALBUM
from pipelines.demo.archives import write_zip
from pipelines.demo.coco_archives import CROWD_AFTER, coco_views, file_name
from pipelines.demo.lvis_categories import SENSES
from pipelines.demo.polygons import polygon_fields
from pipelines.demo.views import View, drawn_objects

_COCO_URL = "http://images.cocodataset.org"
_UNMISTAKABLE = ("cat", "coin", "motorcycle", "pagoda", "rocket", "saucer", "tripod")
"""Categories that are surely absent from a photograph without an outline of them."""
_VAL_FROM_TRAIN = 2
"""Val of LVIS has images of COCO's train2017 too."""

_Images = Mapping[tuple[str, int], View]
"""By COCO's split and id."""


def write_lvis_archives(folder: Path) -> list[Path]:
    """Create ``lvis_v1_train.json.zip`` and ``lvis_v1_val.json.zip`` in ``folder``.

    The images are those of ``write_coco_archives``.
    """
    pairs = [
        ((split, key), view) for split, views in coco_views().items() for key, view in views.items()
    ]
    train = [pair for pair in pairs if pair[0][0] == "train2017"][:-_VAL_FROM_TRAIN]
    val = [pair for pair in pairs if pair not in train]
    return [_write(folder, "train", dict(train)), _write(folder, "val", dict(val))]


def _write(folder: Path, split: str, images: _Images) -> Path:
    name = f"lvis_v1_{split}.json"
    body = msgspec.json.encode(_annotation_file(images))
    return write_zip(folder / f"{name}.zip", [(name, body)])


def _annotation_file(images: _Images) -> dict[str, Any]:
    annotations = [found for (_, key), view in images.items() for found in _objects(key, view)]
    return {
        "info": {
            "year": 2020,
            "version": "v1",
            "description": "Parts of photographs from scikit-image and scikit-learn",
            "contributor": "; ".join(f"{item.name}: {item.credit}" for item in ALBUM),
            "url": "",
            "date_created": "2020-01-14 00:00:00",
        },
        "licenses": [
            {"id": number, "name": name, "url": ""} for name, number in _licences().items()
        ],
        "categories": list(_categories(annotations)),
        "images": [
            _image(place, split, key, view)
            for place, ((split, key), view) in enumerate(images.items())
        ],
        "annotations": annotations,
    }


def _licences() -> dict[str, int]:
    names = sorted({photograph.licence for photograph in ALBUM})
    return {name: number for number, name in enumerate(names, start=1)}


def _image(place: int, split: str, key: int, view: View) -> dict[str, Any]:
    outlined = Counter(outline.category for outline in view.photograph.outlines)
    absent = [SENSES[name].id for name in _UNMISTAKABLE if name not in outlined]
    start = place % len(absent)
    many = [SENSES[name].id for name, count in outlined.items() if count > CROWD_AFTER]
    # There is no file_name in v1: readers take the end of coco_url.
    return {
        "id": key,
        "license": _licences()[view.photograph.licence],
        "coco_url": f"{_COCO_URL}/{split}/{file_name(key)}",
        "flickr_url": "",
        "width": view.size[0],
        "height": view.size[1],
        "date_captured": "",
        "neg_category_ids": (absent[start:] + absent[:start])[:3],
        "not_exhaustive_category_ids": many,
    }


def _objects(key: int, view: View) -> Iterator[dict[str, Any]]:
    """Yield a polygon per object, but of one category only so many: the rest is not exhaustive."""
    seen = Counter[str]()
    for drawn in drawn_objects(view):
        category = drawn.outline.category
        seen[category] += 1
        if seen[category] <= CROWD_AFTER:
            yield {
                "id": key * 100 + drawn.number,
                "image_id": key,
                "category_id": SENSES[category].id,
                **polygon_fields(drawn.rings),
            }


def _categories(annotations: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    instances = Counter[int](record["category_id"] for record in annotations)
    images = defaultdict[int, set[int]](set)
    for record in annotations:
        images[record["category_id"]].add(record["image_id"])
    for sense in SENSES.values():
        count = len(images[sense.id])
        yield {
            "id": sense.id,
            "name": sense.name,
            "synset": sense.synset,
            "synonyms": sense.synonyms,
            "def": sense.definition,
            "frequency": "r" if count <= 10 else "c" if count <= 100 else "f",
            "image_count": count,
            "instance_count": instances[sense.id],
        }
