from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.demo.clips import TRAIN_CLIPS, VAL_CLIPS, Clip
from pipelines.demo.davis_archives import VOID, write_davis_archives
from schemas.errors import UsageError
from tests.demo.archive_contents import indices, open_image, read_zip, under

CLIPS = VAL_CLIPS[:4] + TRAIN_CLIPS


@pytest.fixture(scope="module")
def archive(origin: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(origin / "davis/DAVIS-2017-trainval-480p.zip") as archive:
        yield archive


def read_image(archive: zipfile.ZipFile, name: str) -> Image.Image:
    image = Image.open(io.BytesIO(archive.read(name)))
    image.load()
    return image


def masks(archive: zipfile.ZipFile, clip: str) -> list[np.ndarray]:
    return [
        np.asarray(read_image(archive, f"DAVIS/Annotations/480p/{clip}/{number:05d}.png"))
        for number in range(12)
    ]


def areas(archive: zipfile.ZipFile, clip: str) -> np.ndarray:
    """Return ``[frames, 4]`` pixels of objects 0 to 3."""
    counts = [np.bincount(mask.ravel(), minlength=256)[:4] for mask in masks(archive, clip)]
    return np.stack(counts)


def test_each_clip_belongs_to_one_split(archive: zipfile.ZipFile) -> None:
    train, val = (
        archive.read(f"DAVIS/ImageSets/2017/{split}.txt").decode().splitlines()
        for split in ("train", "val")
    )
    assert len(val) == 4
    assert len(train) == 2
    assert not set(train) & set(val)
    folders = {name.split("/")[3] for name in archive.namelist() if name.endswith(".jpg")}
    assert folders == {*train, *val}


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_frames_and_masks_belong_together(archive: zipfile.ZipFile, clip: Clip) -> None:
    palette = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]
    for number in range(12):
        frame = read_image(archive, f"DAVIS/JPEGImages/480p/{clip.name}/{number:05d}.jpg")
        mask = read_image(archive, f"DAVIS/Annotations/480p/{clip.name}/{number:05d}.png")
        assert (frame.format, frame.mode) == ("JPEG", "RGB")
        assert (mask.format, mask.mode) == ("PNG", "P")
        assert frame.size == mask.size == clip.size
        assert all(side % 2 == 0 for side in frame.size)
        assert (mask.getpalette() or [])[:15] == palette


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_ids_are_the_objects_with_a_thin_void_between(archive: zipfile.ZipFile, clip: Clip) -> None:
    seen: set[int] = set()
    for mask in masks(archive, clip.name):
        ids = set(np.unique(mask).tolist())
        assert ids <= {*range(len(clip.outlines) + 1), VOID}
        assert 0 < np.mean(mask == VOID) < 0.05
        seen |= ids - {0, VOID}
    assert seen == set(range(1, len(clip.outlines) + 1))


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_objects_move_smoothly_under_one_id(archive: zipfile.ZipFile, clip: Clip) -> None:
    for before, after in zip(
        masks(archive, clip.name), masks(archive, clip.name)[1:], strict=False
    ):
        one, two = before == 1, after == 1
        assert (one & two).sum() / (one | two).sum() > 0.6


def test_an_object_appears_after_the_first_frame(archive: zipfile.ZipFile) -> None:
    helmet = areas(archive, "astronaut-tilt")[:, 3]
    assert helmet[0] == 0
    assert helmet[-1] > 1000


def test_an_object_vanishes_before_the_last_frame(archive: zipfile.ZipFile) -> None:
    bench = areas(archive, "motorcycle-pan")[:, 2]
    assert bench[0] > 1000
    assert bench[-1] == 0


@pytest.mark.parametrize("clip", VAL_CLIPS + TRAIN_CLIPS, ids=lambda clip: clip.name)
def test_the_camera_stays_on_the_photograph(clip: Clip) -> None:
    width, height = clip.photograph.open().size
    for shot_x, shot_y, shot_width in (clip.first, clip.last):
        half, tall = shot_width / 2, shot_width * clip.size[1] / clip.size[0] / 2
        assert half <= shot_x <= width - half
        assert tall <= shot_y <= height - tall


@pytest.mark.parametrize(("clips", "frames"), [(0, 12), (6, 12), (4, 1)])
def test_impossible_counts_are_refused(tmp_path: Path, clips: int, frames: int) -> None:
    with pytest.raises(UsageError, match="count of"):
        write_davis_archives(tmp_path, clips=clips, frames=frames)


def test_unsupervised_has_the_clips_with_other_ids(origin: Path) -> None:
    contents = read_zip(origin / "davis-unsupervised/DAVIS-2017-Unsupervised-trainval-480p.zip")
    clips = contents["DAVIS/ImageSets/2017/val.txt"].decode().split()
    assert clips == ["motorcycle-pan", "astronaut-tilt"]
    masks = under(contents, "DAVIS/Annotations_unsupervised/480p/motorcycle-pan")
    frames = list(VAL_CLIPS[0].frames(8))
    assert len(masks) == len(frames)
    for body, frame in zip(masks.values(), frames, strict=True):
        mask = indices(body)
        clear = mask != VOID
        assert np.array_equal((mask == 3)[clear], (frame.objects == 1)[clear])
    assert set(np.unique(mask)) <= {0, 1, 2, 3, VOID}
    assert not any(name.startswith("DAVIS/Annotations/") for name in contents)


def test_2016_has_one_object_in_masks_without_palette(origin: Path) -> None:
    contents = read_zip(origin / "davis-2016/DAVIS-data.zip")
    lines = contents["DAVIS/ImageSets/480p/val.txt"].decode().splitlines()
    assert len(lines) == 2 * 8
    for line in lines:
        frame, mask = (f"DAVIS{path}" for path in line.split())
        grey = open_image(contents[mask])
        assert grey.mode == "L"
        assert grey.getpalette() is None
        assert set(np.unique(np.asarray(grey))) == {0, 255}
        assert open_image(contents[frame]).size == grey.size
