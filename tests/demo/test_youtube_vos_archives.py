from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.demo.clips import ASTRONAUT_TILT, MOTORCYCLE_PAN
from tests.demo.archive_contents import indices, open_image, read_zip, under

STEMS = [f"{5 * number:05d}" for number in range(8)]


def test_train_has_a_mask_at_every_fifth_frame(origin: Path) -> None:
    contents = read_zip(origin / "youtube-vos-2019/train.zip")
    videos = json.loads(contents["train/meta.json"])["videos"]
    assert videos.keys() == {"-9a3f20c1d", "003234408d"}
    masks = under(contents, "train/Annotations/-9a3f20c1d")
    assert list(masks) == list(under(contents, "train/JPEGImages/-9a3f20c1d")) == STEMS
    frames = list(MOTORCYCLE_PAN.frames(36))[::5]
    for body, frame in zip(masks.values(), frames, strict=True):
        assert np.array_equal(indices(body), frame.objects)
        assert (open_image(body).getpalette() or [])[:6] == [0, 0, 0, 236, 95, 103]
    for number, record in videos["-9a3f20c1d"]["objects"].items():
        seen = [stem for stem, body in masks.items() if (indices(body) == int(number)).any()]
        assert record["frames"] == seen
    categories = [record["category"] for record in videos["-9a3f20c1d"]["objects"].values()]
    assert categories == ["motorcycle", "bench", "cardboard_box"]


def test_valid_has_one_mask_of_each_object(origin: Path) -> None:
    contents = read_zip(origin / "youtube-vos-2019/valid.zip")
    videos = json.loads(contents["valid/meta.json"])["videos"]
    for clip, video in videos.items():
        masks = {stem: indices(body) for stem, body in
                 under(contents, f"valid/Annotations/{clip}").items()}  # fmt: skip
        first = {number: record["frames"][0] for number, record in video["objects"].items()}
        assert masks.keys() == set(first.values())
        assert len(masks) > 1, "an object appears late"
        for number, stem in first.items():
            assert (masks[stem] == int(number)).any()
            known = {int(other) for other, start in first.items() if start <= stem}
            assert set(np.unique(masks[stem])) <= {0, *known}
            wanted = video["objects"][number]["frames"]
            assert wanted == STEMS[STEMS.index(stem) :]


@pytest.mark.parametrize("year", [2018, 2019])
def test_all_frames_include_those_of_valid(origin: Path, year: int) -> None:
    folder = origin / f"youtube-vos-{year}"
    sparse, every = read_zip(folder / "valid.zip"), read_zip(folder / "valid_all_frames.zip")
    clips = json.loads(sparse["valid/meta.json"])["videos"]
    assert len(clips) == year - 2017
    for clip in clips:
        few = under(sparse, f"valid/JPEGImages/{clip}")
        many = under(every, f"valid_all_frames/JPEGImages/{clip}")
        assert list(few) == STEMS
        assert list(many) == [f"{number:05d}" for number in range(36)]
        assert all(many[stem] == body for stem, body in few.items())
    assert not any("Annotations" in name for name in every)


def test_years_share_train_and_part_of_valid(origin: Path) -> None:
    one, two = (origin / f"youtube-vos-{year}" for year in (2018, 2019))
    assert (one / "train.zip").read_bytes() == (two / "train.zip").read_bytes()
    picture = f"valid/JPEGImages/0062f687f1/{STEMS[0]}.jpg"
    assert read_zip(one / "valid.zip")[picture] == read_zip(two / "valid.zip")[picture]
    assert open_image(read_zip(one / "valid.zip")[picture]).size == ASTRONAUT_TILT.size
