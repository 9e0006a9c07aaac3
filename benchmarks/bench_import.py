"""Importing a teacher dump of EfficientSAM3's shape: bytes per second and memory.

The limit reads the same records in the same order and writes them to a file per shard, with fsync:
no checksum, no table, no commit. Beside it what one would write with zarr-python: the same records
into the same sharded array. Each in turn, wall and processor time. Then the memory of the command
in a process of its own, for a dump and for one of four times its size.
Run by ``make bench NAME=import``.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr
from bench_cache import Pictures, normalize
from measure import interleave, machine, medians, print_ratios, print_table
from zarr.codecs import BytesCodec, Crc32cCodec

from pipelines.engine.executor import LocalExecutor, Slice
from pipelines.engine.progress import Progress
from pipelines.exchange.dump_layout import LAYOUTS, SEED_BYTES, keys_name, values_name
from pipelines.exchange.dump_reader import Dump
from pipelines.exchange.import_dump import identify, plan_import
from pipelines.jobs.cache import CachePlan
from pipelines.jobs.finish_split import Budget
from pipelines.store.local import LocalObjectStore
from pipelines.store.splits import Split

SHAPE = (1024, 72, 72)
ROWS_PER_SHARD = 16
ITEM_BYTES = 2 * 1024 * 72 * 72
RECORD_BYTES = SEED_BYTES + ITEM_BYTES


class Bench:
    """A dump by two ranks, in an order of its own, and the split that it belongs to."""

    def __init__(self, folder: Path, records: int) -> None:
        self.folder, self.records = folder, records
        self.split = normalize(folder / "root", Pictures(records, 64, 48), ROWS_PER_SHARD)
        self.dump = folder / "dump"
        self.dump.mkdir()
        samples = [
            sample.key
            for shard in range(self.split.record.shards)
            for sample in self.split.samples(shard)
        ]
        order = np.random.default_rng(0).permutation(records)
        value = np.random.default_rng(1).normal(size=SHAPE).astype("<f2")
        self.places: dict[str, tuple[int, int]] = {}
        for rank in range(2):
            mine = order[rank::2].tolist()
            (self.dump / keys_name(rank)).write_text("".join(f"{samples[i]}\n" for i in mine))
            with (self.dump / values_name(rank)).open("wb") as file:
                for place, _ in enumerate(mine):
                    value[0, 0, 0] = place
                    file.write(bytes(SEED_BYTES))
                    file.write(value)
            self.places |= {samples[number]: (rank, place) for place, number in enumerate(mine)}
        self.keys = samples
        self.cpu: dict[str, list[float]] = {}

    @property
    def bytes(self) -> int:
        return self.records * (ITEM_BYTES)

    def timed(self, name: str, run: Callable[[], None]) -> Callable[[], float]:
        """Return a run that yields its wall time, and notes its processor time."""

        def measure() -> float:
            begun, busy = time.perf_counter(), processor()
            run()
            seconds = time.perf_counter() - begun
            self.cpu.setdefault(name, []).append(processor() - busy)
            self.forget()
            return seconds

        return measure

    def forget(self) -> None:
        for name in ("root/features", "root/runs", "root/leases", "out"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def copy(self) -> None:
        """The limit."""
        out = self.folder / "out"
        out.mkdir()
        buffer = memoryview(bytearray(ITEM_BYTES))
        files = [os.open(self.dump / values_name(rank), os.O_RDONLY) for rank in range(2)]
        for shard in range(self.split.record.shards):
            with (out / str(shard)).open("wb", buffering=0) as file:
                begin = shard * ROWS_PER_SHARD
                for key in self.keys[begin : begin + ROWS_PER_SHARD]:
                    rank, place = self.places[key]
                    os.preadv(files[rank], [buffer], place * RECORD_BYTES + SEED_BYTES)
                    file.write(buffer)
                os.fsync(file.fileno())
        for file_number in files:
            os.close(file_number)

    def by_zarr(self) -> None:
        """Fill the same array by zarr-python, a shard at a time, as it is quickest."""
        array = zarr.create_array(
            self.folder / "out",
            shape=(self.records, *SHAPE),
            shards=(ROWS_PER_SHARD, *SHAPE),
            chunks=(1, *SHAPE),
            dtype="float16",
            serializer=BytesCodec(),
            compressors=[Crc32cCodec()],
            filters=None,
        )
        maps = [
            np.memmap(self.dump / values_name(rank), np.uint8, "r").reshape(-1, RECORD_BYTES)[
                :, SEED_BYTES:
            ]
            for rank in range(2)
        ]
        for begin in range(0, self.records, ROWS_PER_SHARD):
            rows = [
                maps[rank][place].view("<f2").reshape(SHAPE)
                for rank, place in (
                    self.places[key] for key in self.keys[begin : begin + ROWS_PER_SHARD]
                )
            ]
            array[begin : begin + len(rows)] = np.stack(rows)

    def ours(self) -> None:
        complete(plan(self.folder / "root", self.dump))


def plan(root: Path, dump: Path) -> CachePlan:
    split = Split.open(LocalObjectStore(root), "bench", "stills")
    teacher = identify(
        Dump(LocalObjectStore(dump), LAYOUTS["efficientsam3"]), "float16-autocast", None
    )
    return plan_import(split, teacher, Budget(), Slice())


def complete(made: CachePlan) -> None:
    (planned,) = made.stages
    report = LocalExecutor(overlap=2).run(
        planned.stage, list(planned.units), Progress(len(planned.units))
    )
    assert not report.failures, report.failures[0]


def processor() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak(bench: Bench) -> float:
    """Return the peak resident memory of an import in a process of its own, in MB."""
    command = [sys.executable, __file__, "--only", str(bench.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    bench.forget()
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--only", type=Path, help="import once, and print the peak memory")
    options = parser.parse_args()
    if options.only:
        complete(plan(options.only / "root", options.only / "dump"))
        # Not ru_maxrss, which a process takes over from the one that has started it.
        status = Path("/proc/self/status").read_text()
        print(int(status.partition("VmHWM:")[2].split()[0]) / 1000)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        report(Path(folder), options.records, options.rounds)


def report(folder: Path, records: int, rounds: int) -> None:
    small = Bench(folder / "small", records // 4)
    small_peak = peak(small)
    shutil.rmtree(small.folder)
    bench = Bench(folder / "whole", records)
    runs = {
        "limit: pread, write, fsync": bench.copy,
        "samdistill import": bench.ours,
        "zarr-python": bench.by_zarr,
    }
    wall = interleave({name: bench.timed(name, run) for name, run in runs.items()}, rounds)
    seconds, cpu = medians(wall), medians(bench.cpu)
    print(machine())
    print(f"{records} records of {'x'.join(map(str, SHAPE))} float16, 2 ranks, {rounds} rounds\n")
    print_table(
        ("way", "GB/s", "seconds", "processor seconds"),
        [
            (name, f"{bench.bytes / seconds[name] / 1e9:.2f}", f"{seconds[name]:.2f}",
             f"{cpu[name]:.2f}")
            for name in runs
        ],
    )  # fmt: skip
    whole_peak = peak(bench)
    print(
        f"\npeak memory of the process: {small_peak:.0f} MB for {records // 4} records, "
        f"{whole_peak:.0f} MB for {records}"
    )
    limit, ours, other = runs
    print_ratios(
        {
            "vs_limit": seconds[limit] / seconds[ours],
            "vs_zarr": seconds[other] / seconds[ours],
            "cpu_vs_limit": cpu[limit] / cpu[ours],
            "cpu_vs_zarr": cpu[other] / cpu[ours],
            "memory_growth": whole_peak / small_peak,
        }
    )


if __name__ == "__main__":
    main()
