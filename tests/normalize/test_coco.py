from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.normalize.base import LayoutOptions, Normalizer
from pipelines.normalize.checks import checked
from pipelines.normalize.coco import coco
from pipelines.normalize.coco_stills import CocoStills
from pipelines.normalize.registry import open_splits
from pipelines.normalize.sources import local_files
from schemas.errors import ArchiveError, DataError, IncompleteError, UsageError
from schemas.samples import Sample
from tests.contracts.normalizer_contract import NormalizerContract
from tests.fixtures import FIXTURES
from tests.normalize.archives import CocoSource, jpeg, write_folder, write_zip


def normalizer_of(folder: Path, **options: str) -> CocoStills:
    files = local_files(folder, "coco", "val2017")
    return coco(files, "val2017", LayoutOptions(**options))  # type: ignore[arg-type]


def samples(normalizer: Normalizer) -> dict[str, Sample]:
    return {
        sample.key: sample for group in normalizer.groups() for sample in normalizer.read(group)
    }


@pytest.fixture
def source() -> CocoSource:
    return CocoSource()


class TestCocoZips(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path) -> Normalizer:
        return normalizer_of(CocoSource().write(tmp_path))


class TestCocoFolder(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path) -> Normalizer:
        source = CocoSource()
        return normalizer_of(
            write_folder(tmp_path, source.annotation_members | source.image_members)
        )


def test_objects_have_masks_boxes_and_phrases_in_the_order_of_their_ids(
    tmp_path: Path, source: CocoSource
) -> None:
    found = samples(normalizer_of(source.write(tmp_path)))
    dog, person = found["000000000009"].annotations
    assert (dog.object_id, dog.category, dog.phrases) == (1, "dog", ("dog",))
    assert (person.object_id, person.box) == (3, (2.0, 2.0, 12.0, 12.0))
    assert person.mask is not None
    assert person.mask.area == 100
    assert not person.is_crowd


def test_crowds_are_kept_and_flagged(tmp_path: Path, source: CocoSource) -> None:
    (crowd,) = samples(normalizer_of(source.write(tmp_path)))["000000000025"].annotations
    assert crowd.is_crowd
    assert crowd.mask is not None
    assert crowd.mask.area == 64


def test_images_without_objects_stay(tmp_path: Path, source: CocoSource) -> None:
    sample = samples(normalizer_of(source.write(tmp_path)))["000000000030"]
    assert sample.annotations == ()
    assert sample.captions == ("Two friends.",)


def test_captions_are_one_line_in_the_order_of_their_ids(
    tmp_path: Path, source: CocoSource
) -> None:
    sample = samples(normalizer_of(source.write(tmp_path)))["000000000009"]
    assert sample.captions == ("Two friends.", "A person and a dog.")


def test_the_images_may_lie_below_a_folder_named_images(tmp_path: Path, source: CocoSource) -> None:
    members = {f"images/{name}": body for name, body in source.image_members.items()}
    write_folder(tmp_path, source.annotation_members | members)
    sample = samples(normalizer_of(tmp_path))["000000000009"]
    assert sample.encoded == source.images["000000000009.jpg"]
    assert sample.source.member.endswith("images/val2017/000000000009.jpg")


def test_a_missing_image_is_a_quarantined_row(tmp_path: Path, source: CocoSource) -> None:
    del source.images["000000000025.jpg"]
    sample = samples(normalizer_of(source.write(tmp_path)))["000000000025"]
    assert sample.quarantine == "missing: val2017/000000000025.jpg"
    assert (sample.width, sample.height) == (20, 16)
    assert checked(sample).annotations == ()


