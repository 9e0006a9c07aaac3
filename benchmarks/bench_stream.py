"""Whole training batches, image and feature, beside the loaders of other libraries and the limit.

A sample is a 1500x1125 JPEG, decoded and resized to 1008x1008, and a 1024x72x72 float16 feature;
a batch has 16 of them, shuffled. All decode and resize by the same function, with 1 or 2 threads or
worker processes. Each measurement is a fresh process, in rounds that take turns:

- hot: files in the page cache; after an epoch of warm-up, and while the reader reads on;
- cold: one whole epoch with the start, files not in the page cache;
- S3: one whole epoch with the start, from a server of files on the loopback, nothing downloaded
  yet. moto's server is not used: it reads a whole object to answer a range of it, 60 ms for a row.

    python benchmarks/bench_stream.py
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from measure import interleave, machine, print_ratios, print_table
from stream_data import WRITERS, Samples
from stream_readers import BATCH, MODULES

NAMES = [name for name in WRITERS if name not in MODULES or find_spec(MODULES[name])]
PEERS = [name for name in NAMES if name not in ("limit", "samdistill")]
ON_S3 = [name for name in NAMES if name != "records in DataLoader"]
WORKERS = (1, 2)
KINDS = ("hot", "cold", "S3")
BATCH_MB = 16 * (2 * 1024 * 72 * 72 + 3 * 1008 * 1008) / 1e6
BOUND_MB = 3 * BATCH_MB + 300
"""What a reader should take. PyTorch with CUDA's libraries takes 500 of it when imported."""
BUCKET = "bench"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}
Found = dict[str, float]


@contextlib.contextmanager
def s3_server(root: Path, latency_ms: float) -> Iterator[None]:
    """Serve the folders of ``root`` as buckets, from a process of its own."""
    program = str(Path(__file__).with_name("file_server.py"))
    command = [sys.executable, program, str(root), str(latency_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}"
            # The last is MDS's name for it.
            os.environ.update(CREDENTIALS, AWS_ENDPOINT_URL=url, S3_ENDPOINT_URL=url)
            yield
        finally:
            server.terminate()


def forget(folder: Path) -> None:
    """Drop the files of ``folder`` from the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def measured(kind: str, name: str, root: Path, workers: int, options: argparse.Namespace) -> Found:
    epoch = options.samples // BATCH
    warm_up, batches = (epoch, options.batches) if kind == "hot" else (0, epoch)
    # Loaders read ahead: an epoch more, and they do so until the last batch that counts.
    epochs = -(-(warm_up + batches) // epoch) + 1 if kind == "hot" else 1
    if kind == "cold":
        forget(root / BUCKET / name)
    source = f"s3://{BUCKET}/{name}" if kind == "S3" else str(root / BUCKET / name)
    cache = Path(tempfile.mkdtemp(prefix="cache-", dir=root))
    command = [
        sys.executable,
        str(Path(__file__).with_name("stream_readers.py")),
        *(name, source, str(cache)),
        *map(str, (workers, warm_up, batches, epochs)),
    ]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=600)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    if run.returncode:
        raise SystemExit(f"{name}, {kind}: {run.stderr[-3000:]}")
    found: Found = json.loads(run.stdout.splitlines()[-1])
    return found


def build(root: Path, count: int) -> None:
    samples = Samples(count)
    for name in NAMES:
        folder = root / BUCKET / name
        folder.mkdir(parents=True)
        WRITERS[name](folder, samples)


def measure_kind(
    kind: str, root: Path, workers: int, options: argparse.Namespace
) -> dict[str, Found]:
    """Return the middle run of each reader by its rate."""
    names = ON_S3 if kind == "S3" else NAMES
    found: dict[str, list[Found]] = {name: [] for name in names}

    def run(name: str) -> Callable[[], float]:
        def once() -> float:
            found[name].append(measured(kind, name, root, workers, options))
            return found[name][-1]["rate"]

        return once

    interleave({name: run(name) for name in names}, options.rounds)
    return {
        name: sorted(runs, key=lambda one: one["rate"])[len(runs) // 2]
        for name, runs in found.items()
    }


def ratios_of(table: dict[tuple[str, int], dict[str, Found]]) -> dict[str, float]:
    ratios = {}
    for (kind, workers), found in table.items():
        ours, case = found["samdistill"], f"{kind.lower()}_{workers}"
        peers = [found[name] for name in found if name in PEERS]
        ratios[f"{case}_vs_limit"] = ours["rate"] / found["limit"]["rate"]
        ratios[f"{case}_cpu_vs_limit"] = found["limit"]["cpu_ms"] / ours["cpu_ms"]
        if peers:
            ratios[f"{case}_vs_best_peer"] = ours["rate"] / max(one["rate"] for one in peers)
            best = min(one["cpu_ms"] for one in peers)
            ratios[f"{case}_cpu_vs_best_peer"] = best / ours["cpu_ms"]
        ratios[f"{case}_first_batch_s"] = ours["first_s"]
        ratios[f"{case}_peak_vs_bound"] = ours["peak_mb"] / BOUND_MB
        ratios[f"{case}_peak_over_imports_vs_bound"] = (
            ours["peak_mb"] - ours["imports_mb"]
        ) / BOUND_MB
    return ratios


def report(table: dict[tuple[str, int], dict[str, Found]]) -> None:
    header = ("files", "threads", "reader", "samples/s", "first batch s", "CPU ms/sample")
    print_table(
        (*header, "peak MB", "of it imports"),
        [
            (
                kind,
                workers,
                name,
                f"{one['rate']:.1f}",
                f"{one['first_s']:.2f}",
                f"{one['cpu_ms']:.1f}",
                f"{one['peak_mb']:.0f}",
                f"{one['imports_mb']:.0f}",
            )
            for (kind, workers), found in table.items()
            for name, one in found.items()
        ],
    )
    print()
    print_ratios(ratios_of(table))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--batches", type=int, default=24, help="that are measured, when hot")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--workers", nargs="+", type=int, default=WORKERS)
    parser.add_argument("--latency-ms", type=float, default=0, help="of each request to S3")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="bench-stream-", dir=options.folder))
    load, table = os.getloadavg()[0], {}
    try:
        build(root, options.samples)
        with s3_server(root, options.latency_ms):
            for kind in options.kinds:
                for workers in options.workers:
                    table[kind, workers] = measure_kind(kind, root, workers, options)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(f"{machine()} · load {load:.1f} before")
    print(
        f"{options.samples} samples in {options.folder}, batch 16 ({BATCH_MB:.0f} MB), "
        f"middle of {options.rounds} rounds that take turns, "
        f"S3 {options.latency_ms:g} ms per request\n"
    )
    report(table)


if __name__ == "__main__":
    main()
