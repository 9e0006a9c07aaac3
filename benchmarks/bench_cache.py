"""`samdistill cache` beside a bare loop of the same forward pass, its memory, and its Ray traffic.

The job is the real one: its stage, executor, leases and run record, on a root in memory, with
records of 1024 x 72 x 72 half floats (10.6 MB). The bare loop calls the same teacher on batches
that lie decoded in memory, and throws the features away. Both compute in one thread; the job has
its decoding, encoding, checksums and writing beside it, the bare loop has nothing. They run in
turn, and are also compared by processor time, which other users of the machine do not take.

Then 100,000 small records through the same stage: the slope of resident memory; and Ray's own
count of what its object store held. Run by ``make bench NAME=cache``.
"""

from __future__ import annotations

import argparse
import io
import os
import pickle
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from measure import interleave, machine, medians, print_ratios, print_table
from PIL import Image
from sam3_models import narrow_config, save_random

from pipelines.demo.album import ALBUM
from pipelines.engine.executor import LocalExecutor
from pipelines.engine.progress import Progress
from pipelines.engine.ray_executor import RayExecutor
from pipelines.engine.work import Executor, RunReport, UnitReport
from pipelines.jobs.asked_features import expand_features
from pipelines.jobs.cache import CacheOptions, PlannedStage, plan_cache
from pipelines.jobs.cache_run import run_stage
from pipelines.jobs.feature_stage import teacher_loader
from pipelines.jobs.finish_split import Budget
from pipelines.jobs.normalize import NormalizeJob
from pipelines.jobs.shard_normalized import NormalizeStage
from pipelines.store.local import LocalObjectStore
from pipelines.store.run_log import RunLog
from pipelines.store.splits import Split
from pipelines.teachers.base import DeviceFeatures, Features, TeacherOptions, make_feature
from schemas.features import FeatureSpec, PreprocessSpec, TeacherSpec, TokenizeSpec
from schemas.ids import digest_bytes
from schemas.samples import Group, MediaKind, Sample, Source

STEPS = ("decode", "h2d", "forward", "d2h", "encode", "write", "publish")
WAITS = ("wait_decode", "wait_write", "gap")


class Pictures:
    """A split of photographs of one size, a few of them over and over."""

    dataset, split, licence, version = "bench", "stills", "none", "1"
    media: MediaKind = "image"

    def __init__(self, count: int, width: int, height: int) -> None:
        self.count, self.width, self.height = count, width, height
        self._encoded = [encode(item.open(), width, height) for item in ALBUM]

    def sources(self) -> Mapping[str, str]:
        return {"album": "unverified"}

    def dropped(self) -> Mapping[str, int]:
        return {}

    def groups(self) -> Sequence[Group]:
        return [Group(key=f"still-{index:06d}", rows=1) for index in range(self.count)]

    def read(self, group: Group) -> Iterator[Sample]:
        index = int(group.key.rpartition("-")[2])
        yield Sample(
            key=group.key,
            source=Source(archive="album", member=group.key),
            width=self.width,
            height=self.height,
            encoded=self._encoded[index % len(self._encoded)],
        )


def encode(picture: Image.Image, width: int, height: int) -> bytes:
    body = io.BytesIO()
    picture.convert("RGB").resize((width, height)).save(body, "JPEG", quality=90)
    return body.getvalue()


def normalize(root: Path, pictures: Pictures, rows_per_shard: int) -> Split:
    stage = NormalizeStage(LocalObjectStore(root), pictures, rows_per_shard=rows_per_shard)
    NormalizeJob(stage, Budget()).run(LocalExecutor(), Progress(1))
    return Split.open(LocalObjectStore(root), pictures.dataset, pictures.split)


def run_job(planned: PlannedStage, executor: Executor, progress: Progress) -> RunReport:
    """What the command does with a stage of its plan."""
    with RunLog(planned.stage.split.store, 1) as log:
        report = run_stage(planned, executor, "bench image", progress, log)
    assert not report.failures, report.failures[0]
    return report


