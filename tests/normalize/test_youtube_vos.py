from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.normalize.base import LayoutOptions, Normalizer
from pipelines.normalize.registry import open_splits
from pipelines.normalize.sources import local_files
from pipelines.normalize.youtube_vos import youtube_vos_2018, youtube_vos_2019
from schemas.errors import DataError, IncompleteError, UsageError
from tests.contracts.normalizer_contract import NormalizerContract
from tests.fixtures import FIXTURES
from tests.normalize.archives import write_folder
from tests.normalize.clip_archives import ClipSource, areas, meta, read

STEMS = [f"{number:05d}" for number in range(0, 20, 5)]
ALL_STEMS = [f"{number:05d}" for number in range(20)]


def normalizer_of(folder: Path, split: str, **options: Any) -> Normalizer:
    files = local_files(folder, "youtube-vos-2019", split)
    return youtube_vos_2019(files, split, LayoutOptions(**options))


@pytest.fixture
def train() -> ClipSource:
    """Object 2 of the second clip appears late, and object 1 leaves."""
    source = ClipSource("train")
    source.clip("-003234408d", STEMS[:2], {"00000": (1,), "00005": (1,)})
    masks = {"00000": (1,), "00005": (1, 2), "00010": (2,), "00015": ()}
    source.clip("0043f083b5", STEMS, masks)
    names = {
        "-003234408d": {"1": {"category": "penguin", "frames": STEMS[:2]}},
        "0043f083b5": {
            "1": {"category": "giant_panda", "frames": STEMS[:2]},
            "2": {"category": "hat", "frames": STEMS[1:3]},
        },
    }
    source.json("train/meta.json", meta(names))
    return source


@pytest.fixture
def valid() -> ClipSource:
    """Object 2 of the first clip appears later, in a mask that does not show object 1."""
    source = ClipSource("valid")
    source.clip("0062f687f1", STEMS, {"00000": (1,), "00010": (2,)})
    source.clip("00f88c4f0a", STEMS[:2], {"00000": (5,)})
    names = {
        "0062f687f1": {
            "1": {"category": "dog", "frames": STEMS},
            "2": {"category": "cat", "frames": STEMS[2:]},
        },
        "00f88c4f0a": {"5": {"category": "dog", "frames": STEMS[:2]}},
    }
    source.json("valid/meta.json", meta(names))
    return source


@pytest.fixture
def valid_all_frames() -> ClipSource:
    source = ClipSource("valid_all_frames")
    source.clip("0062f687f1", ALL_STEMS, {})
    source.clip("00f88c4f0a", ALL_STEMS[:8], {})
    return source


class TestTrain(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path, train: ClipSource) -> Normalizer:
        train.write_zip(tmp_path / "train.zip")
        return normalizer_of(tmp_path, "train")


class TestValid(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path, valid: ClipSource) -> Normalizer:
        return normalizer_of(write_folder(tmp_path, valid.members), "valid")


class TestAllFramesOfValid(NormalizerContract):
    @pytest.fixture
    def normalizer(
        self, tmp_path: Path, valid: ClipSource, valid_all_frames: ClipSource
    ) -> Normalizer:
        valid.write_zip(tmp_path / "valid.zip")
        valid_all_frames.write_zip(tmp_path / "valid_all_frames.zip")
        return normalizer_of(tmp_path, "valid_all_frames")


def test_the_category_of_an_object_is_its_phrase(tmp_path: Path, train: ClipSource) -> None:
    train.write_zip(tmp_path / "train.zip")
    first = read(normalizer_of(tmp_path, "train"), "0043f083b5")[0]
    assert [(item.object_id, item.category, item.phrases) for item in first.annotations] == [
        (1, "giant_panda", ("giant panda",)),
        (2, "hat", ("hat",)),
    ]


