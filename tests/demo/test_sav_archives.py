from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from pycocotools import mask as coco

from pipelines.demo.clips import ASTRONAUT_TILT, ESPRESSO_ZOOM, ROCKET_PAD, Clip, Frame
from pipelines.demo.mp4 import mp4_bytes
from pipelines.demo.sav_archives import write_sav_links
from tests.demo.archive_contents import Contents, open_image, read_tar, under

FRAMES = 49
CLIPS = {"sav_000001": ASTRONAUT_TILT, "sav_000002": ROCKET_PAD}
KEYS = [
    "video_id", "video_duration", "video_frame_count", "video_height", "video_width",
    "video_resolution", "video_environment", "video_split", "masklet", "masklet_id",
    "masklet_size_rel", "masklet_size_abs", "masklet_size_bucket", "masklet_visibility_changes",
    "masklet_first_appeared_frame", "masklet_frame_count", "masklet_edited_frame_count",
    "masklet_type", "masklet_stability_score", "masklet_num",
]  # fmt: skip


@pytest.fixture(scope="module")
def train(origin: Path) -> Contents:
    return read_tar((origin / "sa-v/sav_000.tar").read_bytes())


def read_json(train: Contents, video: str, kind: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(train[f"sav_000/{video}_{kind}.json"])
    return parsed


def files(train: Contents) -> Iterator[tuple[str, str]]:
    for name in train:
        if name.endswith(".json"):
            video, _, kind = name.removesuffix(".json").rpartition("/")[2].rpartition("_")
            yield video, kind


def test_automatic_annotations_may_be_missing(train: Contents) -> None:
    assert set(files(train)) == {
        ("sav_000001", "manual"),
        ("sav_000001", "auto"),
        ("sav_000002", "manual"),
    }


@pytest.mark.parametrize("video", CLIPS)
def test_videos_have_the_frames_of_the_clip(train: Contents, video: str) -> None:
    with av.open(io.BytesIO(train[f"sav_000/{video}.mp4"])) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 24
        assert stream.frames == FRAMES
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    source = [np.asarray(frame.picture) for frame in CLIPS[video].frames(FRAMES)]
    assert len(decoded) == FRAMES
    for one, other in zip(decoded, source, strict=True):
        assert one.shape == other.shape
        assert np.abs(one.astype(int) - other.astype(int)).mean() < 8


def test_json_has_the_official_keys_and_types(train: Contents) -> None:
    for video, kind in files(train):
        record = read_json(train, video, kind)
        assert sorted(record) == sorted(KEYS)
        assert record["video_id"] == video
        assert record["video_frame_count"] == 24 * record["video_duration"] == FRAMES
        count, objects = math.ceil(FRAMES / 4), record["masklet_num"]
        assert len(record["masklet"]) == count
        assert {len(masks) for masks in record["masklet"]} == {objects}
        assert record["masklet_id"] == list(range(objects))
        assert record["masklet_frame_count"] == [count] * objects
        assert record["masklet_type"] == [kind] * objects
        first = record["masklet_first_appeared_frame"]
        scores = record["masklet_stability_score"]
        if kind == "manual":
            assert all(type(value) is float for value in first)
            assert scores == [None] * objects
        else:
            assert first == [0] * objects
            assert np.shape(scores) == (count, objects)
            assert record["masklet_edited_frame_count"] == [0] * objects


@pytest.mark.parametrize(("video", "clip"), CLIPS.items())
def test_manual_masks_are_those_of_every_fourth_frame(
    train: Contents, video: str, clip: Clip
) -> None:
    record = read_json(train, video, "manual")
    frames: list[Frame] = list(clip.frames(FRAMES))[::4]
    seen = np.zeros((len(frames), record["masklet_num"]), dtype=bool)
    for place, (masks, frame) in enumerate(zip(record["masklet"], frames, strict=True)):
        for number, rle in enumerate(masks):
            mask = coco.decode(rle)
            assert np.array_equal(mask, frame.objects == number + 1)
            seen[place, number] = mask.any()
    assert not seen.all(), "an absent object has an empty mask"
    for number, column in enumerate(seen.T):
        first = int(column.argmax())
        assert record["masklet_first_appeared_frame"][number] == first
        changes = sum(a != b for a, b in zip(column[first:], column[first + 1 :], strict=False))
        assert record["masklet_visibility_changes"][number] == changes


def test_sizes_are_means_where_the_object_is_seen(train: Contents) -> None:
    for video, kind in files(train):
        record = read_json(train, video, kind)
        for number in range(record["masklet_num"]):
            areas = [int(coco.area(masks[number])) for masks in record["masklet"]]
            mean = np.mean([area for area in areas if area])
            assert record["masklet_size_abs"][number] == pytest.approx(mean)
            relative = mean / record["video_resolution"]
            assert record["masklet_size_rel"][number] == pytest.approx(relative, abs=1e-9)


def test_automatic_masks_overlap(train: Contents) -> None:
    masks = [coco.decode(rle) for rle in read_json(train, "sav_000001", "auto")["masklet"][0]]
    assert (np.sum(masks, axis=0) > 1).any()


def test_val_has_a_binary_png_per_object_that_is_seen(origin: Path) -> None:
    val = read_tar((origin / "sa-v/sav_val.tar").read_bytes())
    (video,) = val["sav_val/sav_val.txt"].decode().split()
    frames = list(ESPRESSO_ZOOM.frames(13))
    assert list(under(val, f"sav_val/JPEGImages_24fps/{video}")) == [
        f"{number:05d}" for number in range(13)
    ]
    for number in range(3):
        masks = under(val, f"sav_val/Annotations_6fps/{video}/{number:03d}")
        for stem in ("00000", "00004", "00008", "00012"):
            wanted = frames[int(stem)].objects == number + 1
            assert (stem in masks) == wanted.any()
            if stem in masks:
                found = np.asarray(open_image(masks[stem]))
                assert set(np.unique(found)) <= {0, 255}
                assert np.array_equal(found == 255, wanted)


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_checksums_are_those_of_the_archives(origin: Path, algorithm: str) -> None:
    lines = (origin / f"sa-v/sav_{algorithm}sum.chk").read_text().splitlines()
    assert len(lines) == 2
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.new(algorithm, (origin / "sa-v" / name).read_bytes()).hexdigest() == digest


def test_links_have_a_row_that_nothing_is_served_for(origin: Path, tmp_path: Path) -> None:
    rows = write_sav_links(tmp_path, "http://127.0.0.1:1").read_text().split("\n")[1:]
    names = {row.split("\t")[0] for row in rows}
    there = {path.name for path in (origin / "sa-v").iterdir()}
    assert there < names
    assert len(names - there) == 1


def test_a_video_is_the_same_at_every_call() -> None:
    pictures = [frame.picture for frame in ROCKET_PAD.frames(5)]
    assert mp4_bytes(pictures, 24) == mp4_bytes(pictures, 24)
