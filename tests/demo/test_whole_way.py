"""Each data set from its publisher's server to stored objects, compared pixel by pixel.

The archives are read again here by the standard library, Pillow and pycocotools alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools import mask as rle
from typer.testing import CliRunner

from pipelines.cli.main import build_app
from pipelines.demo.origin import SPLITS, write_link_lists
from pipelines.demo.server import serve_folder
from pipelines.store.local import LocalObjectStore
from pipelines.store.splits import Split
from tests.demo.archive_contents import Contents, open_image, read_tar, read_tar_gz, read_zip

Masks = dict[int, npt.NDArray[np.bool_]]
Row = dict[str, Any]


def command(*arguments: str) -> None:
    result = CliRunner().invoke(build_app(), list(arguments))
    assert result.exit_code == 0, (result.output, result.exception)


def read_all(folder: Path) -> Contents:
    """Return the members of all archives in a raw folder."""
    contents: Contents = {}
    parts: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".zip":
            contents |= read_zip(path)
        elif re.search(r"\.tar(\.gz(\.a[a-z])?)?$", path.name):
            parts.setdefault(path.name.partition(".tar")[0], []).append(path)
    for paths in parts.values():
        body = b"".join(path.read_bytes() for path in paths)
        contents |= read_tar_gz(body) if body.startswith(b"\x1f\x8b") else read_tar(body)
    return contents


def coco_masks(body: bytes) -> dict[str, Masks]:
    """Return the masks of an instances file, by the number of the image."""
    annotations = json.loads(body)
    sizes = {i["id"]: (i["height"], i["width"]) for i in annotations["images"]}
    found: dict[str, Masks] = {str(number): {} for number in sizes}
    for record in annotations["annotations"]:
        shape = record["segmentation"]
        runs = rle.frPyObjects(shape, *sizes[record["image_id"]])
        whole = rle.merge(runs) if isinstance(shape, list) else runs
        found[str(record["image_id"])][record["id"]] = rle.decode(whole).astype(bool)
    return found


def of_coco(contents: Contents, split: str) -> Callable[[Row], Masks]:
    name = next(n for n in contents if n.endswith((f"instances_{split}.json", f"v1_{split}.json")))
    masks = coco_masks(contents[name])
    return lambda row: masks[str(int(row["key"]))]


def of_sa_1b(contents: Contents, _split: str) -> Callable[[Row], Masks]:
    bodies = {name.rpartition("/")[2]: body for name, body in contents.items()}

    def masks(row: Row) -> Masks:
        records = json.loads(bodies[f"{row['key']}.json"])["annotations"]
        return {r["id"]: rle.decode(r["segmentation"]).astype(bool) for r in records}

    return masks


def video_frame(row: Row) -> int:
    """Return the number of a frame among the 24 of each second."""
    return int(row["key"].rpartition(".")[2])


def of_sa_v(contents: Contents, split: str) -> Callable[[Row], Masks]:
    bodies = {name.rpartition("/")[2]: body for name, body in contents.items()}
    pngs = {"/".join(name.split("/")[-3:]): body for name, body in contents.items()}

    def of_train(row: Row) -> Masks:
        found: Masks = {}
        for kind, first in (("manual", 0), ("auto", 10_000)):
            body = bodies.get(f"{row['clip']}_{kind}.json")
            masklets = json.loads(body)["masklet"][video_frame(row) // 4] if body else []
            for number, mask in enumerate(masklets):
                if mask is not None:
                    found[first + number] = rle.decode(mask).astype(bool)
        return found

    def of_val(row: Row) -> Masks:
        clip, end = f"{row['clip']}/", f"/{video_frame(row):05}.png"
        return {
            int(name.split("/")[1]): np.asarray(open_image(body)) > 0
            for name, body in pngs.items()
            if name.startswith(clip) and name.endswith(end)
        }

    return of_train if split == "train" else of_val


def of_indexed_clips(contents: Contents, _split: str) -> Callable[[Row], Masks]:
    pngs = {
        tuple(name.removesuffix(".png").split("/")[-2:]): body
        for name, body in contents.items()
        if name.endswith(".png") and "Annotations" in name
    }

    def masks(row: Row) -> Masks:
        clip, stem = row["member"].rpartition(".")[0].split("/")[-2:]
        body = pngs.get((clip, stem))
        if body is None:
            return {}
        indices = np.asarray(open_image(body))
        return {int(n): indices == n for n in np.unique(indices) if n not in (0, 255)}

    return masks


def of_davis_2016(contents: Contents, _split: str) -> Callable[[Row], Masks]:
    def masks(row: Row) -> Masks:
        name = row["member"].replace("JPEGImages", "Annotations").replace(".jpg", ".png")
        return {1: np.asarray(open_image(contents[name])) > 0}

    return masks


READERS = {
    "coco": of_coco,
    "davis-2016": of_davis_2016,
    "lvis": of_coco,
    "sa-1b": of_sa_1b,
    "sa-v": of_sa_v,
}


def stored_masks(split: Split) -> Iterator[tuple[Row, Masks]]:
    """Yield each sample with the masks of it that have pixels."""
    for shard in range(split.record.shards):
        masks: dict[str, Masks] = {}
        for row in split.annotations_table(shard).to_pylist():
            cell = row["mask"]
            if row["area"]:
                runs = {"size": [cell["height"], cell["width"]], "counts": cell["counts"]}
                masks.setdefault(row["key"], {})[row["object_id"]] = rle.decode(runs).astype(bool)
        for row in split.samples_table(shard).to_pylist():
            yield row, masks.get(row["key"], {})


@pytest.mark.parametrize("name", SPLITS)
def test_every_object_arrives_as_it_was_published(origin: Path, tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    splits = [word for split in SPLITS[name] for word in ("--split", split)]
    with serve_folder(origin) as url:
        links = write_link_lists(tmp_path / "links", url).get(name)
        source = ("--from", f"{url}/{name}") if links is None else ("--links", str(links))
        more = ("--any-content", "--accept-licence", "--root", str(root))
        command("download", name, *splits, *source, *more)
    command("normalize", name, *splits, "--any-count", "--root", str(root))

    contents: Contents = {}
    for folder in sorted((root / "raw").iterdir()):
        contents |= read_all(folder)
    for word in SPLITS[name]:
        split = Split.open(LocalObjectStore(root), name, word)
        expected_of = READERS.get(name, of_indexed_clips)(contents, word)
        objects = 0
        for row, found in stored_masks(split):
            assert row["quarantine"] is None
            expected = {n: mask for n, mask in expected_of(row).items() if mask.any()}
            assert found.keys() == expected.keys(), row["key"]
            assert all(np.array_equal(found[n], expected[n]) for n in expected), row["key"]
            objects += len(found)
        assert objects
