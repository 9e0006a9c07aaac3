from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.jobs.plan_shards import plan_shards
from pipelines.normalize.base import LayoutOptions, Normalizer
from pipelines.normalize.checks import checked
from pipelines.normalize.sa1b import Sa1b
from pipelines.normalize.sources import local_files
from schemas.errors import DataError, IncompleteError, UsageError
from schemas.samples import Sample
from tests.contracts.normalizer_contract import NormalizerContract
from tests.fixtures import FIXTURES
from tests.normalize.archives import jpeg, write_folder
from tests.normalize.sa1b_source import (
    HEIGHT,
    WIDTH,
    archives,
    masks_file,
    members,
    write_tar,
)

HELD = ["sa_689"]


def opened(*paths: Path, split: str = "train") -> Sa1b:
    return Sa1b(archives(*paths), split, LayoutOptions())


def samples(normalizer: Normalizer) -> dict[str, Sample]:
    return {
        sample.key: sample for group in normalizer.groups() for sample in normalizer.read(group)
    }


def one(tmp_path: Path, change: dict[str, Any], **mask: Any) -> Sample:
    """Read image 7 after a change of its JSON; ``mask`` changes its first annotation."""
    files = members(7)
    body = masks_file(7) | change
    body["annotations"][0] |= mask
    files["sa_7.json"] = json.dumps(body).encode()
    return samples(opened(write_tar(tmp_path / "sa_000000.tar", files)))["sa_7"]


class TestFlatTar(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path) -> Normalizer:
        return opened(write_tar(tmp_path / "sa_000000.tar", members(1, 2, 3)))


class TestTarsWithFolder(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path) -> Normalizer:
        return opened(
            write_tar(tmp_path / "sa_000000.tar", members(1, 20, folder="sa_000000/")),
            write_tar(tmp_path / "sa_000001.tar", members(3, folder="./")),
        )


class TestUnpacked(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path) -> Normalizer:
        folder = write_folder(tmp_path / "images", members(1, 2))
        return Sa1b(local_files(folder, "sa-1b", "train"), "train", LayoutOptions())


def test_masks_carry_what_the_generator_said(tmp_path: Path) -> None:
    first, second, _ = one(tmp_path, {}).annotations
    assert first.object_id == 3_000_000_700
    assert (first.predicted_iou, first.stability) == (0.9, 0.95)
    assert (first.points, first.crop_box) == (((4.5, 4.25),), (0.0, 0.0, WIDTH, HEIGHT))
    assert (first.category, first.phrases, first.exhaustive) == (None, (), None)
    assert second.mask is not None
    assert second.box == second.mask.box == (4.0, 3.0, 11.0, 10.0)


def test_the_published_width_is_one_less(tmp_path: Path) -> None:
    bbox = masks_file(7)["annotations"][0]["bbox"]
    assert bbox == [3.0, 2.0, 7.0, 6.0]
    assert one(tmp_path, {}).annotations[0].box == (3.0, 2.0, 11.0, 9.0)


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        ({"area": 1}, "annotation 3000000700: area; expected 1"),
        ({"bbox": [9.0, 2.0, 7.0, 6.0]}, "annotation 3000000700: bbox"),
        ({"bbox": [9.0, 2.0, -7.0, 6.0]}, "bbox; expected finite"),
        ({"segmentation": {"size": [WIDTH, HEIGHT], "counts": "x"}}, "mask size"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "o"}}, "a complete last run"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "1"}}, "pixels in all"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6]]}, "Expected `object`"),
        ({"id": 3_000_000_701}, "unique ids"),
        ({"predicted_iou": None}, "predicted_iou"),
    ],
)
def test_an_annotation_that_breaks_the_rules_quarantines_its_image(
    tmp_path: Path, mask: dict[str, Any], reason: str
) -> None:
    sample = one(tmp_path, {}, **mask)
    assert sample.quarantine is not None
    assert sample.quarantine.startswith("bad-annotation: ")
    assert reason in sample.quarantine
    assert (sample.width, sample.height) == (WIDTH, HEIGHT)