def test_half_a_jpeg_is_a_quarantined_row(tmp_path: Path, source: CocoSource) -> None:
    name = "000000000025.jpg"
    source.images[name] = source.images[name][: len(source.images[name]) // 2]
    sample = checked(samples(normalizer_of(source.write(tmp_path)))["000000000025"])
    assert sample.quarantine is not None
    assert sample.quarantine.startswith("truncated: ")
    assert (sample.encoded, sample.annotations) == (b"", ())


def test_an_image_of_another_size_is_a_quarantined_row(tmp_path: Path, source: CocoSource) -> None:
    source.images["000000000042.jpg"] = jpeg(16, 20)
    sample = checked(samples(normalizer_of(source.write(tmp_path)))["000000000042"])
    assert sample.quarantine is not None
    assert sample.quarantine.startswith("size-mismatch: the image is 16x20")


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 2, 3, 4]],
        [[1, 2, "x", 4, 5, 6]],
        {"size": [16, 20], "counts": [1, 2]},
        {"size": [20, 16], "counts": [320]},
        "mask",
        [],
        None,
    ],
)
def test_a_malformed_segmentation_quarantines_its_image_and_is_named(
    tmp_path: Path, source: CocoSource, segmentation: object
) -> None:
    source.instances["annotations"][3]["segmentation"] = segmentation
    found = samples(normalizer_of(source.write(tmp_path)))
    reason = found["000000000042"].quarantine
    assert reason is not None
    assert reason.startswith("bad-annotation: annotation 7: ")
    assert found["000000000009"].quarantine is None


def test_a_malformed_box_quarantines_its_image(tmp_path: Path, source: CocoSource) -> None:
    source.instances["annotations"][3]["bbox"] = [1, 2, -3, 4]
    reason = samples(normalizer_of(source.write(tmp_path)))["000000000042"].quarantine
    assert reason is not None
    assert reason.startswith("bad-annotation: annotation 7: bbox")


def test_records_that_belong_nowhere_are_counted(tmp_path: Path, source: CocoSource) -> None:
    source.instances["annotations"][0]["image_id"] = 1
    source.instances["annotations"][1]["area"] = 0.0
    source.captions["annotations"][0]["image_id"] = 1
    source.captions["annotations"][1]["caption"] = " \n"
    normalizer = normalizer_of(source.write(tmp_path))
    assert normalizer.dropped() == {
        "annotations_without_image": 1,
        "zero_area": 1,
        "captions_without_image": 1,
        "empty_captions": 1,
    }
    assert samples(normalizer)["000000000009"].annotations == ()


@pytest.mark.parametrize("table", ["images", "annotations", "categories"])
def test_ids_that_appear_twice_are_refused(tmp_path: Path, source: CocoSource, table: str) -> None:
    source.instances[table].append(dict(source.instances[table][0]))
    with pytest.raises(DataError, match=r"instances_val2017\.json: \w+ id \d+ appears twice"):
        normalizer_of(source.write(tmp_path)).groups()


def test_an_unknown_category_is_refused(tmp_path: Path, source: CocoSource) -> None:
    source.instances["annotations"][0]["category_id"] = 5
    with pytest.raises(DataError, match="annotation 3 has the category 5"):
        normalizer_of(source.write(tmp_path)).groups()


def test_a_record_of_a_wrong_type_is_named_by_file_field_and_id(
    tmp_path: Path, source: CocoSource
) -> None:
    source.instances["annotations"][2]["image_id"] = "25"
    with pytest.raises(DataError) as caught:
        normalizer_of(source.write(tmp_path)).groups()
    for word in ("instances_val2017.json", "image_id", "annotations with id 2)", "Expected `int`"):
        assert word in str(caught.value)


