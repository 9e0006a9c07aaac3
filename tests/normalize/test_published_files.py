"""Every real sample beside the project, normalized by the command; its counts are those stated.

What a sample lacks, as pictures that nobody may pass on, is made with the size that it states.
"""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.media.images import decode_image, decode_indexed
from pipelines.store.local import LocalObjectStore
from pipelines.store.splits import Split
from schemas.errors import DataError
from schemas.masks import mask_from_coco
from tests.cli.test_normalize import invoke
from tests.fixtures import FIXTURES
from tests.media.videos import make_mp4
from tests.normalize.archives import palette_png

pytestmark = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the shared fixtures are not here")

DAVIS, SACO, SAV = FIXTURES / "davis", FIXTURES / "sa-co", FIXTURES / "sa-v"
IMAGES = FIXTURES / "images"
FOLDERS = ("--frames", "JPEGImages", "--masks", "Annotations", "--clips", "*")
NOTHING = np.zeros((1, 1), dtype=np.uint8)


def normalized(root: Path, dataset: str, split: str, source: Path, *options: str) -> dict[str, Any]:
    """Return what the split holds, without what is 0."""
    arguments = (dataset, "--split", split, "--from", str(source), "--root", str(root / "root"))
    result = invoke(*arguments, "--any-count", "--json", *options)
    assert result.exit_code == 0, result.output
    (described,) = json.loads(result.stdout)
    record = described["record"]
    assert record["quarantined"] == {}
    counts = {"phrases": record["phrases"], "rows": record["rows"], **record["counts"]}
    return {name: count for name, count in counts.items() if count}


def blank(width: int, height: int) -> bytes:
    body = io.BytesIO()
    Image.new("RGB", (width, height)).save(body, "JPEG")
    return body.getvalue()


def test_coco_val2017_4_images_14_persons(tmp_path: Path) -> None:
    options = ("--annotations", "person_keypoints_val2017_subset.json")
    assert normalized(tmp_path, "coco", "val2017", FIXTURES / "coco", *options) == {
        "rows": 4, "images": 4, "annotations": 14, "objects": 14, "phrases": 1,
    }  # fmt: skip


def test_lvis_v05_100_images_977_polygons_7_images_without(tmp_path: Path) -> None:
    published = FIXTURES / "lvis/annotations/lvis_v0.5_val_100.json"
    records = json.loads(published.read_bytes())["images"]
    source = tmp_path / "lvis"
    (source / "val2017").mkdir(parents=True)
    shutil.copy(published, source)
    for record in records:
        name = record["coco_url"].rpartition("/")[2]
        body = blank(record["width"], record["height"])
        (source / "val2017" / name).write_bytes(body)
    found = normalized(tmp_path, "lvis", "val", source, "--annotations", published.name)
    assert {name: found[name] for name in ("rows", "images", "annotations", "objects")} == {
        "rows": 100, "images": 100, "annotations": 977, "objects": 977,
    }  # fmt: skip
    split = Split.open(LocalObjectStore(tmp_path / "root"), "lvis", "val")
    tables = [split.samples_table(shard).to_pylist() for shard in range(split.record.shards)]
    rows = [row for table in tables for row in table]
    assert len([row for row in rows if row["not_exhaustive"]]) == 12
    with_objects = {row["image_id"] for row in json.loads(published.read_bytes())["annotations"]}
    assert len({int(row["key"]) for row in rows} - with_objects) == 7


def test_sa_1b_7_masks(tmp_path: Path) -> None:
    source = tmp_path / "sa_000020"
    shutil.copytree(FIXTURES / "sa-1b" / "sa_000020", source)
    (source / "sa_226381.jpg").write_bytes(blank(2000, 1500))
    assert normalized(tmp_path, "sa-1b", "train", source) == {
        "rows": 1, "images": 1, "annotations": 7, "objects": 7,
    }  # fmt: skip


def test_sa_v_121_frames_5_manual_and_9_automatic_objects(tmp_path: Path) -> None:
    source = tmp_path / "sav"
    source.mkdir()
    for path in SAV.glob("*.json"):
        shutil.copy(path, source)
    mp4 = make_mp4(483, size=(480, 848), options={"preset": "ultrafast"})
    (source / "sav_000001.mp4").write_bytes(mp4)
    # 125 masks of people and 137 of SAM 2 are empty; object 3 comes with frame 113.
    assert normalized(tmp_path, "sa-v", "train", source, "--keep-video") == {
        "rows": 121, "clips": 1, "frames": 121, "annotations": 121 * 14, "objects": 14,
        "object_frames": 121 * 14 - 113, "empty_masks": 125 + 137,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("dataset", "source", "clip", "options", "counts"),
    [
        # Masks on 4 of 16 frames, of which one is a pixel narrower than its frame.
        ("davis", DAVIS, "judo", ("--masks", "cutie_masks", "--resize-masks"), (16, 4, 16)),
        ("davis", DAVIS, "judo", ("--masks", "results_osvos"), (16, 2, 32)),
        # 4 frames with 20 proposals each.
        (
            "davis-unsupervised", DAVIS, "judo", ("--masks", "results_rvos_unsupervised"),
            (16, 20, 80),
        ),
        # A mask on the first of 10 frames.
        (
            "lvos-v2", FIXTURES / "vspw-8digit", "*",
            ("--frames", "JPEGImages", "--masks", "Annotations"), (10, 44, 44),
        ),
    ],
)  # fmt: skip
def test_clips(
    tmp_path: Path,
    dataset: str,
    source: Path,
    clip: str,
    options: tuple[str, ...],
    counts: tuple[int, int, int],
) -> None:
    split = "test" if dataset == "lvos-v2" else "val"
    found = normalized(tmp_path, dataset, split, source, "--clips", clip, *options)
    assert (found["frames"], found["objects"], found["annotations"]) == counts


