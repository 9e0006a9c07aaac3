from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.media.images import decode_image, verify_image
from pipelines.normalize.base import LayoutOptions, Normalizer
from pipelines.normalize.sav import sa_v
from pipelines.normalize.sources import local_files
from schemas.errors import DataError, IncompleteError, UsageError
from schemas.samples import Sample
from tests.contracts.normalizer_contract import NormalizerContract
from tests.fixtures import FIXTURES
from tests.media.videos import make_mp4, number_of, packets
from tests.normalize.archives import jpeg, objects, palette_png, write_folder
from tests.normalize.sav_source import HEIGHT, WIDTH, SavTrain, SavVal, binary_png, write_tar

FIXTURE = FIXTURES / "sa-v"


def normalizer_of(folder: Path, split: str = "train", **options: Any) -> Normalizer:
    return sa_v(local_files(folder, "sa-v", split), split, LayoutOptions(**options))


def read(normalizer: Normalizer, clip: str) -> list[Sample]:
    group = next(group for group in normalizer.groups() if group.key == clip)
    return list(normalizer.read(group))


def areas(sample: Sample) -> dict[int, int]:
    return {item.object_id: item.mask.area for item in sample.annotations if item.mask is not None}


def reasons(samples: list[Sample]) -> set[str | None]:
    return {sample.quarantine for sample in samples}


@pytest.fixture
def train() -> SavTrain:
    return SavTrain()


@pytest.fixture
def val() -> SavVal:
    return SavVal()


class TestTrainTar(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path) -> Normalizer:
        return normalizer_of(SavTrain().write(tmp_path))


class TestTrainFolderWithAllFrames(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path) -> Normalizer:
        return normalizer_of(write_folder(tmp_path, SavTrain().members), every=1)


class TestTrainTarWithItsVideos(NormalizerContract):
    extension = "mp4"

    @pytest.fixture
    def normalizer(self, tmp_path: Path) -> Normalizer:
        return normalizer_of(SavTrain().write(tmp_path), keep_video=True)


class TestValTar(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path) -> Normalizer:
        return normalizer_of(SavVal().write(tmp_path), "val")


class TestTestFolder(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path) -> Normalizer:
        return normalizer_of(write_folder(tmp_path, SavVal("test").members), "test", every=2)


