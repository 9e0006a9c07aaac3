from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.normalize.base import LayoutOptions, Normalizer
from pipelines.normalize.davis import davis, davis_2016, davis_unsupervised
from pipelines.normalize.registry import open_splits
from pipelines.normalize.sources import local_files
from schemas.errors import DataError, IncompleteError, UnknownNameError, UsageError
from schemas.samples import Sample
from tests.contracts.normalizer_contract import NormalizerContract
from tests.fixtures import FIXTURES
from tests.normalize.archives import (
    DavisSource,
    Indices,
    jpeg,
    objects,
    palette_png,
    write_folder,
    write_zip,
)


def normalizer_of(folder: Path, split: str = "val", **options: Any) -> Normalizer:
    return davis(local_files(folder, "davis", split), split, LayoutOptions(**options))


def read(normalizer: Normalizer, clip: str) -> list[Sample]:
    group = next(group for group in normalizer.groups() if group.key == clip)
    return list(normalizer.read(group))


def areas(sample: Sample) -> dict[int, int]:
    return {item.object_id: item.mask.area for item in sample.annotations if item.mask is not None}


@pytest.fixture
def source() -> DavisSource:
    return DavisSource()


class TestDavisZip(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path) -> Normalizer:
        return normalizer_of(DavisSource().write(tmp_path))


class TestUnpackedClipsWithoutLists(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path) -> Normalizer:
        members = {
            name.replace("DAVIS/", "train/").replace("480p/", ""): body
            for name, body in DavisSource().members.items()
            if not name.endswith(".txt")
        }
        return normalizer_of(write_folder(tmp_path, members), "train")


def test_the_list_of_the_split_decides(tmp_path: Path, source: DavisSource) -> None:
    source.write(tmp_path)
    assert [(g.key, g.rows) for g in normalizer_of(tmp_path).groups()] == [("ant", 2), ("boat", 4)]
    assert [g.key for g in normalizer_of(tmp_path, "train").groups()] == ["zebra"]


def test_every_object_of_the_clip_is_on_every_annotated_frame(
    tmp_path: Path, source: DavisSource
) -> None:
    frames = read(normalizer_of(source.write(tmp_path)), "boat")
    assert [areas(frame) for frame in frames] == [
        {1: 22, 2: 0},
        {1: 22, 2: 22},
        {1: 0, 2: 22},
        {1: 0, 2: 0},
    ]
    assert frames[1].key == "boat.00001"


def test_void_is_no_object(tmp_path: Path, source: DavisSource) -> None:
    frames = read(normalizer_of(source.write(tmp_path)), "boat")
    assert [frame.void.area if frame.void else None for frame in frames] == [None, None, 22, None]
    expected = objects(24, 12, 2, 255) == 255
    assert frames[2].void is not None
    np.testing.assert_array_equal(frames[2].void.decode(), expected)


def test_a_frame_without_mask_file_has_no_annotations(tmp_path: Path, source: DavisSource) -> None:
    del source.members["DAVIS/Annotations/480p/boat/00001.png"]
    frames = read(normalizer_of(source.write(tmp_path)), "boat")
    assert [sorted(areas(frame)) for frame in frames] == [[1, 2], [], [1, 2], [1, 2]]
    assert frames[1].quarantine is None


def test_masks_without_frame_are_counted(tmp_path: Path, source: DavisSource) -> None:
    del source.members["DAVIS/JPEGImages/480p/boat/00003.jpg"]
    normalizer = normalizer_of(source.write(tmp_path))
    assert normalizer.dropped() == {"masks_without_frame": 1}
    assert len(read(normalizer, "boat")) == 3


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    members = {f"JPEGImages/c/{number}.jpg": jpeg(8, 8) for number in range(12)}
    members["Annotations/c/0.png"] = palette_png(objects(8, 8, 1))
    frames = read(normalizer_of(write_folder(tmp_path, members), "mine"), "c")
    assert [frame.key for frame in frames] == [f"c.{number}" for number in range(12)]


def test_frame_names_that_are_no_numbers_are_refused(tmp_path: Path, source: DavisSource) -> None:
    source.members["DAVIS/JPEGImages/480p/boat/cover.jpg"] = jpeg(8, 8)
    with pytest.raises(DataError, match="frame 'cover' of clip boat"):
        read(normalizer_of(source.write(tmp_path)), "boat")


