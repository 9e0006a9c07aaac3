"""Normalizing: an index of COCO's annotations beside pycocotools, and SA-1B beside a bare loop.

The annotations are made up, in the number and size of COCO train2017's. So is the SA-1B archive:
2,000 images of 2250x1500, as the published ones, with 100 masks each, made of a few distinct ones.

The bare loop does what cannot be left out: it reads each member, decodes the image, parses the
masks, computes their areas, and writes a tar and a table of the masks per shard. It checks no
masks, hashes nothing, has no resume and leaves half files when killed. A second bare loop verifies
JPEGs as ours does, by an eighth of the picture.

Each side runs in a process of its own, on one core, in turn. Run by ``make bench NAME=normalize``.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import interleave, machine, medians, print_ratios, print_table
from PIL import Image
from pycocotools import mask as coco

IMAGES, OBJECTS = 118_287, 860_001
WIDTH, HEIGHT, MASKS, DISTINCT = 2250, 1500, 100, 20
ROWS = 64


# What is measured, each in its own process ----------------------------------------------------


def ours_index(source: Path) -> int:
    from pipelines.normalize.coco_json import InstancesFile, decode_file, join

    found = join(decode_file(source.read_bytes(), InstancesFile, source.name), None, source.name)
    image = next(iter(found.images.values()))
    assert all(record.mask(image) for record in found.objects[image.id])
    return sum(map(len, found.objects.values()))


def pycocotools_index(source: Path) -> int:
    from pycocotools.coco import COCO

    with open(os.devnull, "w") as quiet:
        sys.stdout, terminal = quiet, sys.stdout
        found = COCO(str(source))
        sys.stdout = terminal
    image = next(iter(found.imgs))
    assert all(found.annToRLE(record) for record in found.imgToAnns[image])
    return sum(map(len, found.imgToAnns.values()))


def ours_images(source: Path, target: Path) -> int:
    from downloaders.sources import DatasetSource
    from pipelines.engine.executor import LocalExecutor
    from pipelines.engine.progress import Progress
    from pipelines.jobs.finish_split import Budget
    from pipelines.jobs.normalize import NormalizeJob
    from pipelines.jobs.shard_normalized import NormalizeStage
    from pipelines.normalize.base import LayoutOptions
    from pipelines.normalize.sa1b import Sa1b
    from pipelines.normalize.sources import SourceFiles
    from pipelines.store.local import LocalObjectStore

    archive = DatasetSource(name=source.name, path=source, top=None, digest="sha256:made-up")
    normalizer = Sa1b(SourceFiles(source.parent, (archive,)), "train", LayoutOptions())
    stage = NormalizeStage(LocalObjectStore(target), normalizer, rows_per_shard=ROWS)
    job = NormalizeJob(stage, Budget())
    return job.run(LocalExecutor(), Progress(len(stage.units))).counts["images"]


def bare_images(source: Path, target: Path, *, draft: bool = False) -> int:
    target.mkdir(parents=True)
    rows: list[tuple[str, bytes, dict[str, object]]] = []
    count = 0
    with tarfile.open(source) as archive:
        members = {member.name: member for member in archive}
        for name in sorted(name for name in members if name.endswith(".jpg")):
            encoded = archive.extractfile(members[name]).read()
            with Image.open(io.BytesIO(encoded)) as image:
                if draft:
                    image.draft(None, (1, 1))
                image.load()
            masks = archive.extractfile(members[name.replace(".jpg", ".json")]).read()
            rows.append((name, encoded, json.loads(masks)))
            count += 1
            if len(rows) == ROWS:
                write_bare(target, count, rows)
                rows = []
        write_bare(target, count, rows)
    return count


def write_bare(target: Path, count: int, rows: list[tuple[str, bytes, dict]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table: dict[str, list] = {"row": [], "id": [], "mask": [], "area": [], "box": [], "iou": []}
    with tarfile.open(target / f"{count:05d}.tar", "w") as shard:
        for row, (name, encoded, record) in enumerate(rows):
            info = tarfile.TarInfo(name)
            info.size = len(encoded)
            shard.addfile(info, io.BytesIO(encoded))
            found = record["annotations"]
            table["row"] += [row] * len(found)
            table["id"] += [item["id"] for item in found]
            table["mask"] += [item["segmentation"]["counts"].encode() for item in found]
            table["area"] += coco.area([item["segmentation"] for item in found]).tolist()
            table["box"] += [item["bbox"] for item in found]
            table["iou"] += [item["predicted_iou"] for item in found]
    pq.write_table(pa.table(table), target / f"{count:05d}.parquet", compression="zstd")


SIDES: dict[str, Callable[..., int]] = {
    "ours_index": ours_index,
    "pycocotools_index": pycocotools_index,
    "ours_images": ours_images,
    "bare_images": bare_images,
    "bare_draft_images": functools.partial(bare_images, draft=True),
}


# Imported before the clock starts, by that side alone.
IMPORTS = {
    "ours_index": ("pipelines.normalize.coco_json",),
    "pycocotools_index": ("pycocotools.coco",),
    "ours_images": (
        "pipelines.engine.executor",
        "pipelines.jobs.normalize",
        "pipelines.normalize.sa1b",
    ),
    "bare_images": ("pyarrow.parquet",),
    "bare_draft_images": ("pyarrow.parquet",),
}


def child(side: str, *paths: str) -> None:
    """Run one side on one core; print its seconds and its peak memory."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for module in IMPORTS[side]:
        importlib.import_module(module)
    start = time.process_time(), time.perf_counter()
    count = SIDES[side](*map(Path, paths))
    seconds, wall = time.process_time() - start[0], time.perf_counter() - start[1]
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    print(json.dumps({"count": count, "cpu": seconds, "wall": wall, "peak": peak * 1024}))


