from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.normalize.base import LayoutOptions, Normalizer
from pipelines.normalize.lvos import lvos_v1, lvos_v2
from pipelines.normalize.sources import local_files
from schemas.errors import UsageError
from tests.contracts.normalizer_contract import NormalizerContract
from tests.fixtures import FIXTURES
from tests.normalize.archives import write_folder
from tests.normalize.clip_archives import ClipSource, areas, meta, read

STEMS = [f"{number:08d}" for number in range(1, 21, 5)]
RANGE = {"frame_range": {"start": "1", "end": "21", "frame_nums": "4"}}


def normalizer_of(folder: Path, split: str, **options: Any) -> Normalizer:
    return lvos_v2(local_files(folder, "lvos-v2", split), split, LayoutOptions(**options))


def val_source(top: str) -> ClipSource:
    """Object 2 of the first clip appears late; the only object of the second one, too."""
    source = ClipSource(top)
    masks = {STEMS[0]: (1,), STEMS[1]: (255,), STEMS[2]: (1, 2), STEMS[3]: (1, 2)}
    source.clip("7K7WVzGG", STEMS, masks)
    source.clip("d83wYdy0", STEMS[:2], {STEMS[0]: (), STEMS[1]: (1,)})
    return source


@pytest.fixture
def val() -> ClipSource:
    return val_source("valid")


class TestVal(NormalizerContract):
    @pytest.fixture(params=["val", "valid"])
    def normalizer(self, tmp_path: Path, request: pytest.FixtureRequest) -> Normalizer:
        return normalizer_of(write_folder(tmp_path, val_source(request.param).members), "val")


class TestValV1(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path, val: ClipSource) -> Normalizer:
        val.write_zip(tmp_path / "valid.zip")
        return lvos_v1(local_files(tmp_path, "lvos-v1", "val"), "val", LayoutOptions())


class TestTest(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path) -> Normalizer:
        source = ClipSource("test")
        source.clip("3Zf4NFzn", STEMS, {STEMS[0]: (1,), STEMS[2]: (3,)})
        source.clip("vJ8W2TO5", STEMS[:1], {STEMS[0]: (2,)})
        source.write_zip(tmp_path / "test.zip")
        return normalizer_of(tmp_path, "test")


def test_frames_keep_their_names_and_count_from_zero(tmp_path: Path, val: ClipSource) -> None:
    val.write_zip(tmp_path / "valid.zip")
    frames = read(normalizer_of(tmp_path, "val"), "7K7WVzGG")
    assert [(frame.frame, frame.key) for frame in frames] == [
        (0, "7K7WVzGG.00000001"),
        (1, "7K7WVzGG.00000006"),
        (2, "7K7WVzGG.00000011"),
        (3, "7K7WVzGG.00000016"),
    ]


def test_an_object_that_comes_late_is_hidden_before_and_void_is_none(
    tmp_path: Path, val: ClipSource
) -> None:
    val.write_zip(tmp_path / "valid.zip")
    frames = read(normalizer_of(tmp_path, "val"), "7K7WVzGG")
    assert [areas(frame) for frame in frames[:3]] == [{1: 22, 2: 0}, {1: 0, 2: 0}, {1: 22, 2: 22}]
    assert frames[1].void is not None
    assert frames[1].void.area == 22
    late = read(normalizer_of(tmp_path, "val"), "d83wYdy0")
    assert [areas(frame) for frame in late] == [{1: 0}, {1: 22}]


def test_test_has_first_masks_only(tmp_path: Path) -> None:
    source = ClipSource("test")
    source.clip("3Zf4NFzn", STEMS, {STEMS[0]: (1,), STEMS[2]: (3,)})
    source.write_zip(tmp_path / "test.zip")
    frames = read(normalizer_of(tmp_path, "test"), "3Zf4NFzn")
    assert [areas(frame) for frame in frames] == [{1: 22}, {}, {3: 22}, {}]