def test_json_of_another_image_is_refused(tmp_path: Path) -> None:
    sample = one(tmp_path, {"image": masks_file(8)["image"]})
    assert "file_name; expected sa_7; got 'sa_8.jpg'" in (sample.quarantine or "")


def test_a_size_that_is_not_the_images_is_quarantined(tmp_path: Path) -> None:
    files = members(7) | {"sa_7.jpg": jpeg(HEIGHT, WIDTH)}
    sample = samples(opened(write_tar(tmp_path / "sa_000000.tar", files)))["sa_7"]
    assert (checked(sample).quarantine or "").startswith("size-mismatch")


@pytest.mark.parametrize("lacking", ["jpg", "json"])
def test_half_a_pair_is_a_quarantined_row(tmp_path: Path, lacking: str) -> None:
    files = members(7, 8)
    del files[f"sa_7.{lacking}"]
    found = samples(opened(write_tar(tmp_path / "sa_000000.tar", files)))
    assert found["sa_7"].quarantine == f"missing: sa_7.{lacking}"
    assert (found["sa_7"].width, found["sa_7"].height) == (WIDTH, HEIGHT)
    assert found["sa_8"].quarantine is None


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    files = members(7) | {"LICENSE.txt": b"", "other.jpg": b"", "sa_x.json": b"", "._sa_9.jpg": b""}
    assert list(samples(opened(write_tar(tmp_path / "sa_000000.tar", files)))) == ["sa_7"]


def test_an_image_in_two_archives_is_refused(tmp_path: Path) -> None:
    paths = [write_tar(tmp_path / f"sa_00000{n}.tar", members(7)) for n in range(2)]
    with pytest.raises(DataError, match=r"sa_7\.jpg is in .* twice"):
        opened(*paths).groups()


def test_the_held_out_split_is_a_function_of_the_names(tmp_path: Path) -> None:
    numbers = range(1, 3000)
    blank = {f"sa_{number}.jpg": b"" for number in numbers}
    path = write_tar(tmp_path / "sa_000000.tar", blank)
    held = [group.key for group in opened(path, split="val").groups()]
    rest = [group.key for group in opened(path).groups()]
    # Written down: these images are held out on every machine, for ever.
    assert held == HELD
    assert sorted(held + rest) == sorted(f"sa_{number}" for number in numbers)


def test_archives_that_are_added_move_no_earlier_row(tmp_path: Path) -> None:
    first = write_tar(tmp_path / "sa_000020.tar", members(5, 6, 7, 8, 9))
    later = write_tar(tmp_path / "sa_000021.tar", members(1, 2))
    alone = plan_shards(opened(first).groups(), 3)
    both = plan_shards(opened(first, later).groups(), 3)
    assert [plan.rows for plan in both] == [3, 2, 2]
    assert both[:2] == alone


def test_a_split_that_is_not_there_says_so(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "sa_000000.tar", members(7))
    with pytest.raises(IncompleteError, match=r"no images of SA-1B's val"):
        opened(path, split="val").groups()
    with pytest.raises(UsageError, match="--images means nothing for sa-1b"):
        Sa1b(archives(path), "train", LayoutOptions(images="x"))


@pytest.mark.skipif(not FIXTURES.exists(), reason="no fixtures here")
def test_a_published_file(tmp_path: Path) -> None:
    body = (FIXTURES / "sa-1b" / "sa_000020" / "sa_226381.json").read_bytes()
    files = {"sa_226381.json": body, "sa_226381.jpg": jpeg(2000, 1500)}
    found = samples(opened(write_tar(tmp_path / "sa_000020.tar", files)))["sa_226381"]
    assert checked(found).quarantine is None
    published = json.loads(body)["annotations"]
    assert len(found.annotations) == len(published) == 7
    for annotation, record in zip(found.annotations, published, strict=True):
        assert annotation.mask is not None
        assert annotation.box == annotation.mask.box
        assert annotation.mask.area == record["area"]