def test_in_train_what_a_mask_does_not_show_is_hidden(tmp_path: Path, train: ClipSource) -> None:
    train.write_zip(tmp_path / "train.zip")
    frames = read(normalizer_of(tmp_path, "train"), "0043f083b5")
    assert [areas(frame) for frame in frames] == [
        {1: 22, 2: 0},
        {1: 22, 2: 22},
        {1: 0, 2: 22},
        {1: 0, 2: 0},
    ]
    assert frames[2].key == "0043f083b5.00010"


def test_in_valid_nothing_is_said_of_what_a_mask_does_not_show(
    tmp_path: Path, valid: ClipSource
) -> None:
    valid.write_zip(tmp_path / "valid.zip")
    frames = read(normalizer_of(tmp_path, "valid"), "0062f687f1")
    assert [areas(frame) for frame in frames] == [{1: 22}, {}, {2: 22}, {}]
    assert {frame.quarantine for frame in frames} == {None}


def test_all_frames_take_masks_and_names_from_the_other_archive(
    tmp_path: Path, valid: ClipSource, valid_all_frames: ClipSource
) -> None:
    valid.write_zip(tmp_path / "valid.zip")
    valid_all_frames.write_zip(tmp_path / "valid_all_frames.zip")
    normalizer = normalizer_of(tmp_path, "valid_all_frames")
    frames = read(normalizer, "0062f687f1")
    assert len(frames) == 20
    assert {frame.frame: areas(frame) for frame in frames if frame.annotations} == {
        0: {1: 22},
        10: {2: 22},
    }
    assert frames[10].annotations[0].category == "cat"
    assert sorted(normalizer.sources()) == ["valid.zip", "valid_all_frames.zip"]


def test_both_versions_share_the_layout(tmp_path: Path, train: ClipSource) -> None:
    train.write_zip(tmp_path / "train.zip")
    files = local_files(tmp_path, "youtube-vos-2018", "train")
    older = youtube_vos_2018(files, "train", LayoutOptions())
    assert older.groups() == normalizer_of(tmp_path, "train").groups()
    assert older.version == "youtube-vos-2018-1"


def test_the_meta_file_is_the_list_of_clips(tmp_path: Path, train: ClipSource) -> None:
    train.clip("ffffffffff", STEMS, {"00000": (1,)})
    train.write_zip(tmp_path / "train.zip")
    keys = [group.key for group in normalizer_of(tmp_path, "train").groups()]
    assert keys == ["-003234408d", "0043f083b5"]
    everything = normalizer_of(tmp_path, "train", clips="*")
    assert len(everything.groups()) == 3
    assert read(everything, "ffffffffff")[0].annotations[0].phrases == ()


def test_clips_of_the_meta_file_must_be_there(tmp_path: Path, train: ClipSource) -> None:
    for name in [name for name in train.members if "-003234408d" in name]:
        del train.members[name]
    train.write_zip(tmp_path / "train.zip")
    with pytest.raises(IncompleteError, match=r"1 of 2 clips of train/meta\.json .*: -003234408d"):
        normalizer_of(tmp_path, "train").groups()


def test_without_meta_file_the_masks_say_all(tmp_path: Path, train: ClipSource) -> None:
    del train.members["train/meta.json"]
    train.write_zip(tmp_path / "train.zip")
    normalizer = normalizer_of(tmp_path, "train")
    assert len(normalizer.groups()) == 2
    assert {item.category for item in read(normalizer, "0043f083b5")[0].annotations} == {None}


def test_another_meta_file_may_be_named(tmp_path: Path, train: ClipSource) -> None:
    del train.members["train/meta.json"]
    train.json("train/mine.json", meta({"0043f083b5": {"2": {"category": "cap"}}}))
    train.write_zip(tmp_path / "train.zip")
    normalizer = normalizer_of(tmp_path, "train", annotations="mine.json")
    assert [group.key for group in normalizer.groups()] == ["0043f083b5"]
    categories = [item.category for item in read(normalizer, "0043f083b5")[0].annotations]
    assert categories == [None, "cap"]
    with pytest.raises(IncompleteError, match=r"no file other\.json\. Check --annotations"):
        normalizer_of(tmp_path, "train", annotations="other.json").groups()
    with pytest.raises(UsageError, match="--images means nothing for youtube-vos-2019"):
        normalizer_of(tmp_path, "train", images="x")