def test_a_mask_of_another_size_quarantines_its_frame(tmp_path: Path, source: DavisSource) -> None:
    source.members["DAVIS/Annotations/480p/boat/00001.png"] = palette_png(objects(23, 12, 1, 2))
    frames = read(normalizer_of(source.write(tmp_path)), "boat")
    assert frames[1].quarantine == "mask-size: mask 23x12, frame 24x12"
    assert [frame.quarantine for frame in frames[2:]] == [None, None]


def test_or_is_resized_on_demand(tmp_path: Path, source: DavisSource) -> None:
    small = objects(12, 6, 1, 2)
    source.members["DAVIS/Annotations/480p/boat/00001.png"] = palette_png(small)
    normalizer = normalizer_of(source.write(tmp_path), resize_masks=True)
    frame = read(normalizer, "boat")[1]
    assert frame.quarantine is None
    (first, _) = frame.annotations
    assert first.mask is not None
    np.testing.assert_array_equal(first.mask.decode(), np.kron(small == 1, np.ones((2, 2))))


def test_options_are_part_of_the_version(tmp_path: Path, source: DavisSource) -> None:
    source.write(tmp_path)
    assert normalizer_of(tmp_path).version == "davis-1"
    found = normalizer_of(tmp_path, clips="b*", resize_masks=True).version
    assert found == "davis-1 --clips=b* --resize-masks=True"


def test_colour_and_binary_and_cut_masks_quarantine_their_frame(
    tmp_path: Path, source: DavisSource
) -> None:
    def grey(*ids: int) -> bytes:
        body = io.BytesIO()
        Image.fromarray(objects(24, 12, *ids)).save(body, "PNG")
        return body.getvalue()

    colour = io.BytesIO()
    Image.new("RGB", (24, 12)).save(colour, "PNG")
    folder = "DAVIS/Annotations/480p/boat"
    source.members[f"{folder}/00000.png"] = colour.getvalue()
    source.members[f"{folder}/00001.png"] = grey(255)
    source.members[f"{folder}/00002.png"] = grey(1)[:45]
    source.members[f"{folder}/00003.png"] = grey(1, 255)
    reasons = [frame.quarantine for frame in read(normalizer_of(source.write(tmp_path)), "boat")]
    for reason, part in zip(reasons, ("mode RGB", "binary mask", "00002.png"), strict=False):
        assert reason is not None
        assert reason.startswith("bad-mask: ")
        assert part in reason
    assert reasons[3] is None


def test_an_unreadable_frame_is_a_quarantined_row(tmp_path: Path, source: DavisSource) -> None:
    source.members["DAVIS/JPEGImages/480p/boat/00000.jpg"] = b"\xff\xd8\xff"
    first, *others = read(normalizer_of(source.write(tmp_path)), "boat")
    assert first.quarantine is not None
    assert first.quarantine.startswith(("truncated: ", "undecodable: "))
    assert others[0].quarantine is None


def test_listed_clips_must_be_there(tmp_path: Path, source: DavisSource) -> None:
    source.members["DAVIS/ImageSets/2017/val.txt"] += b"cow\n"
    with pytest.raises(IncompleteError, match=r"1 of 3 clips .*: cow"):
        normalizer_of(source.write(tmp_path)).groups()


def test_a_split_without_list_is_refused_when_others_have_one(
    tmp_path: Path, source: DavisSource
) -> None:
    source.write(tmp_path)
    with pytest.raises(IncompleteError, match="'vall'; expected one of train, val"):
        normalizer_of(tmp_path, "vall").groups()
    assert [group.key for group in normalizer_of(tmp_path, "vall", clips="[bz]*").groups()] == [
        "boat",
        "zebra",
    ]
    with pytest.raises(IncompleteError, match=r"no clip of .* matches"):
        normalizer_of(tmp_path, clips="x*").groups()