# Speed ----------------------------------------------------------------------------------------


class Speed:
    """Times the job and the bare loop over the same images by the same teacher."""

    def __init__(self, folder: Path, images: int, shard: int, batch: int, device: str) -> None:
        model = save_random(narrow_config(), folder / "teacher")
        options = TeacherOptions(device=device, image_batch=batch)
        self.load = teacher_loader(str(model), options)
        self.teacher = self.load()
        self.root, self.images, self.batch = folder / "root", images, batch
        self.split = normalize(self.root, Pictures(images, 640, 480), shard)
        self.reports: list[RunReport] = []
        self.cpu: dict[str, list[float]] = {"job": [], "bare": []}
        self.batches = list(self._decoded())

    def _decoded(self) -> Iterator[torch.Tensor]:
        size = self.teacher.spec.preprocess.image_size
        for _ in range(2):
            shape = (self.batch, 3, size, size)
            yield torch.randint(0, 256, shape, dtype=torch.uint8).to(self.teacher.device)

    def job(self) -> float:
        shutil.rmtree(self.root / "features", ignore_errors=True)
        options = CacheOptions(batch=self.batch, decode_threads=2)
        plan = plan_cache(
            self.split, self.teacher, self.load, expand_features(["image.trunk"]), options
        )
        (planned,) = plan.stages
        begun = time.process_time()
        report = run_job(planned, LocalExecutor(overlap=2), Progress(len(planned.units)))
        self.cpu["job"].append((time.process_time() - begun) / self.images)
        self.reports.append(report)
        return self.images / report.seconds

    def bare(self) -> float:
        torch.set_num_threads(1)
        cpu, begun = time.process_time(), now(self.teacher.device)
        for place in range(self.images // self.batch):
            self.teacher.encode_on_device(self.batches[place % len(self.batches)])
        seconds = now(self.teacher.device) - begun
        self.cpu["bare"].append((time.process_time() - cpu) / self.images)
        return self.images / seconds


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def compare_speed(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    speed = Speed(folder, arguments.images, arguments.shard, arguments.batch, arguments.device)
    speed.bare()
    rates = interleave({"job": speed.job, "bare": speed.bare}, arguments.rounds)
    typical = medians(rates)
    last = speed.reports[-1]
    record = speed.teacher.feature("image.trunk").item_bytes
    print(
        f"\n{arguments.images} images in shards of {arguments.shard}, batches of "
        f"{arguments.batch}, records of {record / 1e6:.1f} MB, device {arguments.device}\n"
    )
    cpu = {
        name: float(np.median(seconds[-arguments.rounds :])) for name, seconds in speed.cpu.items()
    }
    print_table(
        ["", "images/s", "CPU s/image", "all rounds"],
        [
            [
                name,
                f"{typical[name]:.3f}",
                f"{cpu[name]:.3f}",
                " ".join(f"{rate:.3f}" for rate in rates[name]),
            ]
            for name in rates
        ],
    )
    # Before the first forward pass and behind the last one.
    ends = last.seconds - last.total("turn") - last.total("gap")
    print(
        f"\nlast run of the job, {last.seconds:.1f} s: device busy {last.device_busy:.1%}, "
        f"{ends:.2f} s before and behind its work\n"
    )
    print_table(["step", "seconds"], [[name, f"{last.total(name):.2f}"] for name in STEPS + WAITS])
    ratios = [job / bare for job, bare in zip(rates["job"], rates["bare"], strict=True)]
    return {
        "pipeline_vs_bare": float(np.median(ratios)),
        "cpu_beside_forward": cpu["job"] / cpu["bare"] - 1,
        "device_busy": last.device_busy,
    }


# Memory ---------------------------------------------------------------------------------------


class SmallTeacher:
    """Averages of an image: small records at the price of next to nothing."""

    device = torch.device("cpu")
    spec = TeacherSpec(
        architecture="Averages",
        config=digest_bytes(b"none"),
        weights=digest_bytes(b"none"),
        preprocess=PreprocessSpec(image_size=32),
        tokenize=TokenizeSpec(vocabulary=digest_bytes(b"none"), context=2, pad_id=0),
        precision="float32",
        attention="none",
        libraries={},
    )

    def feature(self, name: str, codec: str | None = None) -> FeatureSpec:
        return make_feature(name, {"image.trunk": (3, 8, 8)}, codec)

    def encode_on_device(self, batch_BCHW: torch.Tensor, *_: object) -> DeviceFeatures:
        return {"image.trunk": F.avg_pool2d(batch_BCHW.float() / 255, 4)}

    def encode_images(self, batch_BCHW: torch.Tensor, *_: object) -> Features:
        found = self.encode_on_device(batch_BCHW)
        return {name: values.numpy() for name, values in found.items()}

    def encode_prompts(self, *_: object) -> DeviceFeatures:
        raise NotImplementedError

    def encode_text(self, phrases: Sequence[str]) -> Features:
        raise NotImplementedError

    def track(self, *_: object) -> Any:
        raise NotImplementedError


class Resident(Progress):
    """Notes the memory of this process after every shard."""

    def __init__(self, units: int) -> None:
        super().__init__(units)
        self.points: list[tuple[int, int]] = []

    def unit_finished(self, report: UnitReport) -> None:
        super().unit_finished(report)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.points.append((self.rows, pages * os.sysconf("SC_PAGE_SIZE")))


def plan_small(split: Split) -> PlannedStage:
    options = CacheOptions(batch=32, decode_threads=1)
    (planned,) = plan_cache(
        split, SmallTeacher(), SmallTeacher, expand_features(["image.trunk"]), options
    ).stages
    return planned


def measure_memory(folder: Path, records: int) -> dict[str, float]:
    split = normalize(folder / "small", Pictures(records, 32, 32), 1000)
    planned = plan_small(split)
    resident = Resident(len(planned.units))
    report = run_job(planned, LocalExecutor(overlap=2), resident)
    rows, sizes = np.array(resident.points[len(resident.points) // 5 :]).T
    slope, _ = np.polyfit(rows, sizes, 1)
    print(
        f"\n{records} small records, {records / report.seconds:.0f}/s: resident memory "
        f"{sizes[0] / 1e6:.0f} MB after a fifth, {sizes[-1] / 1e6:.0f} MB at the end, "
        f"{slope:.1f} bytes per record"
    )
    traffic = measure_traffic(split)
    return {"resident_bytes_per_record": float(slope), "ray_bytes_per_image": traffic}


def measure_traffic(split: Split) -> float:
    """Return the bytes that Ray's object store ever held, by its own count, for each image."""
    import ray
    from ray._private.internal_api import node_stats

    shutil.rmtree(Path(split.store.url, "features"))
    planned = plan_small(split)
    executor = RayExecutor(workers=1, overlap=2)
    with executor.session():
        report = run_job(planned, executor, Progress(len(planned.units)))
        (node,) = ray.nodes()
        found = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"]).store_stats
    rows = sum(item.rows for item in report.reports)
    inline = sum(len(pickle.dumps(item)) + len(pickle.dumps(item.unit)) for item in report.reports)
    held = found.cumulative_created_bytes
    print(
        f"through Ray, {rows} images: its object store held {held} bytes in "
        f"{found.cumulative_created_objects} objects, {held / rows:.2f} bytes an image; "
        f"units and reports, in its messages, {inline / rows:.2f}"
    )
    return float(held + inline) / rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--shard", type=int, default=12)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", default="/dev/shm", help="a RAM disk")
    arguments = parser.parse_args()
    print(f"{machine()} · torch {torch.__version__}")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        measures: list[Callable[[], dict[str, float]]] = [
            partial(compare_speed, Path(name), arguments),
        ]
        if arguments.records:
            measures.append(partial(measure_memory, Path(name), arguments.records))
        ratios: dict[str, float] = {}
        for measure in measures:
            ratios |= measure()
    print_ratios(ratios)


if __name__ == "__main__":
    main()
