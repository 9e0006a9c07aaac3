"""The demo's pictures as the archives of COCO 2017 val, in their layout and JSON schema."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pipelines.demo.album import ALBUM
from pipelines.demo.archives import write_zip
from pipelines.demo.categories import CATEGORIES
from pipelines.demo.polygons import Ring, mask_rings, ring_area
from pipelines.demo.regions import Labels
from pipelines.demo.views import View, cut_views
from schemas.errors import UsageError

_CROWD_AFTER = 14
"""Objects of one category drawn one by one; COCO's annotators also mark the rest as a crowd."""
_SMALLEST_AREA = 100.0


def write_coco_archives(folder: Path, images: int = 24) -> list[Path]:
    """Create ``zips/val2017.zip`` and ``annotations/annotations_trainval2017.zip`` in ``folder``.

    Both lie where the server of COCO has them. Equal arguments give equal bytes.
    """
    if images < 1:
        raise UsageError("count of demo images", expected="1 or more", got=images)
    views = {139 + 211 * number: view for number, view in enumerate(cut_views(images))}
    pictures = [(f"val2017/{_file_name(key)}", view.jpeg()) for key, view in views.items()]
    instances, captions = _annotation_files(views)
    annotations = [
        ("annotations/instances_val2017.json", msgspec.json.encode(instances)),
        ("annotations/captions_val2017.json", msgspec.json.encode(captions)),
    ]
    return [
        write_zip(folder / "zips" / "val2017.zip", pictures),
        write_zip(folder / "annotations" / "annotations_trainval2017.zip", annotations),
    ]


def _file_name(key: int) -> str:
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
        {**head, "annotations": _numbered(objects, 1700), "categories": categories},
        {**head, "annotations": _numbered(sentences, 38)},
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


def _numbered(records: list[dict[str, Any]], first: int) -> list[dict[str, Any]]:
    return [{"id": number, **record} for number, record in enumerate(records, first)]


def _image(key: int, view: View, licence: int) -> dict[str, Any]:
    return {
        "license": licence,
        "file_name": _file_name(key),
        "coco_url": "",
        "height": view.size[1],
        "width": view.size[0],
        "date_captured": "",
        "flickr_url": "",
        "id": key,
    }


def _objects(view: View) -> Iterator[dict[str, Any]]:
    labels = view.labels()
    by_category: defaultdict[str, list[int]] = defaultdict(list)
    for number, outline in enumerate(view.photograph.outlines, start=1):
        by_category[outline.category].append(number)
    for category, numbers in by_category.items():
        drawn = [
            (number, rings)
            for number in numbers
            if sum(map(ring_area, rings := mask_rings(labels == number))) >= _SMALLEST_AREA
        ]
        identity = {"category_id": CATEGORIES[category][0]}
        for _, rings in drawn[:_CROWD_AFTER]:
            yield _single(rings) | identity
        if crowd := [number for number, _ in drawn[_CROWD_AFTER:]]:
            yield _crowd(labels, crowd) | identity


def _single(rings: list[Ring]) -> dict[str, Any]:
    points = np.concatenate(rings)
    low, high = points.min(axis=0), points.max(axis=0)
    return {
        "segmentation": [ring.ravel().tolist() for ring in rings],
        "area": round(sum(map(ring_area, rings)), 4),
        "iscrowd": 0,
        "bbox": [*low.tolist(), *(high - low).round(2).tolist()],
    }


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