# The material ---------------------------------------------------------------------------------


def make_instances(path: Path) -> Path:
    """Write an instances file of train2017's size, once."""
    if path.exists():
        return path
    rng = np.random.default_rng(0)
    shapes = [polygon(rng) for _ in range(4000)]
    owners = rng.integers(0, IMAGES, OBJECTS)
    temporary = path.with_suffix(".part")
    with temporary.open("w") as file:
        images = (
            f'{{"license":3,"file_name":"{n:012d}.jpg","coco_url":'
            f'"http://images.cocodataset.org/train2017/{n:012d}.jpg","height":480,"width":640,'
            f'"date_captured":"2013-11-14 16:28:13","flickr_url":'
            f'"http://farm4.staticflickr.com/3153/2970773875_164f0c0b83_z.jpg","id":{n}}}'
            for n in range(1, IMAGES + 1)
        )
        objects = (
            f'{{{shapes[n % len(shapes)]},"iscrowd":0,"image_id":{owners[n] + 1},'
            f'"category_id":{n % 80 + 1},"id":{n + 1}}}'
            for n in range(OBJECTS)
        )
        categories = (f'{{"supercategory":"s","id":{n},"name":"c{n}"}}' for n in range(1, 81))
        file.write('{"images":[' + ",".join(images) + '],"annotations":[')
        file.write(",".join(objects) + '],"categories":[' + ",".join(categories) + "]}")
    temporary.rename(path)
    return path


def polygon(rng: np.random.Generator) -> str:
    points = int(rng.integers(10, 50))
    angle = np.sort(rng.uniform(0, 2 * np.pi, points))
    radius = rng.uniform(20, 90, points)
    x, y = 320 + radius * np.cos(angle), 240 + radius * np.sin(angle)
    ring = np.stack([x, y], axis=1).round(2).ravel().tolist()
    box = [round(float(v), 2) for v in (x.min(), y.min(), np.ptp(x), np.ptp(y))]
    return f'"segmentation":[{json.dumps(ring)}],"area":{radius.mean() ** 2:.4f},"bbox":{box}'


