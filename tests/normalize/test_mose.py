from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.normalize.base import LayoutOptions, Normalizer
from pipelines.normalize.mose import mose_v1, mose_v2
from pipelines.normalize.sources import local_files
from tests.contracts.normalizer_contract import NormalizerContract
from tests.fixtures import FIXTURES
from tests.normalize.archives import write_folder
from tests.normalize.clip_archives import ClipSource, areas, meta, read

STEMS = [f"{number:05d}" for number in range(4)]


def v1(folder: Path, split: str) -> Normalizer:
    return mose_v1(local_files(folder, "mose-v1", split), split, LayoutOptions())


def v2(folder: Path, split: str) -> Normalizer:
    return mose_v2(local_files(folder, "mose-v2", split), split, LayoutOptions())


@pytest.fixture
def train() -> ClipSource:
    """A clip that is one frame long, and one without any object on a frame; and hidden files."""
    source = ClipSource("train")
    source.clip("330ac20d", STEMS[:1], {STEMS[0]: (1,)})
    source.clip("32e5d721", STEMS, dict(zip(STEMS, [(1, 2), (), (2,), (1, 2)], strict=True)))
    for folder in ("JPEGImages", "Annotations"):
        source.members[f"train/{folder}/32e5d721/._00000.jpg"] = b"resource fork"
        source.members[f"train/{folder}/._32e5d721/00000.jpg"] = b"resource fork"
    return source


@pytest.fixture
def valid() -> ClipSource:
    source = ClipSource("valid")
    source.clip("002b4dce", STEMS, {STEMS[0]: (1, 3)})
    source.clip("0067bebc", STEMS[:2], {STEMS[0]: (2,)})
    return source


class TestTrainTarGz(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path, train: ClipSource) -> Normalizer:
        (tmp_path / "train.tar.gz").write_bytes(train.tar_gz())
        return v1(tmp_path, "train")


class TestTrainInParts(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path, train: ClipSource) -> Normalizer:
        write_parts(tmp_path, train.tar_gz())
        return v2(tmp_path, "train")


class TestValidFolder(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path, valid: ClipSource) -> Normalizer:
        return v2(write_folder(tmp_path, valid.members), "valid")


def write_parts(folder: Path, body: bytes) -> None:
    third = len(body) // 3 + 1
    for number, suffix in enumerate(("aa", "ab", "ac")):
        part = body[number * third : (number + 1) * third]
        (folder / f"train.tar.gz.{suffix}").write_bytes(part)


def test_hidden_files_and_folders_are_left_out(tmp_path: Path, train: ClipSource) -> None:
    normalizer = v1(write_folder(tmp_path, train.members), "train")
    assert [(group.key, group.rows) for group in normalizer.groups()] == [
        ("32e5d721", 4),
        ("330ac20d", 1),
    ]
    assert normalizer.dropped() == {}


def test_a_frame_without_objects_says_that_they_are_hidden(
    tmp_path: Path, train: ClipSource
) -> None:
    normalizer = v1(write_folder(tmp_path, train.members), "train")
    assert [areas(frame) for frame in read(normalizer, "32e5d721")] == [
        {1: 22, 2: 22},
        {1: 0, 2: 0},
        {1: 0, 2: 22},
        {1: 22, 2: 22},
    ]
    assert [areas(frame) for frame in read(normalizer, "330ac20d")] == [{1: 22}]


def test_parts_read_as_the_whole(tmp_path: Path, train: ClipSource) -> None:
    (tmp_path / "parts").mkdir()
    write_parts(tmp_path / "parts", train.tar_gz())
    parts = v2(tmp_path / "parts", "train")
    whole = v2(write_folder(tmp_path / "whole", train.members), "train")
    assert [frame.encoded for frame in read(parts, "32e5d721")] == [
        frame.encoded for frame in read(whole, "32e5d721")
    ]


def test_valid_has_first_masks_only(tmp_path: Path, valid: ClipSource) -> None:
    (tmp_path / "valid.tar.gz").write_bytes(valid.tar_gz())
    normalizer = v1(tmp_path, "valid")
    assert [areas(frame) for frame in read(normalizer, "002b4dce")] == [{1: 22, 3: 22}, {}, {}, {}]
    assert normalizer.dropped() == {}


@pytest.mark.parametrize("known", [None, 1, [], {"area": 3}])
def test_the_meta_file_of_v2_lists_clips_and_may_say_anything_of_objects(
    tmp_path: Path, valid: ClipSource, known: object
) -> None:
    videos = meta({"002b4dce": {"1": known, "3": known}})
    videos["videos"]["002b4dce"] |= {"length": 4, "height": None, "width": None}
    valid.members["meta_valid.json"] = json.dumps(videos).encode()
    normalizer = v2(write_folder(tmp_path, valid.members), "valid")
    assert [group.key for group in normalizer.groups()] == ["002b4dce"]


def test_a_meta_file_beside_the_parts_is_the_list(tmp_path: Path, train: ClipSource) -> None:
    write_parts(tmp_path, train.tar_gz())
    (tmp_path / "meta_train.json").write_text(json.dumps(meta({"330ac20d": {"1": {}}})))
    normalizer = v2(tmp_path, "train")
    assert [group.key for group in normalizer.groups()] == ["330ac20d"]
    assert sorted(normalizer.sources()) == ["meta_train.json", "train.tar.gz"]


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the shared fixtures are not here")
@pytest.mark.parametrize(("name", "count"), [("train", 1246), ("val", 200)])
def test_all_published_names_can_be_keys(tmp_path: Path, name: str, count: int) -> None:
    listed = (FIXTURES / "mose" / f"MOSE_sample_{name}_list.txt").read_text().split()
    members = {f"train/JPEGImages/{clip}/00000.jpg": b"" for clip in listed}
    source = ClipSource("train")
    source.members.update(members)
    source.write_zip(tmp_path / "any.zip")
    assert len(v1(tmp_path / "any.zip", "train").groups()) == count