def test_malformed_json_is_refused(tmp_path: Path, source: CocoSource) -> None:
    body = json.dumps(source.instances).encode()
    write_zip(tmp_path / "val2017.zip", source.image_members)
    write_zip(
        tmp_path / "annotations_trainval2017.zip",
        {"annotations/instances_val2017.json": body[: len(body) // 2]},
    )
    with pytest.raises(DataError, match=r"instances_val2017\.json is not a COCO annotation file"):
        normalizer_of(tmp_path).groups()


def test_a_truncated_zip_is_refused_and_not_taken_for_an_absent_split(
    tmp_path: Path, source: CocoSource
) -> None:
    path = source.write(tmp_path) / "zips" / "val2017.zip"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ArchiveError, match=r"val2017\.zip is damaged"):
        open_splits("coco", [], tmp_path, LayoutOptions(), downloaded=False)


def test_only_splits_that_are_there_are_found(tmp_path: Path, source: CocoSource) -> None:
    source.write(tmp_path)
    found = open_splits("coco", [], tmp_path, LayoutOptions(), downloaded=False)
    assert [normalizer.split for normalizer in found] == ["val2017"]
    with pytest.raises(IncompleteError, match="no folder train2017"):
        open_splits("coco", ["train2017"], tmp_path, LayoutOptions(), downloaded=False)


def test_an_annotation_file_may_be_named(tmp_path: Path, source: CocoSource) -> None:
    write_folder(tmp_path, source.image_members)
    write_folder(tmp_path, {"mine/a.json": json.dumps(source.instances).encode()})
    assert len(normalizer_of(tmp_path, annotations="a.json").groups()) == 4
    assert len(normalizer_of(tmp_path, annotations="mine/*.json").groups()) == 4
    with pytest.raises(IncompleteError, match="--annotations"):
        normalizer_of(tmp_path).groups()
    write_folder(tmp_path, {"other/a.json": b"{}"})
    with pytest.raises(UsageError, match="fits 2 files"):
        normalizer_of(tmp_path, annotations="a.json").groups()


def test_image_info_has_no_annotations(tmp_path: Path, source: CocoSource) -> None:
    body = json.dumps({"images": source.instances["images"], "categories": []}).encode()
    write_folder(tmp_path, source.image_members | {"annotations/image_info_val2017.json": body})
    assert all(not sample.annotations for sample in samples(normalizer_of(tmp_path)).values())


def test_options_of_clips_are_refused(tmp_path: Path, source: CocoSource) -> None:
    with pytest.raises(UsageError, match=r"--masks means nothing for coco.*--annotations"):
        normalizer_of(source.write(tmp_path), masks="x")


def test_a_source_that_changes_has_another_digest(tmp_path: Path, source: CocoSource) -> None:
    before = normalizer_of(source.write(tmp_path / "a")).sources()
    assert before == normalizer_of(source.write(tmp_path / "b")).sources()
    source.captions["annotations"][1]["caption"] = "Two fiends. "
    after = normalizer_of(source.write(tmp_path / "c")).sources()
    assert before["val2017.zip"] == after["val2017.zip"]
    assert before["annotations_trainval2017.zip"] != after["annotations_trainval2017.zip"]


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the shared fixtures are not here")
def test_real_images_of_coco() -> None:
    normalizer = normalizer_of(
        FIXTURES / "coco", annotations="person_keypoints_val2017_subset.json"
    )
    found = samples(normalizer)
    assert sorted(found) == [f"{number:012d}" for number in (785, 40083, 196141, 197388)]
    assert all(checked(sample).quarantine is None for sample in found.values())
    assert sum(len(sample.annotations) for sample in found.values()) == 14
    areas = [
        item.mask.area for sample in found.values() for item in sample.annotations if item.mask
    ]
    assert 27760 in areas


@pytest.mark.parametrize("split", ["test2017", "unlabeled2017"])
def test_splits_of_images_only(tmp_path: Path, source: CocoSource, split: str) -> None:
    body = json.dumps({"images": source.instances["images"], "categories": []}).encode()
    members = {f"{split}/{name}": image for name, image in source.images.items()}
    write_zip(tmp_path / f"{split}.zip", members)
    write_zip(tmp_path / f"image_info_{split}.zip", {f"annotations/image_info_{split}.json": body})
    normalizer = coco(local_files(tmp_path, "coco", split), split, LayoutOptions())
    found = samples(normalizer).values()
    assert [sample.quarantine for sample in found] == [None] * 4
    assert not any(sample.annotations for sample in found)


def test_stuff_is_read_with_the_images_of_its_split(tmp_path: Path, source: CocoSource) -> None:
    grass = {"size": [16, 20], "counts": "P:"}
    source.instances["categories"].append({"id": 124, "name": "grass", "supercategory": "plant"})
    source.instances["annotations"] = [
        {"id": 5, "image_id": 9, "category_id": 124, "segmentation": grass, "area": 1.0}
    ]
    body = json.dumps(source.instances).encode()
    source.write(tmp_path)
    write_zip(
        tmp_path / "stuff_annotations_trainval2017.zip", {"annotations/stuff_val2017.json": body}
    )
    files = local_files(tmp_path, "coco", "stuff_val2017")
    normalizer = coco(files, "stuff_val2017", LayoutOptions())
    found = samples(normalizer)
    assert [item.category for item in found["000000000009"].annotations] == ["grass"]
    assert found["000000000009"].encoded == source.images["000000000009.jpg"]
    assert found["000000000009"].captions == ()
    assert normalizer.categories()[-1].supercategory == "plant"
