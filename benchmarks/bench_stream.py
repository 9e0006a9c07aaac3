"""Whole training batches, image and feature, beside the loaders of other libraries and the limit.

A sample is a 1500x1125 JPEG, decoded and resized to 1008x1008, and a 1024x72x72 float16 feature;
a batch has 16 of them, shuffled. All decode and resize by the same function, with 1 or 2 threads or
worker processes. Each measurement is a fresh process, in rounds that take turns:

- hot: from the first batch to the last of several epochs, files in the page cache;
- cold: one whole epoch with the start, files not in the page cache;
- S3: one whole epoch with the start, from moto's server on the loopback, nothing downloaded yet.

    python benchmarks/bench_stream.py
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from measure import interleave, machine, print_ratios, print_table
from stream_data import WRITERS, Samples

MODULES = {"WebDataset": "webdataset", "MDS": "streaming", "LitData": "litdata"}
NAMES = [name for name in WRITERS if name not in MODULES or find_spec(MODULES[name])]
PEERS = [name for name in NAMES if name not in ("limit", "samdistill")]
ON_S3 = ["samdistill", *(name for name in PEERS if name in MODULES)]
WORKERS = (1, 2)
KINDS = ("hot", "cold", "S3")
BATCH_MB = 16 * (2 * 1024 * 72 * 72 + 3 * 1008 * 1008) / 1e6
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}
Found = dict[str, float]


@contextlib.contextmanager
def s3_server(root: Path) -> Iterator[None]:
    """Serve the folders of ``root`` in the bucket ``bench``, from a process of its own."""
    import boto3

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(CREDENTIALS, AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}")
    os.environ["S3_ENDPOINT_URL"] = os.environ["AWS_ENDPOINT_URL"]  # MDS's name for it
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        client = boto3.client("s3")
        client.create_bucket(Bucket="bench")
        for path in sorted(path for name in ON_S3 for path in (root / name).rglob("*")):
            if path.is_file():
                with path.open("rb") as body:
                    key = path.relative_to(root).as_posix()
                    client.put_object(Bucket="bench", Key=key, Body=body)
        yield
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)
    raise TimeoutError("moto's server does not answer")


def forget(root: Path) -> None:
    """Drop the files of ``root`` from the page cache."""
    for path in root.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def measured(kind: str, name: str, root: Path, workers: int, epochs: int) -> Found:
    if kind == "cold":
        forget(root / name)
    source = f"s3://bench/{name}" if kind == "S3" else str(root / name)
    cache = Path(tempfile.mkdtemp(prefix="cache-", dir=root))
    command = [
        sys.executable,
        str(Path(__file__).with_name("stream_readers.py")),
        *(name, source, str(cache)),
        *(str(workers), str(epochs if kind == "hot" else 1)),
    ]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=600)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    if run.returncode:
        raise SystemExit(f"{name}, {kind}: {run.stderr[-3000:]}")
    found: Found = json.loads(run.stdout.splitlines()[-1])
    return found | {"rate": found["steady" if kind == "hot" else "whole"]}


def build(root: Path, count: int) -> None:
    samples = Samples(count)
    for name in NAMES:
        (root / name).mkdir()
        WRITERS[name](root / name, samples)


def measure_kind(
    kind: str, root: Path, workers: int, options: argparse.Namespace
) -> dict[str, Found]:
    """Return the middle run of each reader by its rate."""
    names = ON_S3 if kind == "S3" else NAMES
    found: dict[str, list[Found]] = {name: [] for name in names}

    def run(name: str) -> Callable[[], float]:
        def once() -> float:
            found[name].append(measured(kind, name, root, workers, options.epochs))
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
        peers = [found[name]["rate"] for name in found if name in PEERS]
        if "limit" in found:
            ratios[f"{case}_vs_limit"] = ours["rate"] / found["limit"]["rate"]
        if peers:
            ratios[f"{case}_vs_best_peer"] = ours["rate"] / max(peers)
        ratios[f"{case}_first_batch_s"] = ours["first_s"]
        ratios[f"{case}_peak_vs_bound"] = ours["peak_mb"] / (3 * BATCH_MB + 300)
    return ratios


def report(table: dict[tuple[str, int], dict[str, Found]]) -> None:
    print_table(
        ("files", "threads", "reader", "samples/s", "first batch s", "CPU s/sample", "peak MB"),
        [
            (
                kind,
                workers,
                name,
                f"{one['rate']:.1f}",
                f"{one['first_s']:.2f}",
                f"{one['cpu_s'] / one['batches'] / 16:.4f}",
                f"{one['peak_mb']:.0f}",
            )
            for (kind, workers), found in table.items()
            for name, one in found.items()
        ],
    )
    print()
    print_ratios(ratios_of(table))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=4, help="when hot")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--workers", nargs="+", type=int, default=WORKERS)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="bench-stream-", dir=options.folder))
    load, table = os.getloadavg()[0], {}
    try:
        build(root, options.samples)
        with s3_server(root) if "S3" in options.kinds else contextlib.nullcontext():
            for kind in options.kinds:
                for workers in options.workers:
                    table[kind, workers] = measure_kind(kind, root, workers, options)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(f"{machine()} · load {load:.1f} before")
    print(
        f"{options.samples} samples in {options.folder}, batch 16 ({BATCH_MB:.0f} MB), "
        f"middle of {options.rounds} rounds that take turns\n"
    )
    report(table)


if __name__ == "__main__":
    main()