def test_all_listed_splits_are_found(tmp_path: Path, source: DavisSource) -> None:
    found = open_splits("davis", [], source.write(tmp_path), LayoutOptions(), downloaded=False)
    assert [normalizer.split for normalizer in found] == ["train", "val"]
    archive = tmp_path / "DAVIS-2017-trainval-480p.zip"
    again = open_splits("davis", ["val"], archive, LayoutOptions(), downloaded=False)
    assert again[0].groups() == found[1].groups()


def test_folders_that_cannot_be_guessed(tmp_path: Path) -> None:
    members = {f"{place}/JPEGImages/c/0.jpg": jpeg(8, 8) for place in ("a", "b")}
    members["a/marks/c/0.png"] = palette_png(objects(8, 8, 1))
    write_folder(tmp_path, members)
    with pytest.raises(UsageError, match=r"several folders JPEGImages: .*a/JPEGImages.*--frames"):
        normalizer_of(tmp_path, "x").groups()
    with pytest.raises(IncompleteError, match=r"no folder Annotations/480p or .*--masks"):
        normalizer_of(tmp_path, "x", frames="a/JPEGImages").sources()
    found = read(normalizer_of(tmp_path, "x", frames="a/JPEGImages", masks="marks"), "c")
    assert areas(found[0]) == {1: 14}


def test_names_that_cannot_be_keys_are_refused(tmp_path: Path, source: DavisSource) -> None:
    source.clip("b.c", [(1,)])
    source.members["DAVIS/ImageSets/2017/val.txt"] += b"b.c\n"
    with pytest.raises(DataError, match=r"'b\.c' cannot be the key"):
        normalizer_of(source.write(tmp_path)).groups()


