"""Two students on one pass over the data, beside each of them alone.

A sample is a 1500x1125 JPEG and a 1024x72x72 float16 feature, in a folder or in a bucket that a
server on the loopback answers for, after a wait as that of a real one. Counted are the bytes that
the store hands out, wall time, and the processor time of the training process. On a GPU the
students compute faster, and reading weighs more than here.

Needs what trains: ``.venv/bin/python benchmarks/bench_students.py``.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from bench_stream import s3_server
from measure import interleave, machine, print_ratios, print_table
from stream_data import Samples, write_root

from pipelines.store.local import LocalObjectStore
from pipelines.store.s3 import S3ObjectStore
from pipelines.student.config import RunOptions, TrainConfig
from pipelines.student.student_run import StudentRun
from pipelines.student.trainer import Trainer, open_training_stream

PAIR = ("efficientvit_b0", "efficientvit_b1")
TEAMS = {"first alone": PAIR[:1], "second alone": PAIR[1:], "together": PAIR}
BATCH = 4


class Counting:
    """Adds up what a store hands out."""

    bytes_read = 0

    def read_into(self, key: str, offset: int, *buffers: memoryview) -> int:
        count: int = super().read_into(key, offset, *buffers)  # type: ignore[misc]
        self.bytes_read += count
        return count

    def read_blocks(self, key: str, offset: int, *buffers: memoryview) -> Iterator[memoryview]:
        for block in super().read_blocks(key, offset, *buffers):  # type: ignore[misc]
            self.bytes_read += len(block)
            yield block


class CountedFolder(Counting, LocalObjectStore):
    pass


class CountedBucket(Counting, S3ObjectStore):
    pass


@dataclass(frozen=True)
class Found:
    seconds: float
    cpu_seconds: float
    megabytes: float


def train(store: CountedFolder | CountedBucket, students: tuple[str, ...], steps: int) -> Found:
    """Train from nothing; the time is from the first batch asked for to the last checkpoint."""
    folder = Path(tempfile.mkdtemp(prefix="bench-students-runs-"))
    configs = [
        TrainConfig(student=name, image_size=256, steps=steps, batch_size=BATCH)
        for name in students
    ]
    stream = open_training_stream(store, "bench", configs[0], threads=2)
    runs = [
        StudentRun(stream, config, RunOptions(folder=folder / config.student)) for config in configs
    ]
    began, cpu, before = time.perf_counter(), time.process_time(), store.bytes_read
    failures = Trainer(stream, runs).run(lambda _run, _step: None)
    assert not failures
    found = Found(
        seconds=time.perf_counter() - began,
        cpu_seconds=time.process_time() - cpu,
        megabytes=(store.bytes_read - before) / 1e6,
    )
    shutil.rmtree(folder)
    return found


def middle(
    open_counted: Callable[[], CountedFolder | CountedBucket], steps: int, rounds: int
) -> dict[str, Found]:
    """Return the middle run of each team by its wall time."""
    found: dict[str, list[Found]] = {name: [] for name in TEAMS}

    def run(name: str) -> Callable[[], float]:
        def once() -> float:
            found[name].append(train(open_counted(), TEAMS[name], steps))
            return found[name][-1].seconds

        return once

    interleave({name: run(name) for name in TEAMS}, rounds)
    return {
        name: sorted(runs, key=lambda one: one.seconds)[rounds // 2] for name, runs in found.items()
    }


def ratios_of(kind: str, found: dict[str, Found]) -> dict[str, float]:
    alone, both = [found["first alone"], found["second alone"]], found["together"]
    return {
        f"{kind}_bytes_vs_one": both.megabytes / alone[1].megabytes,
        f"{kind}_seconds_vs_one_after_another": both.seconds / sum(o.seconds for o in alone),
        f"{kind}_cpu_vs_one_after_another": both.cpu_seconds / sum(o.cpu_seconds for o in alone),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency-ms", type=float, default=15.0, help="of the bucket")
    options = parser.parse_args()
    torch.set_num_threads(1)
    root = Path(tempfile.mkdtemp(prefix="bench-students-"))
    table: dict[str, dict[str, Found]] = {}
    try:
        folder = root / "bench" / "root"
        folder.mkdir(parents=True)
        write_root(folder, Samples(options.samples))
        table["files"] = middle(lambda: CountedFolder(folder), options.steps, options.rounds)
        with s3_server(root, options.latency_ms):
            url = "s3://bench/root"
            table["S3"] = middle(lambda: CountedBucket(url), options.steps, options.rounds)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(machine())
    print(f"{options.steps} steps of {BATCH}, {PAIR[0]} and {PAIR[1]} at 256 pixels, one thread\n")
    print_table(
        ("root", "students", "MB read", "seconds", "CPU seconds"),
        [
            (kind, name, f"{o.megabytes:.0f}", f"{o.seconds:.1f}", f"{o.cpu_seconds:.1f}")
            for kind, found in table.items()
            for name, o in found.items()
        ],
    )
    print()
    ratios = [ratios_of(kind.lower(), found) for kind, found in table.items()]
    print_ratios({name: value for part in ratios for name, value in part.items()})


if __name__ == "__main__":
    main()
