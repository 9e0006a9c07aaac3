"""Resuming a large cache: from the command to its first shard, and its memory; and `status`.

The root claims SA-1B's size: 11 million images in 86,000 shards of 128, of which all but a few are
cached. Those few are real; of the others there is what a resume sees, their commit records. Beside
it the same command on a root that has only the few, which is what starting Python and loading the
teacher cost. Then a smaller root in a bucket of moto's server, whose log counts the requests before
the first lease. Run by ``make bench NAME=resume``.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import boto3
import msgspec
from bench_cache import Pictures, normalize
from measure import interleave, machine, medians, print_ratios, print_table

from pipelines.jobs.asked_features import expand_features
from pipelines.jobs.cache import CacheOptions, plan_cache
from pipelines.jobs.feature_stage import teacher_loader
from pipelines.store import layout
from pipelines.store.arrays import FeatureArray
from pipelines.store.local import LocalObjectStore
from pipelines.store.splits import Split
from pipelines.teachers.base import TeacherOptions
from schemas.ids import canonical_json
from schemas.manifests import CommitRecord, FileRecord

REAL, ROWS = 4, 8
SHARDS, IMAGES = 86_000, 11_000_000


def make_root(root: Path, shards: int, images: int) -> Path:
    """Return a root whose first shards are real and whose others are cached, as records tell."""
    split = normalize(root, Pictures(REAL * ROWS, 64, 48), ROWS)
    key = layout.split_key(split.record.dataset, split.record.split)
    claimed = msgspec.structs.replace(split.record, shards=shards, rows=images)
    Path(root, key).write_bytes(canonical_json(claimed))
    split = Split.open(LocalObjectStore(root), split.record.dataset, split.record.split)
    load = teacher_loader("tiny", TeacherOptions())
    (planned,) = plan_cache(
        split, load(), load, expand_features(["image.trunk"]), CacheOptions()
    ).stages
    (array,) = planned.stage.arrays
    array.create()
    folder = Path(root, layout.commits_folder(array.folder))
    folder.mkdir()
    for shard in range(REAL, shards):
        Path(root, layout.commit_key(array.folder, shard)).write_bytes(commit(array, shard))
    return root


def commit(array: FeatureArray, shard: int) -> bytes:
    """Return a commit record of the usual size."""
    files = (array.shard_key(shard), layout.rows_key(array.folder, shard))
    inputs = (
        layout.media_key("bench", "stills", shard),
        layout.samples_key("bench", "stills", shard),
    )
    record = CommitRecord(
        product=array.feature.array_name,
        dataset=array.record.dataset,
        split=array.record.split,
        shard=shard,
        rows=128,
        identity=array.record.teacher.digest,
        files=tuple(FileRecord(key=key, bytes=1 << 30, blake3=64 * "0") for key in files),
        inputs=tuple(FileRecord(key=key, bytes=1 << 25, blake3=64 * "0") for key in inputs),
        counts={"stored": 128},
    )
    return canonical_json(record)


class Resume:
    """Runs the command on a root; every run leaves the root as it found it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.resident: list[float] = []
        self.private: list[float] = []
        self.cpu: list[float] = []

    def first_shard(self) -> float:
        """Return the seconds from the command's start to its first lease, and note its memory."""
        begun = time.perf_counter()
        with start(cache_command(str(self.root))) as process:
            while not list(self.root.glob("leases/*/*.json")) and process.poll() is None:
                time.sleep(0.01)
            seconds = time.perf_counter() - begun
            self._note(process.pid)
            assert process.wait() == 0
        self._forget()
        return seconds

    def _note(self, pid: int) -> None:
        """Read what the process has taken so far; memory in 1e9 bytes, processor in seconds."""
        status = Path(f"/proc/{pid}/status").read_text()
        peak, private = (
            int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) * 1024 / 1e9  # type: ignore[index]
            for name in ("VmHWM", "RssAnon")
        )
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        self.resident.append(peak)
        self.private.append(private)
        self.cpu.append((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))

    def _forget(self) -> None:
        """Remove what the real shards were given."""
        for folder in self.root.glob("features/*/*/*/*"):
            for shard in range(REAL):
                shutil.rmtree(folder / "c" / str(shard), ignore_errors=True)
                for key in (layout.rows_key("", shard), layout.commit_key("", shard)):
                    (folder / key.lstrip("/")).unlink(missing_ok=True)

    def status(self) -> float:
        begun = time.perf_counter()
        with start(["status", "--root", str(self.root), "--json"]) as process:
            assert process.wait() == 0
        return time.perf_counter() - begun


