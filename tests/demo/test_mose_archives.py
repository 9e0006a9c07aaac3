from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pipelines.demo.clips import MOTORCYCLE_PAN
from tests.demo.archive_contents import indices, read_tar_gz, under


def test_v1_train_has_a_mask_per_frame_and_what_the_real_one_has(origin: Path) -> None:
    contents = read_tar_gz((origin / "mose-v1/train.tar.gz").read_bytes())
    hidden = [name for name in contents if "/." in name]
    assert len(hidden) == 1
    assert list(under(contents, "train/Annotations/9eb92f21")) == ["00000"], "a single frame"
    masks = under(contents, "train/Annotations/1b0c4e7a")
    assert masks.keys() == under(contents, "train/JPEGImages/1b0c4e7a").keys() - {""}
    for body, frame in zip(masks.values(), MOTORCYCLE_PAN.frames(8), strict=True):
        assert np.array_equal(indices(body), frame.objects)


def test_valid_has_masks_of_the_first_frame(origin: Path) -> None:
    for version, clip in (("mose-v1", "32e5d721"), ("mose-v2", "c44a17fe")):
        contents = read_tar_gz((origin / version / "valid.tar.gz").read_bytes())
        assert list(under(contents, f"valid/Annotations/{clip}")) == ["00000"]
        assert len(under(contents, f"valid/JPEGImages/{clip}")) == 8


def test_v2_train_is_in_parts_that_join_to_a_gzip(origin: Path) -> None:
    parts = sorted((origin / "mose-v2").glob("train.tar.gz.*"))
    assert [part.suffix for part in parts] == [".aa", ".ab", ".ac"]
    contents = read_tar_gz(b"".join(part.read_bytes() for part in parts))
    assert {name.split("/")[2] for name in contents} == {"0a8e2c55", "6d1f90b3"}
    assert len(contents) == 2 * 2 * 8


def test_v2_names_the_objects_of_its_clips(origin: Path) -> None:
    meta = json.loads((origin / "mose-v2/meta_valid.json").read_bytes())["videos"]
    contents = read_tar_gz((origin / "mose-v2/valid.tar.gz").read_bytes())
    first = indices(contents["valid/Annotations/c44a17fe/00000.png"])
    assert set(meta["c44a17fe"]["objects"]) == {str(n) for n in np.unique(first) if n}
    assert meta["c44a17fe"]["length"] == 8
    train = json.loads((origin / "mose-v2/meta_train.json").read_bytes())["videos"]
    assert len(train["6d1f90b3"]["objects"]) == 3, "one of them appears late"