def make_archive(path: Path, images: int) -> Path:
    """Write an SA-1B archive; keys that our hash holds out are left out, for equal counts."""
    from pipelines.normalize.sa1b import _split_of

    rng = np.random.default_rng(1)
    pictures = [picture(rng) for _ in range(DISTINCT)]
    masks = [[blob(rng, number) for number in range(MASKS)] for _ in range(DISTINCT)]
    keys = (n for n in range(1, 2 * images + 2) if _split_of(f"sa_{n}") == "train")
    with tarfile.open(path, "w") as archive:
        for _, number in zip(range(images), keys, strict=False):
            image = {"image_id": number, "width": WIDTH, "height": HEIGHT}
            record = {
                "image": {**image, "file_name": f"sa_{number}.jpg"},
                "annotations": masks[number % DISTINCT],
            }
            for name, body in (
                (f"sa_{number}.jpg", pictures[number % DISTINCT]),
                (f"sa_{number}.json", json.dumps(record).encode()),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(body)
                archive.addfile(info, io.BytesIO(body))
    return path


def picture(rng: np.random.Generator) -> bytes:
    coarse = rng.integers(0, 256, (HEIGHT // 6, WIDTH // 6, 3), dtype=np.uint8)
    body = io.BytesIO()
    smooth = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    smooth.save(body, "JPEG", quality=85)
    return body.getvalue()


def blob(rng: np.random.Generator, number: int) -> dict[str, object]:
    radius = int(rng.integers(8, 200))
    reach = 2 * radius
    ys, xs = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    angle = np.arctan2(ys, xs)
    waves = sum(np.sin(k * angle + rng.uniform(0, 6)) / k for k in (2, 3, 7, 11))
    shape = np.hypot(xs, ys) < radius * (1 + 0.3 * waves)
    x, y = int(rng.integers(reach, WIDTH - reach)), int(rng.integers(reach, HEIGHT - reach))
    inside = np.zeros((HEIGHT, WIDTH), dtype=bool)
    inside[y - reach : y + reach + 1, x - reach : x + reach + 1] = shape
    rle = coco.encode(np.asfortranarray(inside, dtype=np.uint8))
    left, top, width, height = coco.toBbox(rle).tolist()
    return {
        "id": 1_000_000_000 + number,
        "segmentation": {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()},
        "bbox": [left, top, width - 1, height - 1],
        "area": int(coco.area(rle)),
        "predicted_iou": 0.95,
        "stability_score": 0.97,
        "crop_box": [0.0, 0.0, float(WIDTH), float(HEIGHT)],
        "point_coords": [[x + 0.5, y + 0.5]],
    }


# The comparison -------------------------------------------------------------------------------


class Runs:
    """Starts sides and keeps the largest memory of each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.peaks = folder, dict[str, int]()

    def measure(self, side: str, source: Path, *, images: bool) -> dict[str, float]:
        target = self.folder / "out"
        arguments = [str(source), str(target)] if images else [str(source)]
        command = [sys.executable, __file__, "--child", side, *arguments]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        shutil.rmtree(target, ignore_errors=True)
        found = json.loads(run.stdout)
        name = f"{side} {source.name}"
        self.peaks[name] = max(self.peaks.get(name, 0), found["peak"])
        return found

    def index(self, side: str, source: Path) -> Callable[[], float]:
        return lambda: self.measure(side, source, images=False)["wall"]

    def images(self, side: str, source: Path) -> Callable[[], float]:
        def rate() -> float:
            found = self.measure(side, source, images=True)
            return found["count"] / found["cpu"]

        return rate


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-normalize-", dir=options.folder))
    try:
        compare(folder, options.rounds, options.images)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compare(folder: Path, rounds: int, images: int) -> None:
    instances = make_instances(folder.parent / "bench-normalize-instances.json")
    archive = make_archive(folder / "sa_000000.tar", images)
    quarter = make_archive(folder / "sa_000001.tar", images // 4)
    runs = Runs(folder)
    index = medians(
        interleave(
            {side: runs.index(side, instances) for side in ("ours_index", "pycocotools_index")},
            rounds,
        )
    )
    sides = {
        side: runs.images(side, archive)
        for side in ("ours_images", "bare_images", "bare_draft_images")
    }
    rate = medians(interleave(sides, rounds))
    runs.images("ours_images", quarter)()
    report(folder, rounds, index, rate, dict(runs.peaks), instances, archive)


def report(
    folder: Path,
    rounds: int,
    index: dict[str, float],
    rate: dict[str, float],
    peaks: dict[str, int],
    instances: Path,
    archive: Path,
) -> None:
    def mega(name: str) -> str:
        return f"{peaks[name] / 1e6:.0f}"

    print(machine())
    print(f"median of {rounds} interleaved rounds, one core, files in {folder.parent}\n")
    print(f"{IMAGES} images, {OBJECTS} objects, {instances.stat().st_size / 1e6:.0f} MB of JSON\n")
    print_table(
        ("index", "seconds", "peak MB"),
        [
            ("samdistill", f"{index['ours_index']:.1f}", mega(f"ours_index {instances.name}")),
            (
                "pycocotools",
                f"{index['pycocotools_index']:.1f}",
                mega(f"pycocotools_index {instances.name}"),
            ),
        ],
    )
    print(f"\n{WIDTH}x{HEIGHT}, {MASKS} masks each, {archive.stat().st_size / 1e6:.0f} MB of tar\n")
    print_table(
        ("SA-1B", "images/s per core", "peak MB"),
        [
            ("samdistill", f"{rate['ours_images']:.1f}", mega(f"ours_images {archive.name}")),
            ("samdistill, a quarter", "", mega("ours_images sa_000001.tar")),
            ("bare loop", f"{rate['bare_images']:.1f}", mega(f"bare_images {archive.name}")),
            (
                "bare loop, an eighth of each picture",
                f"{rate['bare_draft_images']:.1f}",
                mega(f"bare_draft_images {archive.name}"),
            ),
        ],
    )
    print()
    index_peaks = [
        peaks[f"{side} {instances.name}"] for side in ("ours_index", "pycocotools_index")
    ]
    print_ratios(
        {
            "coco_index_vs_pycocotools": index["pycocotools_index"] / index["ours_index"],
            "coco_index_memory_vs_pycocotools": index_peaks[0] / index_peaks[1],
            "images_vs_bare": rate["ours_images"] / rate["bare_images"],
            "images_vs_bare_draft": rate["ours_images"] / rate["bare_draft_images"],
            "memory_vs_quarter": peaks[f"ours_images {archive.name}"]
            / peaks["ours_images sa_000001.tar"],
        }
    )


if __name__ == "__main__":
    main()