class TestTrain:
    def test_samples_are_the_annotated_frames(self, tmp_path: Path, train: SavTrain) -> None:
        found = read(normalizer_of(train.write(tmp_path)), "sav_000001")
        assert [sample.key.partition(".")[2] for sample in found] == ["00000", "00004", "00008"]
        numbers = [number_of(decode_image(sample.encoded, sample.key)) for sample in found]
        assert numbers == [0, 4, 8]
        assert {(sample.width, sample.height) for sample in found} == {(WIDTH, HEIGHT)}

    def test_both_kinds_of_objects_have_ids_of_their_own(
        self, tmp_path: Path, train: SavTrain
    ) -> None:
        found = read(normalizer_of(train.write(tmp_path)), "sav_000001")
        # An empty mask says hidden; where the file has null, nothing is known.
        assert [areas(sample) for sample in found] == [
            {0: 40, 1: 0, 10_000: 40},
            {1: 0, 10_000: 40},
            {0: 40, 1: 40, 10_000: 0},
        ]
        stability = {item.object_id: item.stability for item in found[0].annotations}
        assert stability == {0: None, 1: None, 10_000: 0.5}

    def test_more_frames_have_masks_only_where_they_are_annotated(
        self, tmp_path: Path, train: SavTrain
    ) -> None:
        found = read(normalizer_of(train.write(tmp_path), every=2), "sav_000001")
        assert [len(sample.annotations) for sample in found] == [3, 0, 2, 0, 3]
        numbers = [number_of(decode_image(sample.encoded, sample.key)) for sample in found]
        assert numbers == [0, 2, 4, 6, 8]

    def test_fewer_frames_have_the_masks_of_their_own_frame(
        self, tmp_path: Path, train: SavTrain
    ) -> None:
        found = read(normalizer_of(train.write(tmp_path), every=8), "sav_000001")
        assert [areas(sample)[1] for sample in found] == [0, 40]

    @pytest.mark.parametrize("every", [3, 5, 6])
    def test_steps_that_miss_masks_are_refused(
        self, tmp_path: Path, train: SavTrain, every: int
    ) -> None:
        train.write(tmp_path)
        with pytest.raises(UsageError, match="1, 2, or a multiple of 4"):
            normalizer_of(tmp_path, every=every)

    def test_clips_come_by_archive_and_then_by_name(self, tmp_path: Path) -> None:
        members = SavTrain().members
        for tar, clip in (("sav_000.tar", "sav_000002"), ("sav_001.tar", "sav_000001")):
            write_tar(
                tmp_path / tar, {name: body for name, body in members.items() if clip in name}
            )
        groups = normalizer_of(tmp_path).groups()
        assert [(group.part, group.key) for group in groups] == [
            ("sav_000.tar", "sav_000002"),
            ("sav_001.tar", "sav_000001"),
        ]

    def test_other_frame_counts_leave_no_frame_sound(self, tmp_path: Path, train: SavTrain) -> None:
        train.video("sav_000001", 11)
        found = read(normalizer_of(train.write(tmp_path)), "sav_000001")
        reason = "frame-count: the video has 11 frames, its masklets say 10"
        assert len(found) == 3
        assert reasons(found) == {reason}
        assert [sample.quarantine for sample in read(normalizer_of(tmp_path), "sav_000002")] == [
            None
        ]

    def test_frames_before_damage_are_sound(self, tmp_path: Path, train: SavTrain) -> None:
        mp4 = make_mp4(10, size=(WIDTH, HEIGHT), options={"bf": "0"})
        place, _, _ = packets(mp4)[6]
        train.members["sav_train/sav_000/sav_000001.mp4"] = (
            mp4[:place] + b"\xff\xff\xff\xff" + mp4[place + 4 :]
        )
        found = read(normalizer_of(train.write(tmp_path), every=1), "sav_000001")
        assert [sample.quarantine is None for sample in found] == [True] * 6 + [False] * 4
        assert str(found[6].quarantine).startswith("undecodable: frame 6: ")
        assert [sample.frame for sample in found] == list(range(10))

    def test_a_missing_video_is_rows(self, tmp_path: Path, train: SavTrain) -> None:
        del train.members["sav_train/sav_000/sav_000001.mp4"]
        found = read(normalizer_of(train.write(tmp_path)), "sav_000001")
        assert [sample.quarantine for sample in found] == ["missing: sav_000001.mp4"] * 3

    def test_a_video_without_masklets_is_counted(self, tmp_path: Path, train: SavTrain) -> None:
        del train.members["sav_train/sav_000/sav_000002_manual.json"]
        normalizer = normalizer_of(train.write(tmp_path))
        assert [group.key for group in normalizer.groups()] == ["sav_000001"]
        assert normalizer.dropped() == {"videos_without_masklets": 1}

    def test_another_size_than_stated_is_found(self, tmp_path: Path, train: SavTrain) -> None:
        train.members["sav_train/sav_000/sav_000002.mp4"] = make_mp4(4, size=(HEIGHT, WIDTH))
        (sample,) = read(normalizer_of(train.write(tmp_path)), "sav_000002")
        assert str(sample.quarantine).startswith("size-mismatch: the image is 80x48")

    def test_frames_need_no_second_look_and_are_what_was_decoded(
        self, tmp_path: Path, train: SavTrain
    ) -> None:
        found = read(normalizer_of(train.write(tmp_path)), "sav_000001")
        assert {sample.verified for sample in found} == {True}
        for sample in found:
            assert verify_image(sample.encoded, sample.key) == (sample.width, sample.height)

    def test_quality_is_stated_and_told(self, tmp_path: Path, train: SavTrain) -> None:
        train.write(tmp_path)
        best, worst = (normalizer_of(tmp_path, quality=quality) for quality in (95, 30))
        small, large = (read(one, "sav_000002")[0] for one in (worst, best))
        assert len(small.encoded) < len(large.encoded)
        assert large.encoded == read(normalizer_of(tmp_path), "sav_000002")[0].encoded
        assert " jpeg-30 " in worst.version
        with pytest.raises(UsageError, match="--quality means nothing for sa-v val"):
            normalizer_of(tmp_path, "val", quality=90)

    def test_videos_are_kept_and_their_frames_checked(
        self, tmp_path: Path, train: SavTrain
    ) -> None:
        mp4 = make_mp4(10, size=(WIDTH, HEIGHT), options={"bf": "0"})
        place, _, _ = packets(mp4)[6]
        damaged = mp4[:place] + b"\xff\xff\xff\xff" + mp4[place + 4 :]
        train.members["sav_train/sav_000/sav_000001.mp4"] = damaged
        found = read(normalizer_of(train.write(tmp_path), every=1, keep_video=True), "sav_000001")
        assert [sample.quarantine is None for sample in found] == [True] * 6 + [False] * 4
        assert {sample.encoded for sample in found[:6]} == {damaged}
        assert {sample.member for sample in found[:6]} == {"sav_000001.mp4"}
        assert found[4].key == "sav_000001.00004"

    def test_keeping_videos_is_stated_and_has_no_quality(
        self, tmp_path: Path, train: SavTrain
    ) -> None:
        train.write(tmp_path)
        assert normalizer_of(tmp_path, keep_video=True).version == "sa-v-1 --keep-video=True"
        with pytest.raises(UsageError, match="--quality means nothing with --keep-video"):
            normalizer_of(tmp_path, keep_video=True, quality=90)
        with pytest.raises(UsageError, match="--keep-video means nothing for sa-v val"):
            normalizer_of(tmp_path, "val", keep_video=True)

    @pytest.mark.parametrize(
        ("changes", "part"),
        [
            ({"video_id": "sav_000003"}, "video_id"),
            ({"masklet": []}, "1 annotated frames"),
            ({"masklet": [[]]}, "1 objects"),
            ({"masklet_id": [0, 0], "masklet_num": 2}, "different numbers"),
            ({"masklet_id": [10_000]}, "different numbers"),
            ({"masklet_num": 2}, "masklet_num"),
            ({"fps": 24}, "fps"),
            ({"video_width": 47.5}, "whole numbers"),
            ({"masklet": [[{"size": [HEIGHT, WIDTH], "counts": "0"}]]}, "masklet 0 on frame 0"),
            ({"masklet": [[{"size": [WIDTH, HEIGHT], "counts": "0"}]]}, "mask size"),
            ({"masklet": [[{"size": [WIDTH], "counts": "0"}]]}, "masklet"),
        ],
    )
    def test_broken_masklets_quarantine_their_clip(
        self, tmp_path: Path, train: SavTrain, changes: dict[str, Any], part: str
    ) -> None:
        train.masklets("sav_000002", 4, [[True]], "manual", **changes)
        found = read(normalizer_of(train.write(tmp_path)), "sav_000002")
        (reason,) = reasons(found)
        assert str(reason).startswith("bad-annotation: ")
        assert part in str(reason)

    def test_files_of_one_clip_must_agree(self, tmp_path: Path, train: SavTrain) -> None:
        train.masklets("sav_000001", 9, [[True], [True], [False]], kind="auto")
        (reason,) = reasons(read(normalizer_of(train.write(tmp_path)), "sav_000001"))
        assert "as in sav_train/sav_000/sav_000001_manual.json" in str(reason)

    def test_a_masklet_file_that_is_cut_off(self, tmp_path: Path, train: SavTrain) -> None:
        name = "sav_train/sav_000/sav_000001_manual.json"
        train.members[name] = train.members[name][:-9]
        found = read(normalizer_of(train.write(tmp_path)), "sav_000001")
        assert len(found) == 3
        (reason,) = reasons(found)
        assert str(reason).startswith("bad-annotation: ")

    def test_options(self, tmp_path: Path, train: SavTrain) -> None:
        train.write(tmp_path)
        assert [g.key for g in normalizer_of(tmp_path, clips="*2").groups()] == ["sav_000002"]
        with pytest.raises(IncompleteError, match="whose name matches 'x'"):
            normalizer_of(tmp_path, clips="x").groups()
        with pytest.raises(UsageError, match="--masks means nothing for sa-v train"):
            normalizer_of(tmp_path, masks="m")
        assert normalizer_of(tmp_path, every=2).version.endswith(" --every=2")

    def test_a_source_without_videos(self, tmp_path: Path, val: SavVal) -> None:
        with pytest.raises(IncompleteError, match="no video with masklets"):
            normalizer_of(val.write(tmp_path)).groups()


