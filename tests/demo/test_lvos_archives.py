from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.demo.clips import ASTRONAUT_TILT
from tests.demo.archive_contents import indices, read_zip, under

STEMS = [f"{1 + 5 * number:08d}" for number in range(8)]
NAMES = {
    ("lvos-v1", "train"): {"R3UJGYwy"},
    ("lvos-v1", "valid"): {"7K7WVzGG"},
    ("lvos-v1", "test"): {"vJ8W2TO5"},
    ("lvos-v2", "valid"): {"7K7WVzGG", "d83wYdy0"},
}


def read_meta(origin: Path, version: str, name: str) -> dict[str, Any]:
    parsed = json.loads((origin / version / f"{name}_meta.json").read_bytes())
    videos: dict[str, Any] = parsed["videos"]
    return videos


@pytest.mark.parametrize(("version", "split"), NAMES)
def test_frames_count_in_fives_from_one(origin: Path, version: str, split: str) -> None:
    contents = read_zip(origin / version / f"{split}.zip")
    clips = {name.split("/")[2] for name in contents}
    assert clips == NAMES[version, split]
    assert read_meta(origin, version, split).keys() == clips
    for clip in clips:
        masks = under(contents, f"{split}/Annotations/{clip}")
        assert list(under(contents, f"{split}/JPEGImages/{clip}")) == STEMS
        assert list(masks) == (STEMS if split != "test" else STEMS[:1])


def test_masks_are_the_objects_and_ranges_hold_them(origin: Path) -> None:
    masks = under(read_zip(origin / "lvos-v1/valid.zip"), "valid/Annotations/7K7WVzGG")
    for body, frame in zip(masks.values(), ASTRONAUT_TILT.frames(8), strict=True):
        assert np.array_equal(indices(body), frame.objects)
    objects = read_meta(origin, "lvos-v1", "valid")["7K7WVzGG"]["objects"]
    assert objects["3"]["frame_range"]["start"] > "1", "an object appears late"
    for number, record in objects.items():
        start, end, count = (
            int(record["frame_range"][key]) for key in ("start", "end", "frame_nums")
        )
        inside = [f"{stem:08d}" for stem in range(start, end, 5)]
        assert [
            stem for stem, body in masks.items() if (indices(body) == int(number)).any()
        ] == inside
        assert count == len(inside)


def test_the_first_version_has_captions(origin: Path) -> None:
    objects = read_meta(origin, "lvos-v1", "valid_expression")["7K7WVzGG"]["objects"]
    assert objects["1"]["caption"] == "the astronaut"
    assert not list((origin / "lvos-v2").glob("*expression*"))
