"""Small files in the formats of the text corpora."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def pairs_file(path: Path, pairs: dict[int, tuple[str, int]]) -> Path:
    """Write a file of SA-Co/Gold or Silver: phrase and number of objects by pair id."""
    images: list[dict[str, Any]] = [
        {
            "id": number,
            "file_name": f"1/{number % 3}.jpeg",
            "text_input": phrase,
            "width": 20,
            "height": 16,
            "queried_category": "0",
            "is_instance_exhaustive": 1,
            "is_pixel_exhaustive": 1,
        }
        for number, (phrase, _) in pairs.items()
    ]
    owners = [number for number, (_, count) in pairs.items() for _ in range(count)]
    annotations = [
        {
            "id": place,
            "image_id": number,
            "source": "manual",
            "area": 0.1,
            "bbox": [0.0, 0.0, 0.5, 0.5],
            "segmentation": {"counts": "P`]<", "size": [16, 20]},
            "category_id": 1,
            "iscrowd": 0,
        }
        for place, number in enumerate(owners)
    ]
    return _write_json(path, {"images": images, "annotations": annotations})


def clip_pairs_file(path: Path, pairs: list[tuple[str, int]]) -> Path:
    """Write a file of SA-Co/VEval: phrase and number of masklets of each pair."""
    records = [
        {
            "id": place,
            "video_id": 0,
            "category_id": place,
            "noun_phrase": phrase,
            "num_masklets": count,
        }
        for place, (phrase, count) in enumerate(pairs)
    ]
    content: dict[str, Any] = {"info": {}, "videos": [], "annotations": [], "categories": []}
    return _write_json(path, content | {"video_np_pairs": records})


def table_file(path: Path, **columns: list[Any]) -> Path:
    """Write a parquet file with these columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def _write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