def test_a_changed_meta_file_is_another_source(tmp_path: Path, train: ClipSource) -> None:
    train.write_zip(tmp_path / "a" / "train.zip")
    before = normalizer_of(tmp_path / "a", "train").sources()
    train.members["train/meta.json"] = train.members["train/meta.json"].replace(b"hat", b"cap")
    train.write_zip(tmp_path / "b" / "train.zip")
    assert normalizer_of(tmp_path / "b", "train").sources() != before


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"clips": {}}, "videos"),
        ({"videos": []}, r"\$\.videos"),
        ({"videos": {"c": {"objects": [1]}}}, r"\$\.videos\[\.\.\.\]\.objects"),
        ({"videos": {"c": {"objects": {"one": {}}}}}, "'one'"),
        ({"videos": {"c": {"objects": {"1": {"category": 3}}}}}, r"\$\.category"),
    ],
)
def test_a_malformed_meta_file_is_named(
    tmp_path: Path, train: ClipSource, content: object, field: str
) -> None:
    train.json("train/meta.json", content)
    train.write_zip(tmp_path / "train.zip")
    with pytest.raises(DataError, match=rf"train/meta\.json does not name clips.*{field}"):
        normalizer_of(tmp_path, "train").groups()


def test_masks_without_frame_and_clips_without_masks_are_counted(
    tmp_path: Path, train: ClipSource
) -> None:
    del train.members["train/JPEGImages/0043f083b5/00010.jpg"]
    for stem in STEMS[:2]:
        del train.members[f"train/Annotations/-003234408d/{stem}.png"]
    train.write_zip(tmp_path / "train.zip")
    normalizer = normalizer_of(tmp_path, "train")
    assert normalizer.dropped() == {"masks_without_frame": 1, "clips_without_masks": 1}
    assert len(read(normalizer, "0043f083b5")) == 3


def test_one_split_is_never_taken_for_another(tmp_path: Path, valid: ClipSource) -> None:
    write_folder(tmp_path, valid.members)
    with pytest.raises(IncompleteError, match=r"no folder train/JPEGImages .*valid/JPEGImages"):
        normalizer_of(tmp_path, "train").groups()
    found = open_splits("youtube-vos-2019", [], tmp_path, LayoutOptions(), downloaded=False)
    assert [normalizer.split for normalizer in found] == ["valid"]


def test_the_folder_of_a_split_may_be_given_itself(tmp_path: Path, train: ClipSource) -> None:
    write_folder(tmp_path, train.members)
    assert len(normalizer_of(tmp_path / "train", "train").groups()) == 2


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the shared fixtures are not here")
def test_real_clips_whose_objects_appear_later_and_vanish() -> None:
    normalizer = normalizer_of(FIXTURES / "youtube-vos", "train")
    assert [(group.key, group.rows) for group in normalizer.groups()] == [
        ("-t-NFaw9mv0_4", 15),
        ("0pV_HO8Om0U_4", 12),
    ]
    frames = {frame.key: areas(frame) for frame in read(normalizer, "0pV_HO8Om0U_4")}
    assert frames["0pV_HO8Om0U_4.00000"][3] == 0
    assert frames["0pV_HO8Om0U_4.00005"][3] > 0
    assert frames["0pV_HO8Om0U_4.00045"] == {1: 0, 2: 0, 3: 0}
    last = read(normalizer, "-t-NFaw9mv0_4")[-1]
    assert last.key == "-t-NFaw9mv0_4.00100"
    assert [number for number, area in areas(last).items() if area == 0] == [3, 4]
