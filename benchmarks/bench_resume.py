"""Resuming a large cache: from the command to its first shard, and its memory; and `status`.

The root claims SA-1B's size: 11 million images in 86,000 shards of 128, of which all but a few are
cached. Those few are real; of the others there is what a resume sees, their commit records. Beside
it the same command on a root that has only the few, which is what starting Python and loading the
teacher cost. Run by ``make bench NAME=resume``.
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
from collections.abc import Sequence
from pathlib import Path

import msgspec
from bench_cache import Pictures, normalize
from measure import interleave, machine, medians, print_ratios, print_table

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
    (planned,) = plan_cache(split, load(), load, ["image.trunk"], CacheOptions()).stages
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
        self.memory = 0.0

    def first_shard(self) -> float:
        """Return the seconds from the command's start to its first lease."""
        command = ["cache", "bench", "--root", str(self.root), "--teacher", "tiny"]
        command += ["--features", "image.trunk", "--device", "cpu", "--force"]
        begun = time.perf_counter()
        with start(command) as process:
            while not list(self.root.glob("leases/*/*.json")) and process.poll() is None:
                time.sleep(0.01)
            seconds = time.perf_counter() - begun
            assert process.wait() == 0
        self.memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        self._forget()
        return seconds

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=SHARDS)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", default="/dev/shm")
    arguments = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        small = Resume(make_root(Path(name, "small"), REAL, REAL * ROWS))
        begun = time.perf_counter()
        large = Resume(make_root(Path(name, "large"), arguments.shards, arguments.images))
        print(f"{arguments.shards} commit records made in {time.perf_counter() - begun:.0f} s\n")
        small.first_shard()
        small_memory = small.memory
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
    print_table(
        ["root", "first shard after", "peak memory", "status"],
        [
            [
                f"{REAL} shards",
                f"{seconds['small']:.2f} s",
                f"{small_memory:.2f} GB",
                f"{seconds['status small']:.2f} s",
            ],
            [
                f"{arguments.shards} shards",
                f"{seconds['large']:.2f} s",
                f"{large.memory:.2f} GB",
                f"{seconds['status large']:.2f} s",
            ],
        ],
    )
    print_ratios(
        {
            "resume_seconds": seconds["large"],
            "resume_seconds_beyond_start": seconds["large"] - seconds["small"],
            "resume_gigabytes": large.memory,
            "status_seconds": seconds["status large"],
        }
    )


if __name__ == "__main__":
    main()
