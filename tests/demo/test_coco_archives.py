from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from pipelines.demo.coco_archives import write_coco_archives
from schemas.errors import ConflictError, UsageError


def read_json(origin: Path, name: str) -> dict[str, Any]:
    with zipfile.ZipFile(origin / "coco/annotations/annotations_trainval2017.zip") as archive:
        parsed: dict[str, Any] = json.loads(archive.read(f"annotations/{name}_val2017.json"))
    return parsed


@pytest.fixture(scope="module")
def instances(origin: Path) -> dict[str, Any]:
    return read_json(origin, "instances")


@pytest.fixture(scope="module")
def coco(instances: dict[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = instances
    coco.createIndex()
    return coco


def test_images_are_those_of_the_index(origin: Path, instances: dict[str, Any]) -> None:
    modes = Counter[str]()
    with zipfile.ZipFile(origin / "coco/zips/val2017.zip") as archive:
        assert archive.testzip() is None
        members = [entry for entry in archive.infolist() if not entry.is_dir()]
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in members)
        assert len(instances["images"]) == 24
        names = [f"val2017/{image['file_name']}" for image in instances["images"]]
        assert [entry.filename for entry in members] == names
        for image in instances["images"]:
            assert image["file_name"] == f"{image['id']:012d}.jpg"
            with Image.open(io.BytesIO(archive.read(f"val2017/{image['file_name']}"))) as picture:
                picture.load()
                assert picture.format == "JPEG"
                assert picture.size == (image["width"], image["height"])
                modes[picture.mode] += 1
    assert modes["L"] >= 1
    assert modes["RGB"] >= 12
    shapes = [image["width"] - image["height"] for image in instances["images"]]
    assert min(shapes) < 0 < max(shapes)


def test_records_have_the_official_keys(instances: dict[str, Any]) -> None:
    assert instances.keys() == {"info", "licenses", "images", "annotations", "categories"}
    assert {frozenset(image) for image in instances["images"]} == {
        frozenset(
            ("license", "file_name", "coco_url", "height", "width", "date_captured")
            + ("flickr_url", "id")
        )
    }
    assert {frozenset(annotation) for annotation in instances["annotations"]} == {
        frozenset(("segmentation", "area", "iscrowd", "image_id", "bbox", "category_id", "id"))
    }
    licences = {licence["id"] for licence in instances["licenses"]}
    assert {image["license"] for image in instances["images"]} <= licences
    for table in ("images", "annotations", "categories"):
        numbers = [record["id"] for record in instances[table]]
        assert len(numbers) == len(set(numbers))
    categories = [category["id"] for category in instances["categories"]]
    assert categories != list(range(1, len(categories) + 1)), "COCO's ids have gaps"


# pycocotools 2.0.11 predates the copy keyword of numpy 2; its answer is right.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_masks_areas_and_boxes_agree(coco: COCO) -> None:
    for annotation in coco.anns.values():
        mask = coco.annToMask(annotation)
        assert int(mask.sum()) == pytest.approx(annotation["area"], rel=0.04, abs=12)
        rows, columns = np.nonzero(mask)
        x, y, width, height = annotation["bbox"]
        tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert (x, y, x + width, y + height) == pytest.approx(tight, abs=1.01)


def test_polygons_are_rings_inside_the_image(coco: COCO) -> None:
    for annotation in coco.anns.values():
        if annotation["iscrowd"]:
            continue
        image = coco.imgs[annotation["image_id"]]
        for ring in annotation["segmentation"]:
            points = np.reshape(ring, (-1, 2))
            assert len(points) >= 3
            assert points.min() >= 0
            assert (points <= (image["width"], image["height"])).all()


def test_one_crowd_and_images_with_many_and_without_objects(coco: COCO) -> None:
    crowds = [annotation for annotation in coco.anns.values() if annotation["iscrowd"]]
    assert len(crowds) == 1
    runs = crowds[0]["segmentation"]
    image = coco.imgs[crowds[0]["image_id"]]
    assert runs["size"] == [image["height"], image["width"]]
    assert sum(runs["counts"]) == image["height"] * image["width"]
    assert sum(runs["counts"][1::2]) == crowds[0]["area"]
    per_image = [len(coco.imgToAnns[key]) for key in coco.imgs]
    assert 0 in per_image
    assert sum(count >= 2 for count in per_image) > len(per_image) / 2


def test_every_image_has_a_caption(origin: Path, instances: dict[str, Any]) -> None:
    captions = read_json(origin, "captions")
    assert captions["images"] == instances["images"]
    assert "categories" not in captions
    captioned = {record["image_id"] for record in captions["annotations"]}
    assert captioned == {image["id"] for image in instances["images"]}
    assert all(record["caption"] for record in captions["annotations"])


def test_more_images_extend_fewer(tmp_path: Path, origin: Path) -> None:
    images, *_ = write_coco_archives(tmp_path, images=3)
    with zipfile.ZipFile(images) as few, zipfile.ZipFile(origin / "coco/zips/val2017.zip") as many:
        assert len(few.namelist()) == 4
        for name in few.namelist():
            assert few.read(name) == many.read(name)


def test_another_content_in_its_place_is_refused(tmp_path: Path) -> None:
    write_coco_archives(tmp_path, images=1)
    write_coco_archives(tmp_path, images=1)
    with pytest.raises(ConflictError, match=r"val2017\.zip"):
        write_coco_archives(tmp_path, images=2)


def test_no_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 or more"):
        write_coco_archives(tmp_path, images=0)
