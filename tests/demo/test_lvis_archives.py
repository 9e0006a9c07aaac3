from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines.demo.categories import CATEGORIES
from pipelines.demo.coco_archives import coco_views
from pipelines.demo.lvis_categories import SENSES
from schemas.masks import mask_from_coco
from tests.demo.archive_contents import open_image, read_zip

IMAGE_KEYS = {
    "id", "license", "coco_url", "flickr_url", "width", "height", "date_captured",
    "neg_category_ids", "not_exhaustive_category_ids",
}  # fmt: skip


def read_json(origin: Path, split: str) -> dict[str, Any]:
    contents = read_zip(origin / f"lvis/lvis_v1_{split}.json.zip")
    assert list(contents) == [f"lvis_v1_{split}.json"]
    parsed: dict[str, Any] = json.loads(contents[f"lvis_v1_{split}.json"])
    return parsed


@pytest.fixture(scope="module")
def val(origin: Path) -> dict[str, Any]:
    return read_json(origin, "val")


def test_images_are_members_of_the_archives_of_coco(origin: Path, val: dict[str, Any]) -> None:
    pictures = read_zip(origin / "coco/zips/val2017.zip")
    pictures |= read_zip(origin / "coco/zips/train2017.zip")
    splits = Counter[str]()
    for image in val["images"]:
        assert image.keys() == IMAGE_KEYS
        member = "/".join(image["coco_url"].rsplit("/", 2)[1:])
        assert open_image(pictures[member]).size == (image["width"], image["height"])
        splits[member.split("/")[0]] += 1
    assert splits == {"val2017": 24, "train2017": 2}
    train = {image["id"] for image in read_json(origin, "train")["images"]}
    assert len(train) == 4
    assert not train & {image["id"] for image in val["images"]}


def test_categories_have_senses(val: dict[str, Any]) -> None:
    assert SENSES.keys() == CATEGORIES.keys()
    assert [record["id"] for record in val["categories"]] == list(range(1, len(SENSES) + 1))
    names = [record["name"] for record in val["categories"]]
    assert names == sorted(names)
    counted = Counter(record["category_id"] for record in val["annotations"])
    for record in val["categories"]:
        assert re.fullmatch(r"[a-z_]+\.n\.\d\d", record["synset"])
        assert record["name"] in record["synonyms"]
        assert record["def"]
        assert record["instance_count"] == counted[record["id"]]
        images = record["image_count"]
        assert record["frequency"] == ("r" if images <= 10 else "c")


def test_annotations_are_polygons_of_the_objects(val: dict[str, Any]) -> None:
    views = {key: view for split in coco_views().values() for key, view in split.items()}
    keys = {"id", "image_id", "category_id", "segmentation", "area", "bbox"}
    assert len({record["id"] for record in val["annotations"]}) == len(val["annotations"])
    for record in val["annotations"]:
        assert record.keys() == keys
        view = views[record["image_id"]]
        width, height = view.size
        mask = mask_from_coco(record["segmentation"], height, width, "test")
        source = view.labels() == record["id"] % 100
        assert mask.area == pytest.approx(record["area"], rel=0.04, abs=12)
        # The polygon is simplified, has no holes, and lacks tiny parts.
        assert (mask.decode() & source).sum() > 0.95 * source.sum()


def test_what_is_absent_and_what_is_not_exhaustive(val: dict[str, Any]) -> None:
    present: dict[int, set[int]] = {}
    for record in val["annotations"]:
        present.setdefault(record["image_id"], set()).add(record["category_id"])
    known = {record["id"] for record in val["categories"]}
    partial = set()
    for image in val["images"]:
        negatives = set(image["neg_category_ids"])
        assert len(negatives) == 3
        assert negatives <= known
        assert not negatives & present.get(image["id"], set())
        partial |= set(image["not_exhaustive_category_ids"])
    assert partial == {SENSES["coin"].id}
    assert any(image["id"] not in present for image in val["images"])