class TestFrames:
    def test_the_list_decides(self, tmp_path: Path, val: SavVal) -> None:
        groups = normalizer_of(val.write(tmp_path), "val").groups()
        assert [(group.key, group.rows) for group in groups] == [
            ("sav_000007", 3),
            ("sav_000009", 3),
        ]

    def test_a_missing_png_says_hidden_up_to_the_last_of_the_clip(
        self, tmp_path: Path, val: SavVal
    ) -> None:
        normalizer = normalizer_of(val.write(tmp_path), "val")
        found = read(normalizer, "sav_000007")
        assert [areas(sample) for sample in found] == [{0: 22, 1: 0}, {0: 22, 1: 0}, {0: 0, 1: 22}]
        assert [areas(sample) for sample in read(normalizer, "sav_000009")] == [{3: 0}, {3: 22}, {}]

    def test_all_frames_keep_their_bytes(self, tmp_path: Path, val: SavVal) -> None:
        found = read(normalizer_of(val.write(tmp_path), "val", every=1), "sav_000007")
        assert [sample.encoded for sample in found] == [jpeg(24, 12, n) for n in range(9)]
        assert [len(sample.annotations) for sample in found] == [2, 0, 0, 0, 2, 0, 0, 0, 2]

    def test_both_splits_in_one_folder(self, tmp_path: Path, val: SavVal) -> None:
        other = SavVal("test")
        other.members["sav_test/sav_test.txt"] = b"sav_000011\n"
        write_folder(tmp_path, val.members | other.members)
        assert len(normalizer_of(tmp_path, "val").groups()) == 2
        assert [g.key for g in normalizer_of(tmp_path, "test").groups()] == ["sav_000011"]

    def test_bad_masks_quarantine_their_frame(self, tmp_path: Path, val: SavVal) -> None:
        val.mask("sav_000007", 0, 4, palette_png(objects(24, 12, 1, 2)))
        val.mask("sav_000007", 1, 8, binary_png(objects(23, 12, 1)))
        found = read(normalizer_of(val.write(tmp_path), "val"), "sav_000007")
        assert found[0].quarantine is None
        assert "several objects" in str(found[1].quarantine)
        assert "expected 24x12; got 23x12" in str(found[2].quarantine)

    def test_masks_without_frame_are_counted(self, tmp_path: Path, val: SavVal) -> None:
        val.mask("sav_000007", 0, 12, binary_png(objects(24, 12, 1)))
        normalizer = normalizer_of(val.write(tmp_path), "val")
        assert normalizer.dropped() == {"masks_without_frame": 1}

    def test_masks_of_another_depth_are_refused(self, tmp_path: Path, val: SavVal) -> None:
        val.members["sav_val/Annotations_6fps/sav_000007/00000.png"] = b""
        with pytest.raises(DataError, match=r"CLIP/OBJECT/FRAME\.png"):
            normalizer_of(val.write(tmp_path), "val").sources()

    def test_a_split_that_is_not_there(self, tmp_path: Path, train: SavTrain) -> None:
        with pytest.raises(IncompleteError, match="JPEGImages_24fps"):
            normalizer_of(train.write(tmp_path), "val").groups()


@pytest.mark.skipif(not FIXTURE.is_dir(), reason="fixtures are not here")
def test_published_masklets_of_one_clip(tmp_path: Path) -> None:
    """The masklet files are the published ones; the video is not, it only has their length."""
    members = {file.name: file.read_bytes() for file in FIXTURE.glob("*.json")}
    members["sav_000001.mp4"] = make_mp4(483, size=(480, 848), options={"preset": "ultrafast"})
    found = read(normalizer_of(write_folder(tmp_path, members), every=80), "sav_000001")
    assert reasons(found) == {None}
    assert len(found) == 7
    assert {(sample.width, sample.height) for sample in found} == {(480, 848)}
    ids = [*range(5), *range(10_000, 10_009)]
    assert all([item.object_id for item in sample.annotations] == ids for sample in found)
    first = areas(found[0])
    # masklet_first_appeared_frame says that object 3 appears on annotated frame 113.
    assert [areas(sample)[3] for sample in found[:6]] == [0] * 6
    assert areas(found[6])[0] >= 0
    assert all(first[number] > 0 for number in (0, 1, 2, 4))
    stability = {item.object_id: item.stability for item in found[0].annotations}
    assert stability[10_000] == 1.0
    assert stability[0] is None
