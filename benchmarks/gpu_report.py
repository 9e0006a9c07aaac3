"""Teacher caching on one GPU, in one call: a Markdown report with rates, MFU and what waited.

    python benchmarks/gpu_report.py --out benchmarks/reports/DATE-gpu.md

SAM3 at full size with random weights: what `samdistill cache` makes of it for several batch sizes,
eager and compiled, beside a bare loop of the same forward pass, and beside a dump loop of the kind
that is in use elsewhere. The job is the real one: its stage, executor, leases and run record, on a
root in memory, with photographs of 2250 x 1500.

The dump loop is written from a description of EfficientSAM3's: float32 weights under float16
autocast, a DataLoader whose workers decode, resize and normalize to float32, a copy of every batch
that the device waits for, and a queue without bound to one process that appends the records to a
file. No checksum, no commit, no resume. It gets the same pictures, size and number of processes.

``--device cpu --tiny`` goes through all of it in a minute without a GPU; its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench_cache import STEPS, WAITS, Pictures, normalize, now, run_job
from measure import machine, print_ratios, print_table
from sam3_models import TRUNK_FLOPS, full_config, save_random
from transformers import Sam3VideoModel

from pipelines.engine.executor import LocalExecutor
from pipelines.engine.progress import Progress
from pipelines.engine.work import RunReport
from pipelines.jobs.asked_features import expand_features
from pipelines.jobs.cache import CacheOptions, plan_cache
from pipelines.jobs.feature_stage import teacher_loader
from pipelines.media.images import decode_image
from pipelines.media.preprocess import resize_to_square
from pipelines.store.local import LocalObjectStore
from pipelines.store.splits import Split
from pipelines.teachers.base import Teacher, TeacherOptions
from pipelines.teachers.tiny import tiny_teacher_folder

PEAKS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
    "L40S": 362e12,
}
"""Dense bfloat16 FLOP/s by a part of the device's name, as NVIDIA states them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One way to run the job."""

    batch: int
    compiled: bool

    @property
    def name(self) -> str:
        return f"batch {self.batch}{', compiled' if self.compiled else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one run came to."""

    name: str
    images_per_second: float
    gigabytes_per_second: float = 0.0
    report: RunReport | None = None
    gpu_memory: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The model, the pictures and the machine, the same for all runs."""

    model: Path
    split: Split
    folder: Path
    device: str
    images: int
    threads: int
    precision: Any

    def options(self, case: Case) -> TeacherOptions:
        return TeacherOptions(
            device=self.device,
            precision=self.precision,
            image_batch=case.batch,
            compile=case.compiled,
        )

    def job(self, case: Case) -> Result:
        """`samdistill cache`, after the teacher is loaded and warm."""
        load = teacher_loader(str(self.model), self.options(case))
        teacher = load()
        options = CacheOptions(batch=case.batch, decode_threads=self.threads)
        (planned,) = plan_cache(
            self.split, teacher, load, expand_features(["image.trunk"]), options
        ).stages
        with peak_memory(self.device) as peak:
            report = run_job(planned, LocalExecutor(overlap=2), Progress(len(planned.units)))
        written = sum(item.bytes for item in report.reports)
        shutil.rmtree(Path(self.split.store.url, "features"))
        return Result(
            name=f"samdistill cache, {case.name}",
            images_per_second=self.images / report.seconds,
            gigabytes_per_second=written / report.seconds / 1e9,
            report=report,
            gpu_memory=peak[0],
        )

    def bare(self, case: Case) -> Result:
        """The same forward pass on one batch in memory, over and over."""
        teacher: Teacher = teacher_loader(str(self.model), self.options(case))()
        size = teacher.spec.preprocess.image_size
        shape = (case.batch, 3, size, size)
        batch = torch.randint(0, 256, shape, dtype=torch.uint8).to(teacher.device)
        teacher.encode_on_device(batch)
        begun, count = now(teacher.device), max(1, self.images // case.batch)
        for _ in range(count):
            teacher.encode_on_device(batch)
        seconds = now(teacher.device) - begun
        return Result(
            name=f"bare loop, {case.name}", images_per_second=count * case.batch / seconds
        )

    def dump_loop(self, batch: int) -> Result:
        """The loop in use elsewhere; see the head of this file."""
        model = Sam3VideoModel.from_pretrained(self.model, dtype=torch.float32)
        trunk = model.detector_model.vision_encoder.backbone.to(self.device).eval()
        loader = torch.utils.data.DataLoader(
            DecodedPictures(self.split, model.config.image_size),
            batch_size=batch,
            num_workers=self.threads,
            pin_memory=self.device != "cpu",
            multiprocessing_context="spawn",
        )
        queue: Any = multiprocessing.get_context("spawn").Queue()
        target = self.folder / "dump.bin"
        writer = multiprocessing.get_context("spawn").Process(
            target=append_records, args=(queue, str(target))
        )
        writer.start()
        done, begun = 0, 0.0
        for pixels in loader:
            # As for the job: what starts the workers and warms the device up is left out.
            if not begun:
                dump_batch(trunk, pixels, self.device)
                begun = time.perf_counter()
            for record in dump_batch(trunk, pixels, self.device):
                queue.put(record)
                done += 1
        queue.put(None)
        writer.join()
        seconds = time.perf_counter() - begun
        written = target.stat().st_size
        target.unlink()
        return Result(
            name=f"dump loop, batch {batch}",
            images_per_second=done / seconds,
            gigabytes_per_second=written / seconds / 1e9,
        )


class DecodedPictures(torch.utils.data.Dataset[torch.Tensor]):
    """The pictures of a split, decoded and normalized to float32 by DataLoader workers."""

    def __init__(self, split: Split, size: int) -> None:
        self.root, self.place = split.store.url, (split.record.dataset, split.record.split)
        self.size, self.rows_per_shard = size, split.record.rows_per_shard
        self.rows = split.record.rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> torch.Tensor:
        split = Split.open(LocalObjectStore(self.root), *self.place)
        shard, row = divmod(index, self.rows_per_shard)
        sample = split.samples(shard)[row]
        image = decode_image(split.read_image(shard, sample), sample.key)
        return (resize_to_square(image, self.size).float() - 127.5) / 127.5


def dump_batch(trunk: torch.nn.Module, pixels: torch.Tensor, device: str) -> list[bytes]:
    half = torch.bfloat16 if device == "cpu" else torch.float16
    with torch.no_grad(), torch.autocast(torch.device(device).type, dtype=half):
        tokens = trunk(pixels.to(device, non_blocking=True)).last_hidden_state
    features = tokens.transpose(1, 2).contiguous().cpu().numpy().astype("float16")
    return [bytes(4) + feature.tobytes() for feature in features]


def append_records(queue: Any, target: str) -> None:
    with open(target, "wb") as file:
        while (record := queue.get()) is not None:
            file.write(record)


@contextlib.contextmanager
def peak_memory(device: str) -> Iterator[list[float]]:
    """Fill in the most memory of the device that the block has had, in GB."""
    peak = [0.0]
    if device == "cpu":
        yield peak
        return
    torch.cuda.reset_peak_memory_stats()
    yield peak
    peak[0] = torch.cuda.max_memory_allocated() / 1e9


def peak_flops(device: str) -> float | None:
    if device == "cpu":
        return None
    name = torch.cuda.get_device_name()
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def free_memory(device: str) -> None:
    """Drop the teacher that is loaded: the next run may take all of the device."""
    from pipelines.jobs.feature_stage import forget_teachers

    forget_teachers()
    gc.collect()
    if device != "cpu":
        torch.cuda.empty_cache()


# The report -----------------------------------------------------------------------------------


def describe(bench: Bench, arguments: argparse.Namespace, peak: float | None) -> None:
    print("# Teacher caching on one GPU\n")
    print(f"{machine()} · torch {torch.__version__}\n")
    gpu = "none" if bench.device == "cpu" else torch.cuda.get_device_name()
    stated = f"{peak / 1e12:.0f} TFLOP/s dense bfloat16" if peak else "peak unknown"
    size = "tiny: the numbers mean nothing" if arguments.tiny else "860 M parameters, random"
    print(f"- device: {gpu}, {stated}")
    print(f"- teacher: SAM3, {size}; precision {bench.precision}")
    print(
        f"- {bench.images} photographs in {bench.split.record.shards} shards, {bench.threads} "
        f"decoding threads or processes, root in {bench.folder}"
    )
    print(f"- command: `{' '.join(['python', *sys.argv])}`\n")


def show(results: list[Result], peak: float | None) -> None:
    rows = []
    for result in results:
        mfu = f"{result.images_per_second * TRUNK_FLOPS / peak:.1%}" if peak else "-"
        busy = f"{result.report.device_busy:.1%}" if result.report else "-"
        written = f"{result.gigabytes_per_second:.2f}" if result.gigabytes_per_second else "-"
        memory = f"{result.gpu_memory:.1f}" if result.gpu_memory else "-"
        rows.append([result.name, f"{result.images_per_second:.2f}", mfu, busy, written, memory])
    print_table(["run", "images/s", "MFU", "GPU busy", "GB/s written", "GPU GB"], rows)
    print("\nSeconds by step; all threads of a step together:\n")
    jobs = [result for result in results if result.report]
    steps = [*STEPS, *WAITS, "load", "warm_up"]
    print_table(
        ["run", *steps],
        [
            [job.name, *(f"{job.report.total(step):.2f}" for step in steps)]
            for job in jobs
            if job.report
        ],
    )


def measure(bench: Bench, arguments: argparse.Namespace) -> list[Result]:
    """Run every case, the job beside its bare loop, then the dump loop at the best batch."""
    results: list[Result] = []
    for compiled in (False, True) if arguments.compile else (False,):
        for batch in arguments.batches:
            case = Case(batch=batch, compiled=compiled)
            for run in (partial(bench.bare, case), partial(bench.job, case)):
                with contextlib.suppress(torch.OutOfMemoryError):
                    results.append(run())
                    print(results[-1].name, file=sys.stderr)
            free_memory(bench.device)
    best = max((item for item in results if item.report), key=lambda item: item.images_per_second)
    results.append(bench.dump_loop(int(best.name.split("batch ")[1].split(",")[0])))
    return results


def ratios(results: list[Result], peak: float | None) -> dict[str, float]:
    rate = {result.name: result.images_per_second for result in results}
    best = max((item for item in results if item.report), key=lambda item: item.images_per_second)
    bare = rate[best.name.replace("samdistill cache", "bare loop")]
    dump = next(value for name, value in rate.items() if name.startswith("dump loop"))
    assert best.report is not None
    found = {
        "pipeline_vs_bare": best.images_per_second / bare,
        "vs_dump_loop": best.images_per_second / dump,
        "gpu_busy": best.report.device_busy,
    }
    return found | ({"mfu": best.images_per_second * TRUNK_FLOPS / peak} if peak else {})


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--images", type=int, default=768)
    parser.add_argument("--shard", type=int, default=128)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--threads", type=int, default=12)
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--precision", default="bfloat16-autocast")
    parser.add_argument("--folder", default="/dev/shm", help="a RAM disk")
    parser.add_argument("--out", type=Path, help="also write the report here")
    return parser.parse_args()


def make_report(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        if arguments.tiny:
            model, pictures = tiny_teacher_folder(), Pictures(arguments.images, 120, 80)
        else:
            model = save_random(full_config(), folder / "teacher", arguments.device)
            pictures = Pictures(arguments.images, 2250, 1500)
        bench = Bench(
            model=model,
            split=normalize(folder / "root", pictures, arguments.shard),
            folder=folder,
            device=arguments.device,
            images=arguments.images,
            threads=arguments.threads,
            precision=arguments.precision,
        )
        peak = None if arguments.tiny else peak_flops(arguments.device)
        results = measure(bench, arguments)
        describe(bench, arguments, peak)
        show(results, peak)
        print()
        print_ratios(ratios(results, peak))


def main() -> None:
    arguments = parse()
    if arguments.out is None:
        make_report(arguments)
        return
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        make_report(arguments)
    arguments.out.write_text(shown.getvalue())
    print(shown.getvalue(), end="")


if __name__ == "__main__":
    main()