def test_unknown_data_sets_and_absent_sources(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean davis"):
        open_splits("daviss", [], tmp_path, LayoutOptions(), downloaded=False)
    with pytest.raises(IncompleteError, match="samdistill download davis"):
        open_splits("davis", [], tmp_path / "raw", LayoutOptions(), downloaded=True)


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the shared fixtures are not here")
class TestRealClips:
    def test_judo_with_sparse_masks_of_which_one_has_another_size(self) -> None:
        options = {"masks": "cutie_masks", "clips": "judo"}
        frames = read(normalizer_of(FIXTURES / "davis", "judo", **options), "judo")
        assert len(frames) == 16
        assert frames[5].quarantine == "mask-size: mask 853x480, frame 854x480"
        assert {number for number in range(16) if frames[number].annotations} == {0, 8, 13}
        assert [number for number, area in areas(frames[8]).items() if area] == [3]
        resized = normalizer_of(FIXTURES / "davis", "judo", resize_masks=True, **options)
        assert [number for number, area in areas(read(resized, "judo")[5]).items() if area] == [2]

    def test_youtube_vos_objects_appear_later_and_vanish(self) -> None:
        normalizer = normalizer_of(FIXTURES / "youtube-vos", "train")
        assert [group.key for group in normalizer.groups()] == ["-t-NFaw9mv0_4", "0pV_HO8Om0U_4"]
        frames = {frame.key: areas(frame) for frame in read(normalizer, "0pV_HO8Om0U_4")}
        assert set(frames["0pV_HO8Om0U_4.00000"]) == {1, 2, 3}
        assert frames["0pV_HO8Om0U_4.00000"][3] == 0
        assert frames["0pV_HO8Om0U_4.00005"][3] > 0
        assert set(frames["0pV_HO8Om0U_4.00045"].values()) == {0}


class TestDavis2016(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path) -> Normalizer:
        return davis_2016_of(tmp_path)


class TestDavisUnsupervised(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path, source: DavisSource) -> Normalizer:
        return unsupervised_of(tmp_path, source)


def davis_2016_of(folder: Path) -> Normalizer:
    """Masks are grey, 255 is the object, and lists have a frame and its mask per line."""
    members: dict[str, bytes] = {}
    lines = []
    for clip, values in {"bear": (255, 0), "camel": (255,)}.items():
        for number, value in enumerate(values):
            frame = f"JPEGImages/480p/{clip}/{number:05d}.jpg"
            mask = f"Annotations/480p/{clip}/{number:05d}.png"
            members[f"DAVIS/{frame}"] = jpeg(24, 12, number)
            members[f"DAVIS/{mask}"] = grey_png(objects(24, 12, value))
            lines.append(f"/{frame} /{mask}\n")
    members["DAVIS/JPEGImages/480p/cows/00000.jpg"] = jpeg(24, 12)
    members["DAVIS/ImageSets/480p/val.txt"] = "".join(lines).encode()
    members["DAVIS/ImageSets/480p/trainval.txt"] = b"/JPEGImages/480p/cows/00000.jpg /A/0.png\n"
    write_zip(folder / "DAVIS-data.zip", members)
    return davis_2016(local_files(folder, "davis-2016", "val"), "val", LayoutOptions())


def unsupervised_of(folder: Path, source: DavisSource) -> Normalizer:
    """Objects have other ids, and there are more of them, than in the other annotations."""
    members = {
        name.replace("DAVIS/Annotations/", "DAVIS/Annotations_unsupervised/"): body
        for name, body in source.members.items()
    }
    body = palette_png(objects(24, 12, 1, 5, 255))
    members["DAVIS/Annotations_unsupervised/480p/boat/00000.png"] = body
    write_zip(folder / "DAVIS-2017-Unsupervised-trainval-480p.zip", members)
    files = local_files(folder, "davis-unsupervised", "val")
    return davis_unsupervised(files, "val", LayoutOptions())


def grey_png(indices: Indices) -> bytes:
    body = io.BytesIO()
    Image.fromarray(indices).save(body, "PNG")
    return body.getvalue()


def test_in_davis_2016_255_is_the_object(tmp_path: Path) -> None:
    normalizer = davis_2016_of(tmp_path)
    assert [(group.key, group.rows) for group in normalizer.groups()] == [("bear", 2), ("camel", 1)]
    frames = read(normalizer, "bear")
    assert [(areas(frame), frame.void) for frame in frames] == [({1: 22}, None), ({1: 0}, None)]


def test_masks_of_2017_are_not_taken_for_those_of_2016(tmp_path: Path, source: DavisSource) -> None:
    archive = source.write(tmp_path) / "DAVIS-2017-trainval-480p.zip"
    normalizer = davis_2016(local_files(archive, "davis-2016", "val"), "val", LayoutOptions())
    reason = read(normalizer, "boat")[1].quarantine
    assert reason is not None
    assert reason.startswith("bad-mask: ")
    assert "several objects" in reason


def test_unsupervised_masks_are_those_of_their_own_folder(
    tmp_path: Path, source: DavisSource
) -> None:
    frames = read(unsupervised_of(tmp_path, source), "boat")
    assert areas(frames[0]) == {1: 22, 2: 0, 5: 22}
    assert frames[0].void is not None
    members = source.members
    write_zip(tmp_path / "other.zip", members)
    files = local_files(tmp_path / "other.zip", "davis-unsupervised", "val")
    with pytest.raises(IncompleteError, match="no folder Annotations_unsupervised/480p"):
        read(davis_unsupervised(files, "val", LayoutOptions()), "boat")


def test_test_dev_has_masks_of_the_first_frame_only(tmp_path: Path, source: DavisSource) -> None:
    source.members["DAVIS/ImageSets/2017/test-dev.txt"] = b"boat\n"
    for number in range(1, 4):
        del source.members[f"DAVIS/Annotations/480p/boat/{number:05d}.png"]
    write_zip(tmp_path / "DAVIS-2017-test-dev-480p.zip", source.members)
    frames = read(normalizer_of(tmp_path, "test-dev"), "boat")
    assert [areas(frame) for frame in frames] == [{1: 22}, {}, {}, {}]


def test_other_resolutions_are_read_by_naming_their_folders(
    tmp_path: Path, source: DavisSource
) -> None:
    members = {
        name.replace("/480p/", "/Full-Resolution/"): body for name, body in source.members.items()
    }
    archive = write_zip(tmp_path / "DAVIS-2017-trainval-Full-Resolution.zip", members)
    folders = {"frames": "JPEGImages/Full-Resolution", "masks": "Annotations/Full-Resolution"}
    found = normalizer_of(archive, **folders)
    assert [group.key for group in found.groups()] == ["ant", "boat"]
    assert areas(read(found, "boat")[0]) == {1: 22, 2: 0}
