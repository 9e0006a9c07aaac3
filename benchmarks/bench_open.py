"""Opening a manifest of 11 million samples in 86,000 shards, and jumping anywhere in it.

The manifest and its indexes are those that publishing makes, of made-up rows; no shard is there.
Each measurement is a fresh process.

    python benchmarks/bench_open.py
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from measure import machine, medians, print_ratios, print_table
from no_teacher import TEACHER

from pipelines.store import layout
from pipelines.store.arrays import FeatureArray
from pipelines.store.local import LocalObjectStore
from pipelines.store.row_index import encode_index
from pipelines.store.tables import encode_columns, table_record
from schemas.features import FeatureSpec
from schemas.ids import canonical_json, digest_bytes
from schemas.manifests import (
    ArrayRecord,
    FileRecord,
    Manifest,
    ManifestFeature,
    ManifestSplit,
    PartRecord,
    SplitRecord,
)
from schemas.tables import FEATURE_INDEX, SAMPLE_INDEX, SHARD_FILES

ROWS_PER_SHARD = 128
ROW_BYTES = 10_620_928
QUARANTINED_EVERY = 1000

OPEN = """
import json, sys, time
import torch

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(name))

torch_alone = status("VmRSS")
import pyarrow, numpy as np
from pipelines.stream.feature_stream import FeatureStream

before = status("VmRSS")
own_before = status("RssAnon")
began = time.perf_counter()
stream = FeatureStream(sys.argv[1], "large", image_size=1008, locality=sys.argv[2])
opened = time.perf_counter() - began
peak, own = status("VmHWM"), status("RssAnon")
jumps = []
for position in (7 * 10**6, 10**9 + 3, 12345, 5 * 10**6):
    began = time.perf_counter()
    positions = np.arange(position, position + 16)
    numbers, rows = stream.index.place(stream._order.at(positions))
    keys = [stream.index.key(number, row) for number, row in zip(numbers, rows)]
    jumps.append(time.perf_counter() - began)
print(json.dumps({"samples": stream.samples, "open": opened, "peak": peak, "before": before,
                  "torch": torch_alone, "own": own, "own_added": own - own_before,
                  "jump": max(jumps)}))
"""


def build(root: Path, shards: int) -> int:
    """Publish ``large``; return its bytes."""
    store, rows = LocalObjectStore(root), shards * ROWS_PER_SHARD
    row = np.arange(rows)
    sound = row % QUARANTINED_EVERY != 0
    slot = row % ROWS_PER_SHARD
    samples = pa.table(
        {
            "offset": pa.array(512 + slot * 300_000, mask=~sound),
            "size": pa.array(np.full(rows, 299_000, dtype=np.uint32), mask=~sound),
            "digest": pa.array(np.random.default_rng(0).integers(0, 2**63, rows).astype(np.uint64)),
            "key": pa.array([f"sa_{number}" for number in row.tolist()], pa.large_string()),
        },
        schema=SAMPLE_INDEX,
    )
    features = pa.table({"offset": pa.array(slot * ROW_BYTES, mask=~sound)}, schema=FEATURE_INDEX)
    split = SplitRecord(
        dataset="sa-1b",
        split="train",
        media="image",
        shards=shards,
        rows=rows,
        rows_per_shard=ROWS_PER_SHARD,
        object_frames_per_shard=0,
        phrases=0,
        counts={},
        quarantined={},
        licence="none",
        normalizer="none",
        sources={},
        commits="none",
        files=(),
    )
    nothing = FileRecord(key="none", bytes=0, blake3="0")
    folder = layout.array_folder("sa-1b", "train", TEACHER.digest, "image.trunk")
    media = [layout.media_key("sa-1b", "train", shard) for shard in range(shards)]
    arrays = [layout.array_shard_key(folder, shard, 4) for shard in range(shards)]
    spec = FeatureSpec(
        name="image.trunk", rows="sample", item_shape=(1024, 72, 72), codec="float16"
    )
    record = ArrayRecord(
        dataset="sa-1b",
        split="train",
        split_digest=nothing.blake3,
        feature=spec,
        teacher=TEACHER,
        shards=shards,
        rows_per_shard=ROWS_PER_SHARD,
    )
    feature = ManifestFeature(
        feature=spec,
        teacher=TEACHER.digest,
        array=FeatureArray(store, record).create(),
        rows_per_shard=ROWS_PER_SHARD,
        part=_part(store, arrays, rows),
        index=_put(store, "arrow", encode_index(features)),
    )
    published = ManifestSplit(
        split=split,
        split_file=nothing,
        part=_part(store, media, rows),
        features=(feature,),
        index=_put(store, "arrow", encode_index(samples)),
    )
    manifest = Manifest(name="large", teachers={TEACHER.digest: TEACHER}, splits=(published,))
    store.put_if_absent(layout.manifest_key("large", 1), canonical_json(manifest))
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def _part(store: LocalObjectStore, keys: list[str], rows: int) -> PartRecord:
    table = pa.table(
        {
            "shard": range(len(keys)),
            "rows": [ROWS_PER_SHARD] * len(keys),
            "key": keys,
            "bytes": [10**9] * len(keys),
            "blake3": [digest_bytes(key.encode()) for key in keys],
        },
        schema=SHARD_FILES,
    )
    file = _put(store, "parquet", encode_columns(table))
    return PartRecord(file=file, shards=len(keys), rows=rows, data_bytes=0)


def _put(store: LocalObjectStore, ending: str, body: bytes) -> FileRecord:
    key = f"manifests/large/parts/{digest_bytes(body)}.{ending}"
    store.put_if_absent(key, body)
    return table_record(key, body)


def measured(root: Path, locality: str) -> dict[str, float]:
    command = [sys.executable, "-c", OPEN, str(root), locality]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=86_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="bench-open-"))
    try:
        size = build(root, options.shards)
        runs = {
            locality: [measured(root, locality) for _ in range(options.rounds)]
            for locality in ("none", "shard")
        }
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(machine())
    print(f"{options.shards} shards, {size / 1e6:.0f} MB of manifest and indexes\n")
    found = {
        locality: medians({name: [run[name] for run in every] for name in every[0]})
        for locality, every in runs.items()
    }
    print_table(
        (
            "order",
            "samples",
            "open s",
            "jump s",
            "peak MB",
            "of it imports",
            "of it torch",
            "private MB after opening",
            "of it by opening",
        ),
        [
            (
                locality,
                f"{run['samples']:.0f}",
                f"{run['open']:.2f}",
                f"{run['jump']:.3f}",
                f"{run['peak']:.0f}",
                f"{run['before']:.0f}",
                f"{run['torch']:.0f}",
                f"{run['own']:.0f}",
                f"{run['own_added']:.0f}",
            )
            for locality, run in found.items()
        ],
    )
    print()
    worst = {name: max(run[name] for run in found.values()) for name in found["none"]}
    ratios = {f"{name}_s": worst[name] for name in ("open", "jump")}
    ratios |= {f"{name}_mb": worst[name] for name in ("peak", "torch", "own")}
    print_ratios(ratios | {"added_mb": worst["peak"] - worst["before"]})


if __name__ == "__main__":
    main()