@pytest.mark.parametrize(
    "place", ["valid/valid_meta.json", "valid/val_meta.json", "valid/meta.json", "val_meta.json"]
)
def test_the_meta_file_lists_the_clips(tmp_path: Path, val: ClipSource, place: str) -> None:
    val.json(place, meta({"7K7WVzGG": {"1": RANGE, "2": RANGE}}))
    normalizer = normalizer_of(write_folder(tmp_path, val.members), "val")
    assert [group.key for group in normalizer.groups()] == ["7K7WVzGG"]


@pytest.mark.parametrize("given", ["", "valid.zip"])
def test_a_meta_file_beside_the_archive_is_found(
    tmp_path: Path, val: ClipSource, given: str
) -> None:
    val.write_zip(tmp_path / "valid.zip")
    body = json.dumps(meta({"7K7WVzGG": {"1": RANGE | {"caption": "a duck"}}}))
    (tmp_path / "valid_meta.json").write_text(body)
    normalizer = normalizer_of(tmp_path / given, "val")
    assert [group.key for group in normalizer.groups()] == ["7K7WVzGG"]
    assert read(normalizer, "7K7WVzGG")[0].annotations[0].phrases == ("a duck",)
    assert sorted(normalizer.sources()) == ["valid.zip", "valid_meta.json"]


def test_captions_are_phrases_and_no_list(tmp_path: Path, val: ClipSource) -> None:
    val.json("valid/valid_meta.json", meta({"7K7WVzGG": {"1": RANGE}, "d83wYdy0": {"1": RANGE}}))
    captions = {"7K7WVzGG": {"1": RANGE | {"caption": " a white\n duck "}}}
    val.json("valid/valid_expression_meta.json", meta(captions))
    normalizer = normalizer_of(write_folder(tmp_path, val.members), "val")
    assert len(normalizer.groups()) == 2
    first = read(normalizer, "7K7WVzGG")[0]
    assert [(item.category, item.phrases) for item in first.annotations] == [
        (None, ("a white duck",)),
        (None, ()),
    ]


def test_two_meta_files_of_one_name_are_not_chosen_between(tmp_path: Path, val: ClipSource) -> None:
    for place in ("valid/valid_meta.json", "old/valid_meta.json"):
        val.json(place, meta({"7K7WVzGG": {"1": RANGE}}))
    write_folder(tmp_path, val.members)
    with pytest.raises(UsageError, match="fits 2 files"):
        normalizer_of(tmp_path, "val").groups()
    chosen = normalizer_of(tmp_path, "val", annotations="old/valid_meta.json")
    assert len(chosen.groups()) == 1


def test_names_that_differ_in_case_only_are_two_clips(tmp_path: Path) -> None:
    source = ClipSource("train")
    for name in ("R3UJGYwy", "R3UJGYWY"):
        source.clip(name, STEMS[:1], {STEMS[0]: (1,)})
    source.write_zip(tmp_path / "train.zip")
    assert len(normalizer_of(tmp_path, "train").groups()) == 2


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the shared fixtures are not here")
def test_a_real_clip_of_eight_digits_that_does_not_start_at_zero() -> None:
    """It is of VSPW, which names its frames like LVOS and annotates 44 objects on the first."""
    options = {"frames": "JPEGImages", "masks": "Annotations"}
    normalizer = normalizer_of(FIXTURES / "vspw-8digit", "test", **options)
    (group,) = normalizer.groups()
    frames = list(normalizer.read(group))
    assert (group.key, group.rows) == ("1001_3iEIq5HBY1s", 10)
    assert frames[0].key == "1001_3iEIq5HBY1s.00002058"
    assert len(frames[0].annotations) == 44
    assert not any(frame.annotations for frame in frames[1:])


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the shared fixtures are not here")
@pytest.mark.parametrize("name", ["unseen_videos.txt", "unsupervised_videos.txt"])
def test_all_published_names_can_be_keys(tmp_path: Path, name: str) -> None:
    source = ClipSource("train")
    names = (FIXTURES / "lvos" / name).read_text().split()
    for clip in names:
        source.members[f"train/JPEGImages/{clip}/00000001.jpg"] = b""
    source.write_zip(tmp_path / "train.zip")
    assert [group.key for group in normalizer_of(tmp_path, "train").groups()] == sorted(set(names))
