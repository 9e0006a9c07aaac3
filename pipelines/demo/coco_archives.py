"""The demo's pictures as the archives of COCO 2017, in their layout and JSON schema."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pipelines.demo.album import ALBUM
from pipelines.demo.archives import write_zip
from pipelines.demo.categories import CATEGORIES
from pipelines.demo.polygons import polygon_fields
from pipelines.demo.regions import Labels
from pipelines.demo.views import DrawnObject, View, cut_views, drawn_objects
from schemas.errors import UsageError

CROWD_AFTER = 14
"""Objects of one category drawn one by one; COCO's annotators also mark the rest as a crowd."""


def write_coco_archives(folder: Path, images: int = 24, train_images: int = 6) -> list[Path]:
    """Create the zips of val2017 and train2017 and of their annotations in ``folder``.

    They lie where the server of COCO has them: ``zips/`` and ``annotations/``. Equal arguments
    give equal bytes.
    """
    if images < 1:
        raise UsageError("count of demo images", expected="1 or more", got=images)
    written, annotations = [], []
    for split, views in coco_views(images, train_images).items():
        pictures = [(f"{split}/{file_name(key)}", view.jpeg()) for key, view in views.items()]
        written.append(write_zip(folder / "zips" / f"{split}.zip", pictures))
        instances, captions = _annotation_files(views)
        annotations += [
            (f"annotations/instances_{split}.json", msgspec.json.encode(instances)),
            (f"annotations/captions_{split}.json", msgspec.json.encode(captions)),
        ]
    archive = folder / "annotations" / "annotations_trainval2017.zip"
    return [*written, write_zip(archive, annotations)]


def coco_views(images: int = 24, train_images: int = 6) -> dict[str, dict[int, View]]:
    """Return the images of each split by their ids."""
    views = [
        (139 + 211 * number, view) for number, view in enumerate(cut_views(images + train_images))
    ]
    return {"val2017": dict(views[:images]), "train2017": dict(views[images:])}


def file_name(key: int) -> str:
    """Return the name of the file of the image ``key``."""
    return f"{key:012d}.jpg"


def _annotation_files(views: dict[int, View]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the contents of the instances file and of the captions file."""
    head = _head(views)
    objects = [
        {"image_id": key, **found} for key, view in views.items() for found in _objects(view)
    ]
    sentences = [
        {"image_id": key, "caption": caption}
        for key, view in views.items()
        for caption in _captions(view)
    ]
    categories = [
        {"supercategory": group, "id": number, "name": name}
        for name, (number, group) in CATEGORIES.items()
    ]
    return (
        {**head, "annotations": _numbered(objects), "categories": categories},
        {**head, "annotations": _numbered(sentences)},
    )


def _head(views: dict[int, View]) -> dict[str, Any]:
    licences = sorted({photograph.licence for photograph in ALBUM})
    numbers = {licence: number for number, licence in enumerate(licences, start=1)}
    return {
        "info": {
            "description": "Parts of photographs from scikit-image and scikit-learn",
            "url": "",
            "version": "1.0",
            "year": 2017,
            "contributor": "; ".join(f"{item.name}: {item.credit}" for item in ALBUM),
            "date_created": "2017/09/01",
        },
        "licenses": [{"id": numbers[name], "name": name, "url": ""} for name in licences],
        "images": [
            _image(key, view, numbers[view.photograph.licence]) for key, view in views.items()
        ],
    }


def _numbered(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give ids that are unique in all splits: an image has fewer than 100 records."""
    seen = Counter[int]()
    numbered = []
    for record in records:
        key = record["image_id"]
        numbered.append({"id": key * 100 + seen[key], **record})
        seen[key] += 1
    return numbered


def _image(key: int, view: View, licence: int) -> dict[str, Any]:
    return {
        "license": licence,
        "file_name": file_name(key),
        "coco_url": "",
        "height": view.size[1],
        "width": view.size[0],
        "date_captured": "",
        "flickr_url": "",
        "id": key,
    }


def _objects(view: View) -> Iterator[dict[str, Any]]:
    by_category: defaultdict[str, list[DrawnObject]] = defaultdict(list)
    for drawn in drawn_objects(view):
        by_category[drawn.outline.category].append(drawn)
    for category, alike in by_category.items():
        identity = {"category_id": CATEGORIES[category][0]}
        for drawn in alike[:CROWD_AFTER]:
            yield polygon_fields(drawn.rings) | {"iscrowd": 0} | identity
        if crowd := [drawn.number for drawn in alike[CROWD_AFTER:]]:
            yield _crowd(view.labels(), crowd) | identity


def _crowd(labels_HW: Labels, numbers: list[int]) -> dict[str, Any]:
    mask = np.isin(labels_HW, numbers)
    # Runs go down the columns and start with zeros, so an empty one when the first pixel is set.
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat, prepend=False)).tolist()
    runs = np.diff([0, *edges, flat.size]).tolist()
    rows, columns = np.nonzero(mask)
    left, upper = int(columns.min()), int(rows.min())
    return {
        "segmentation": {"counts": runs, "size": list(mask.shape)},
        "area": int(mask.sum()),
        "iscrowd": 1,
        "bbox": [left, upper, int(columns.max()) + 1 - left, int(rows.max()) + 1 - upper],
    }


def _captions(view: View) -> list[str]:
    """Return what the photograph shows, for a whole one, and the list of objects in view."""
    present = set(np.unique(view.labels()).tolist())
    phrases = dict.fromkeys(
        outline.phrase
        for number, outline in enumerate(view.photograph.outlines, start=1)
        if number in present
    )
    captions = [view.photograph.caption] if view.is_whole else []
    return captions + ([f"A photograph of {', '.join(phrases)}."] if phrases else [])
