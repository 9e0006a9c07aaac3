from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from pycocotools import mask as coco

from pipelines.demo.sa1b_archives import write_sa1b_links
from tests.demo.archive_contents import Contents, open_image, read_tar, read_tar_gz

ANNOTATION_KEYS = {
    "id", "segmentation", "bbox", "area", "predicted_iou", "stability_score", "crop_box",
    "point_coords",
}  # fmt: skip


@pytest.fixture(scope="module")
def members(origin: Path) -> Contents:
    plain = read_tar((origin / "sa-1b/sa_000000.tar").read_bytes())
    gzipped = read_tar_gz((origin / "sa-1b/sa_000001.tar").read_bytes())
    assert {name.rpartition("/")[0] for name in plain} == {"."}
    assert {name.rpartition("/")[0] for name in gzipped} == {"sa_000001"}
    return {name.rpartition("/")[2]: body for name, body in (plain | gzipped).items()}


@pytest.fixture(scope="module")
def images(members: Contents) -> list[dict[str, Any]]:
    return [json.loads(body) for name, body in sorted(members.items()) if name.endswith(".json")]


def test_each_image_has_its_json(members: Contents, images: list[dict[str, Any]]) -> None:
    assert len(images) == 8
    assert len(members) == 16
    for record in images:
        image = record["image"]
        assert image["file_name"] == f"sa_{image['image_id']}.jpg"
        picture = open_image(members[image["file_name"]])
        assert picture.format == "JPEG"
        assert picture.size == (image["width"], image["height"])


def test_masks_areas_and_boxes_agree(images: list[dict[str, Any]]) -> None:
    for record in images:
        size = [record["image"]["height"], record["image"]["width"]]
        assert record["annotations"]
        for annotation in record["annotations"]:
            assert annotation.keys() == ANNOTATION_KEYS
            rle = annotation["segmentation"]
            assert rle["size"] == size
            assert coco.area(rle) == annotation["area"] >= 100
            x, y, width, height = coco.toBbox(rle).tolist()
            assert annotation["bbox"] == [x, y, width - 1, height - 1]
            ((column, row),) = annotation["point_coords"]
            assert coco.decode(rle)[int(row), int(column)] == 1
            assert 0 < annotation["predicted_iou"] <= 1
            assert 0 < annotation["stability_score"] <= 1


def test_ids_are_unique_and_exceed_32_bits(images: list[dict[str, Any]]) -> None:
    ids = [annotation["id"] for record in images for annotation in record["annotations"]]
    assert len(set(ids)) == len(ids)
    assert min(ids) < 2**31 < max(ids)


def test_masks_differ_and_some_nest(images: list[dict[str, Any]]) -> None:
    nested = 0
    for record in images:
        masks = [coco.decode(found["segmentation"]) for found in record["annotations"]]
        for number, one in enumerate(masks):
            for other in masks[number + 1 :]:
                assert not np.array_equal(one, other)
                nested += bool((one & other).any())
    assert nested


def test_crop_boxes_are_whole_numbers_in_some_files(images: list[dict[str, Any]]) -> None:
    kinds = {
        type(value)
        for record in images
        for annotation in record["annotations"]
        for value in annotation["crop_box"]
    }
    assert kinds == {int, float}


def test_links_are_a_list_as_published(tmp_path: Path) -> None:
    write_sa1b_links(tmp_path, "http://127.0.0.1:1/old")
    text = write_sa1b_links(tmp_path, "http://127.0.0.1:8000/sa-1b/").read_text()
    header, *rows = text.split("\n")
    assert header == "file_name\tcdn_link"
    assert not text.endswith("\n")
    links = dict(row.split("\t") for row in rows)
    assert links.keys() == {"sa_000000.tar", "sa_000001.tar"}
    for name, link in links.items():
        parts = urlsplit(link)
        assert link.startswith(f"http://127.0.0.1:8000/sa-1b/{name}?")
        assert int(parse_qs(parts.query)["oe"][0], 16) > time.time() + 365 * 86400