def test_a_clip_of_4_frames_whose_first_has_2_objects(tmp_path: Path) -> None:
    for kind in ("JPEGImages", "Annotations"):
        shutil.copytree(DAVIS / "bike" / kind, tmp_path / "source" / kind / "bike")
    found = normalized(tmp_path, "davis", "val", tmp_path / "source", *FOLDERS)
    assert (found["frames"], found["objects"], found["annotations"]) == (4, 2, 2)


def test_youtube_vos_two_clips_of_4_and_3_objects(tmp_path: Path) -> None:
    assert normalized(tmp_path, "youtube-vos-2019", "train", FIXTURES / "youtube-vos") == {
        "rows": 27, "clips": 2, "frames": 27, "annotations": 96, "objects": 7, "object_frames": 95,
        "empty_masks": 13,
    }  # fmt: skip


def test_frames_without_leading_zeros_come_in_order(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "video/unpadded_frames", tmp_path / "source/JPEGImages/0001")
    (tmp_path / "source/Annotations/0001").mkdir(parents=True)
    (tmp_path / "source/Annotations/0001/0.png").write_bytes(palette_png(NOTHING))
    found = normalized(tmp_path, "davis", "val", tmp_path / "source", *FOLDERS, "--resize-masks")
    assert found["frames"] == 12
    split = Split.open(LocalObjectStore(tmp_path / "root"), "davis", "val")
    keys = [sample.key for sample in split.samples(0)]
    assert keys == [f"0001.{number}" for number in range(12)]


@pytest.mark.parametrize(
    ("dataset", "split", "name", "counts"),
    [
        ("sa-co-gold", "test", "gold_metaclip_merged_a_release_test.json", (2, 2, 1)),
        ("sa-co-silver", "test", "silver_droid_merged_test.json", (1, 1, 0)),
        ("sa-co-veval", "test", "saco_veval_sav_test.json", (8, 33, 1)),
    ],
)
def test_phrases(
    tmp_path: Path, dataset: str, split: str, name: str, counts: tuple[int, int, int]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    if dataset == "sa-co-veval":
        shutil.copy(SACO / "veval/toy_saco_veval_sav_test_gt.json", source / name)
    else:
        folder = SACO / dataset.removeprefix("sa-co-")
        parts = ("images", "annotations")
        samples = {p: json.loads((folder / f"readme_sample_{p}.json").read_bytes()) for p in parts}
        (source / name).write_text(json.dumps(samples))
    found = normalized(tmp_path, dataset, split, source)
    assert (found["uses"], found["objects"], found.get("negatives", 0)) == counts
    assert found["phrases"] == counts[0]


def test_734_published_run_lengths_decode() -> None:
    results = json.loads(
        (FIXTURES / "coco/results/instances_val2014_fakesegm100_results.json").read_bytes()
    )
    runs = [result["segmentation"] for result in results]
    masks = [mask_from_coco(run, run["size"][0], run["size"][1], "published") for run in runs]
    assert len(masks) == 734
    assert all(mask.area > 0 for mask in masks)


@pytest.mark.parametrize(
    ("path", "clips"),
    [
        ("davis/empty_masks.json", 90),
        ("mose/empty_masks_train.json", 1507),
        ("youtube-vos/empty_masks_train.json", 3471),
    ],
)
def test_every_published_clip_can_be_a_key(tmp_path: Path, path: str, clips: int) -> None:
    names = json.loads((FIXTURES / path).read_bytes())
    source = tmp_path / "source"
    for name in names:
        (source / "JPEGImages" / name).mkdir(parents=True)
        (source / "JPEGImages" / name / "00000.jpg").write_bytes(blank(1, 1))
        (source / "Annotations" / name).mkdir(parents=True)
        (source / "Annotations" / name / "00000.png").write_bytes(palette_png(NOTHING))
    found = normalized(tmp_path, "davis", "val", source, *FOLDERS, "--rows-per-shard", "4096")
    assert (found["clips"], found["frames"]) == (clips, clips)


def test_24_masks_wider_than_the_others_of_davis_hold_two_objects() -> None:
    paths = sorted((DAVIS / "results_osvos/bike-packing").glob("*.png"))
    masks = [decode_indexed(path.read_bytes(), path.name) for path in paths]
    assert {mask.shape for mask in masks} == {(480, 910)}
    assert (len(masks), np.unique(masks).tolist()) == (24, [0, 1, 2])


@pytest.mark.parametrize("name", ["truck", "groceries", "dog", "cars", "test_image"])
def test_plain_photographs_decode_as_pillow_decodes_them(name: str) -> None:
    path = IMAGES / f"{name}.jpg"
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(decode_image(path.read_bytes(), name), expected)


def test_a_tiff_is_refused() -> None:
    body = (IMAGES / "odd/tiff_strip_cmyk_jpeg.tif").read_bytes()
    with pytest.raises(DataError, match=r"odd: unsupported: .*expected JPEG, PNG or WebP"):
        decode_image(body, "odd")
