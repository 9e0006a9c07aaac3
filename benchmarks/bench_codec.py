"""Bytes, precision and speed of each codec, how fast its rows reach the disk, what a student loses.

Rows are maps of 1024x72x72 that resemble a trained trunk (``codec_data.py``), or those of
``--values FILE.npy``. Arithmetic is timed on one core, in seconds of that core, and on a CUDA
device if there is one. The student learns from float features of random weights at full width,
cached once by the real job with every codec, and is judged by the features in float32.
Needs what trains: ``.venv/bin/python benchmarks/bench_codec.py``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from codec_data import SHAPE, TrunkLike
from codec_rivals import rivals
from codec_student import student_losses
from measure import interleave, machine, medians, print_ratios, print_table
from no_teacher import TEACHER

from pipelines.store.arrays import FeatureArray, as_bytes
from pipelines.store.local import LocalObjectStore
from pipelines.store.tensor_codec import TensorCodec
from schemas.codec import get_codec
from schemas.features import FeatureSpec
from schemas.manifests import ArrayRecord

CODECS = ("float32", "float16", "bfloat16", "fp8_e4m3", "int8", "pca64")
FULL_BYTES, HALF_BYTES = 4 * 1024 * 72 * 72, 2 * 1024 * 72 * 72
_DEVICE_BATCH = 8
_THREADS = "OPENBLAS_NUM_THREADS"


def feature(codec: str) -> FeatureSpec:
    return FeatureSpec(name="image.trunk", rows="sample", item_shape=SHAPE, codec=codec)


# Precision -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Precision:
    """Of the tokens of all rows, each a vector of 1024 channels."""

    cosine: float
    worst: float
    error: float
    """Relative error of all values, in the Euclidean norm."""


def precision(rows: Sequence[np.ndarray], decoded: Iterable[np.ndarray]) -> Precision:
    cosines, error, size = [], 0.0, 0.0
    for row, again in zip(rows, decoded, strict=True):
        tokens = row.reshape(SHAPE[0], -1).astype(np.float64)
        found = again.reshape(tokens.shape).astype(np.float64)
        lengths = np.linalg.norm(tokens, axis=0) * np.linalg.norm(found, axis=0)
        cosines.append((tokens * found).sum(axis=0) / lengths)
        error += float(np.square(found - tokens).sum())
        size += float(np.square(tokens).sum())
    every = np.concatenate(cosines)
    return Precision(float(every.mean()), float(every.min()), (error / size) ** 0.5)


def precision_of(name: str, rows: Sequence[np.ndarray]) -> Precision:
    codec = get_codec(name)
    return precision(rows, (codec.decode(codec.encode(row, "row"), SHAPE) for row in rows))


# Speed -----------------------------------------------------------------------------------------


def steps_on(values: torch.Tensor) -> dict[str, Callable[[], object]]:
    """What is timed, once done already: each codec both ways, and a bare copy of float16."""
    half, out = values.half(), torch.empty_like(values, dtype=torch.float16)
    steps: dict[str, Callable[[], object]] = {"copy": partial(out.copy_, half)}
    for name in CODECS:
        codec = TensorCodec(feature(name))
        steps[f"encode {name}"] = partial(codec.encode, values)
        steps[f"decode {name}"] = partial(codec.decode, codec.encode(values), out=out)
    for step in steps.values():
        step()
    return steps


def core_seconds(call: Callable[[], object]) -> float:
    """Seconds of this thread, so that other work on the machine counts as little as it can."""
    begun = time.thread_time()
    call()
    return time.thread_time() - begun


def time_on_core(row: np.ndarray, rounds: int) -> dict[str, float]:
    """Median seconds for one row."""
    calls = steps_on(torch.from_numpy(row)[None])
    timed = {name: partial(core_seconds, call) for name, call in calls.items()}
    return medians(interleave(timed, rounds))


def time_on_device(row: np.ndarray, rounds: int) -> dict[str, float]:
    """The same on a CUDA device, in batches; empty without one."""
    if not torch.cuda.is_available():
        return {}
    values = torch.from_numpy(row).cuda().expand(_DEVICE_BATCH, *SHAPE).contiguous()
    calls = steps_on(values)
    timed = {name: partial(device_seconds, call) for name, call in calls.items()}
    found = medians(interleave(timed, rounds))
    return {name: seconds / _DEVICE_BATCH for name, seconds in found.items()}


def device_seconds(call: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    begun = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - begun


# Files -----------------------------------------------------------------------------------------


class Writer:
    """Writes a shard of stored rows again and again, beside a plain file of the same bytes."""

    def __init__(self, folder: Path, row: np.ndarray, count: int) -> None:
        self._folder, self._count = folder, count
        self._stored = {name: get_codec(name).encode(row, "row") for name in CODECS}

    def plain(self, codec: str) -> float:
        """Seconds for each row of a plain file, synchronised."""
        path, body = self._folder / "plain", as_bytes(self._stored[codec])
        begun = time.perf_counter()
        with path.open("xb", buffering=0) as file:
            for _ in range(self._count):
                file.write(body)
            os.fsync(file.fileno())
        seconds = time.perf_counter() - begun
        path.unlink()
        return seconds / self._count

    def shard(self, codec: str) -> float:
        """Seconds for each row of a shard: checksums, zarr index, digest, fsync, link."""
        root = self._folder / "root"
        array = FeatureArray(LocalObjectStore(root), _record(codec, self._count))
        array.create()
        begun = time.perf_counter()
        with array.stage_shard(0) as shard:
            for slot in range(self._count):
                shard.writer.write(slot, as_bytes(self._stored[codec]))
            shard.writer.finish()
            assert shard.staged.publish()
        seconds = time.perf_counter() - begun
        shutil.rmtree(root)
        return seconds / self._count


def _record(codec: str, rows: int) -> ArrayRecord:
    return ArrayRecord(
        dataset="bench",
        split="all",
        split_digest="",
        feature=feature(codec),
        teacher=TEACHER,
        shards=1,
        rows_per_shard=rows,
    )


def time_files(folder: Path, row: np.ndarray, count: int, rounds: int) -> dict[str, float]:
    writer = Writer(folder, row, count)
    runs: dict[str, Callable[[], float]] = {}
    for name in CODECS:
        runs[f"plain {name}"] = partial(writer.plain, name)
        runs[f"shard {name}"] = partial(writer.shard, name)
    return medians(interleave(runs, rounds))


# Report ----------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--values", type=Path, help="maps [N, 1024, 72, 72] to measure instead")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--written", type=int, default=24, help="rows of a file")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--images", type=int, default=64, help="that the student sees")
    parser.add_argument("--steps", type=int, default=50, help="of the student; 0 leaves it out")
    options = parser.parse_args()
    if os.environ.get(_THREADS) != "1":
        # numpy's BLAS asks for it once, when it is loaded.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {_THREADS: "1"})
    torch.set_num_threads(1)
    print(f"{machine()} · torch {torch.__version__}")
    rows = list(np.load(options.values)) if options.values else _trunk_like(options.rows)
    precisions = {name: precision_of(name, rows) for name in CODECS}
    others = [(name, size, precision(rows[-1:], [found])) for name, size, found in rivals(rows)]
    core = time_on_core(rows[0], options.rounds)
    device = time_on_device(rows[0], options.rounds)
    with tempfile.TemporaryDirectory(prefix="bench-codec-", dir=options.folder) as folder:
        files = time_files(Path(folder), rows[0], options.written, options.rounds)
        losses: dict[str, float] = {}
        if options.steps:
            losses = student_losses(Path(folder), CODECS, options.images, options.steps)
    source = options.values or "trunk-like"
    print(f"{len(rows)} rows, {source}; median of {options.rounds} interleaved rounds\n")
    sizes = {name: feature(name).item_bytes for name in CODECS}
    report_precision([(name, sizes[name], precisions[name]) for name in CODECS])
    print("\nWhat else could be done with few bytes, on the last row; shared bases not counted\n")
    report_precision([("pca64", sizes["pca64"], precision_of("pca64", rows[-1:])), *others])
    report_speed("one core", core)
    if device:
        report_speed(torch.cuda.get_device_name(), device)
    report_files(options, core, files)
    if losses:
        report_losses(options, losses)
    print()
    print_ratios(ratios(precisions, core, files, losses))


def _trunk_like(count: int) -> list[np.ndarray]:
    source = TrunkLike()
    return [source.next() for _ in range(count)]


def report_precision(found: Iterable[tuple[str, float, Precision]]) -> None:
    print_table(
        ("codec", "bytes per row", "of float16", "cosine, mean", "worst token", "relative error"),
        [
            (
                name,
                f"{size:,.0f}",
                f"{size / HALF_BYTES:.1%}",
                f"{item.cosine:.6f}",
                f"{item.worst:.6f}",
                f"{item.error:.5f}",
            )
            for name, size, item in found
        ],
    )


def report_speed(where: str, seconds: dict[str, float]) -> None:
    print(f"\nOn {where}; a bare copy of float16: {HALF_BYTES / seconds['copy'] / 1e9:.1f} GB/s\n")
    rows = []
    for name in CODECS:
        encode, decode = seconds[f"encode {name}"], seconds[f"decode {name}"]
        rates = (FULL_BYTES / encode / 1e9, HALF_BYTES / decode / 1e9)
        cells = (encode * 1e3, rates[0], decode * 1e3, rates[1])
        rows.append((name, *(f"{value:.2f}" for value in cells)))
    header = ("encode ms", "encode GB/s of float32", "decode ms", "decode GB/s of float16")
    print_table(("codec", *header), rows)


def report_files(
    options: argparse.Namespace, core: dict[str, float], seconds: dict[str, float]
) -> None:
    print(f"\nFiles of {options.written} rows in {options.folder}, synchronised\n")
    rows = []
    for name in CODECS:
        size = feature(name).item_bytes
        plain, shard = seconds[f"plain {name}"], seconds[f"shard {name}"]
        cells = (size / plain / 1e9, size / shard / 1e9, 1 / shard, 1 / core[f"encode {name}"])
        rows.append((name, *(f"{value:.2f}" for value in cells)))
    header = ("plain file GB/s", "shard GB/s", "shard rows/s", "a core encodes rows/s")
    print_table(("codec", *header), rows)


def report_losses(options: argparse.Namespace, losses: dict[str, float]) -> None:
    print(
        f"\nA student after {options.steps} equal steps on {options.images} images: distillation "
        "loss against float32 features\n"
    )
    print_table(
        ("codec", "loss", "beside float32"),
        [
            (name, f"{loss:.5f}", f"{loss / losses['float32'] - 1:+.2%}")
            for name, loss in losses.items()
        ],
    )


def ratios(
    found: dict[str, Precision],
    core: dict[str, float],
    files: dict[str, float],
    losses: dict[str, float],
) -> dict[str, float]:
    values = {
        "int8_cosine": found["int8"].cosine,
        "int8_bytes_vs_fp16": feature("int8").item_bytes / HALF_BYTES,
        "int8_encode_vs_disk": files["plain int8"] / core["encode int8"],
        "int8_encode_gbs_fp32": FULL_BYTES / core["encode int8"] / 1e9,
        "int8_decode_vs_copy": core["copy"] / core["decode int8"],
        "int8_shard_vs_plain": files["plain int8"] / files["shard int8"],
        "pca64_cosine": found["pca64"].cosine,
        "pca64_bytes_vs_fp16": feature("pca64").item_bytes / HALF_BYTES,
    }
    if losses:
        values |= {
            f"{name}_loss_vs_fp32": losses[name] / losses["float32"] for name in ("int8", "pca64")
        }
    return values


if __name__ == "__main__":
    main()