def start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli.main", *command],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )


def cache_command(root: str) -> list[str]:
    command = ["cache", "bench", "--root", root, "--teacher", "tiny"]
    return [*command, "--features", "image.trunk", "--device", "cpu", "--force"]


# A bucket --------------------------------------------------------------------------------------


def count_requests(root: Path, log: Path) -> Counter[str]:
    """Copy the root into a bucket, resume there, and count its requests until the first lease."""
    with s3_server(log) as client:
        client.create_bucket(Bucket="bench")
        files = [path for path in root.rglob("*") if path.is_file()]

        def put(path: Path) -> None:
            key = path.relative_to(root).as_posix()
            client.put_object(Bucket="bench", Key=key, Body=path.read_bytes())

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, files))
        before = log.stat().st_size
        with start(cache_command("s3://bench")) as process:
            assert process.wait() == 0
    requests: Counter[str] = Counter()
    for line in log.read_bytes()[before:].decode().splitlines():
        if '"PUT /bench/leases/' in line:
            return requests
        if found := re.search(r'"(?:\x1b\[\d+m)*([A-Z]+) (\S*) HTTP', line):
            method, path = found.groups()
            requests["LIST" if "list-type=2" in path else method] += 1
    raise AssertionError("no lease was taken")


@contextmanager
def s3_server(log: Path) -> Iterator[Any]:
    """Run moto's server, which logs each request, and point this process and its children to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as server:
        try:
            for _ in range(600):
                with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            yield boto3.client("s3")
        finally:
            server.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=SHARDS)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--s3-shards", type=int, default=5000, help="0: no bucket")
    parser.add_argument("--folder", default="/dev/shm")
    arguments = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        small = Resume(make_root(Path(folder, "small"), REAL, REAL * ROWS))
        begun = time.perf_counter()
        large = Resume(make_root(Path(folder, "large"), arguments.shards, arguments.images))
        print(f"{arguments.shards} commit records made in {time.perf_counter() - begun:.0f} s\n")
        small.first_shard()
        seconds = medians(
            interleave(
                {
                    "small": small.first_shard,
                    "large": large.first_shard,
                    "status small": small.status,
                    "status large": large.status,
                },
                arguments.rounds,
            )
        )
        shown = {f"{REAL} shards": ("small", small), f"{arguments.shards} shards": ("large", large)}
        print_table(
            ["root", "first shard after", "CPU", "peak memory", "of it private", "status"],
            [
                [
                    title,
                    f"{seconds[name]:.2f} s",
                    f"{median(resume.cpu):.2f} s",
                    f"{max(resume.resident):.2f} GB",
                    f"{max(resume.private):.2f} GB",
                    f"{seconds[f'status {name}']:.2f} s",
                ]
                for title, (name, resume) in shown.items()
            ],
        )
        ratios = {
            "resume_seconds": seconds["large"],
            "resume_seconds_beyond_start": seconds["large"] - seconds["small"],
            "resume_cpu_beyond_start": median(large.cpu) - median(small.cpu),
            "resume_gigabytes": max(large.resident),
            "resume_gigabytes_private": max(large.private),
            "status_seconds": seconds["status large"],
        }
        if arguments.s3_shards:
            shards = arguments.s3_shards
            root = make_root(Path(folder, "s3"), shards, 128 * shards)
            found = count_requests(root, Path(folder, "s3.log"))
            listed = ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))
            print(f"\nin a bucket, {shards} shards: {listed} before the first lease")
            ratios["s3_requests"] = found.total()
    print_ratios(ratios)


if __name__ == "__main__":
    main()
