"""Readers of bench_stream.py, each run in a process of its own: epochs of shuffled batches.

    python benchmarks/stream_readers.py NAME SOURCE CACHE WORKERS EPOCHS

``SOURCE`` is a folder, or ``s3://bucket/prefix``; libraries that download do so into ``CACHE``.
All decode and resize an image by the same function. Prints one JSON object.
"""

from __future__ import annotations

import io
import json
import logging
import os
import resource
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from stream_data import ITEM_BYTES, SEED_BYTES, SHAPE
from torch.utils.data import DataLoader, Dataset

from pipelines.media.decode import decode_checked
from pipelines.media.preprocess import resize_to_square

BATCH = 16
SIDE = 1008
Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Run:
    source: str
    cache: str
    workers: int
    epochs: int

    @property
    def remote(self) -> bool:
        return self.source.startswith("s3://")


def picture(jpeg: bytes, out: torch.Tensor | None = None) -> torch.Tensor:
    return resize_to_square(decode_checked(jpeg, "bench"), SIDE, out)


def limit(run: Run) -> Iterator[Pair]:
    """Threads: preadv into the batch, and decode, with the next batch begun; nothing else."""
    ends = np.load(f"{run.source}/ends.npy").tolist()
    begins = [0, *ends[:-1]]
    features = os.open(f"{run.source}/features", os.O_RDONLY)
    jpegs = os.open(f"{run.source}/jpegs", os.O_RDONLY)
    images = [torch.empty((BATCH, 3, SIDE, SIDE), dtype=torch.uint8) for _ in range(2)]
    stored = [torch.empty((BATCH, *SHAPE), dtype=torch.float16) for _ in range(2)]

    def fill(turn: int, place: int, index: int) -> None:
        row = memoryview(stored[turn][place].numpy()).cast("B")
        assert os.preadv(features, [row], index * ITEM_BYTES) == ITEM_BYTES
        jpeg = os.pread(jpegs, ends[index] - begins[index], begins[index])
        picture(jpeg, images[turn][place])

    rng = np.random.default_rng(1)
    order = np.concatenate([rng.permutation(len(ends)) for _ in range(run.epochs)])
    picks = order[: len(order) // BATCH * BATCH].reshape(-1, BATCH).tolist()
    with ThreadPoolExecutor(run.workers) as pool:

        def begin(number: int) -> list[Future[None]]:
            pairs = enumerate(picks[number]) if number < len(picks) else ()
            return [pool.submit(fill, number % 2, place, index) for place, index in pairs]

        jobs = begin(0)
        for number in range(len(picks)):
            for job in jobs:
                job.result()
            jobs = begin(number + 1)
            yield images[number % 2], stored[number % 2]


def samdistill(run: Run) -> Iterator[Pair]:
    from pipelines.stream.feature_stream import FeatureStream

    stream = FeatureStream(
        run.source,
        "bench",
        image_size=SIDE,
        batch_size=BATCH,
        seed=1,
        epochs=run.epochs,
        threads=run.workers,
        prefetch=1,
        drop_last=True,
    )
    for batch in stream:
        yield batch.images_BCHW, batch.features["image.trunk"]


class RecordFile(Dataset[Pair]):
    """Image files, and fixed records that are sought and read."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._count = os.path.getsize(f"{folder}/values.bin") // (ITEM_BYTES + SEED_BYTES)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Pair:
        with open(f"{self._folder}/values.bin", "rb") as file:
            file.seek(index * (ITEM_BYTES + SEED_BYTES))
            record = file.read(ITEM_BYTES + SEED_BYTES)
        values = np.frombuffer(record, dtype=np.float16, offset=SEED_BYTES).reshape(SHAPE)
        jpeg = Path(f"{self._folder}/{index:08d}.jpg").read_bytes()
        return picture(jpeg), torch.from_numpy(values)


def records(run: Run) -> Iterator[Pair]:
    loader = DataLoader(
        RecordFile(run.source),
        batch_size=BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=run.workers,
        persistent_workers=True,
    )
    for _ in range(run.epochs):
        yield from loader


def webdataset(run: Run) -> Iterator[Pair]:
    """Tar shards, mixed in a buffer of still encoded samples; a bucket is read through curl."""
    import webdataset as wds

    if run.remote:
        bucket, _, prefix = run.source.removeprefix("s3://").partition("/")
        import boto3

        listed = boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
        server = os.environ["AWS_ENDPOINT_URL"]
        names = [item["Key"] for item in listed["Contents"]]
        shards = [f"pipe:curl -s {server}/{bucket}/{name}" for name in names]
    else:
        shards = sorted(str(path) for path in Path(run.source).glob("shard-*.tar"))
    data = (
        wds.WebDataset(shards * run.epochs, shardshuffle=len(shards), empty_check=False, seed=1)
        .shuffle(16)
        .to_tuple("jpg", "npy")
        .map_tuple(picture, lambda body: torch.from_numpy(np.load(io.BytesIO(body))))
        .batched(BATCH, partial=False)
    )
    yield from wds.WebLoader(data, batch_size=None, num_workers=run.workers)


def mds(run: Run) -> Iterator[Pair]:
    from streaming import StreamingDataLoader, StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    class Pictures(StreamingDataset):
        def __getitem__(self, at: int) -> Pair:
            sample = super().__getitem__(at)
            return picture(sample["jpeg"]), torch.from_numpy(sample["x"])

    clean_stale_shared_memory()
    place = {"remote": run.source, "local": run.cache} if run.remote else {"local": run.source}
    data = Pictures(**place, shuffle=True, batch_size=BATCH)
    yield from _library_epochs(StreamingDataLoader, data, run)


def litdata(run: Run) -> Iterator[Pair]:
    from litdata import StreamingDataLoader, StreamingDataset

    class Pictures(StreamingDataset):
        def __getitem__(self, at: int) -> Pair:
            sample = super().__getitem__(at)
            return picture(bytes(sample["jpeg"])), sample["x"]

    remote = {}
    if run.remote:
        server = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"]}
        remote = {"cache_dir": run.cache, "storage_options": server}
    data = Pictures(run.source, shuffle=True, drop_last=True, **remote)
    yield from _library_epochs(StreamingDataLoader, data, run)


def _library_epochs(kind: type[DataLoader[Pair]], data: Dataset[Pair], run: Run) -> Iterator[Pair]:
    loader = kind(data, batch_size=BATCH, num_workers=run.workers, drop_last=True)
    for _ in range(run.epochs):
        yield from loader


READERS = {
    "limit": limit,
    "samdistill": samdistill,
    "records in DataLoader": records,
    "WebDataset": webdataset,
    "MDS": mds,
    "LitData": litdata,
}


class ResidentPeak(threading.Thread):
    """The peak of this process and its children together; shared pages are split among them."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.megabytes = 0.0

    def run(self) -> None:
        while True:
            self.megabytes = max(self.megabytes, sum(map(_proportional, _family())))
            time.sleep(0.25)


def _family() -> list[int]:
    me = os.getpid()
    try:
        return [me, *map(int, Path(f"/proc/{me}/task/{me}/children").read_text().split())]
    except OSError:
        return [me]


def _proportional(process: int) -> float:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("Pss:"))


def main() -> None:
    name, source, cache, workers, epochs = sys.argv[1:]
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    peak = ResidentPeak()
    peak.start()
    count, began, first = 0, time.perf_counter(), 0.0
    for images, features in READERS[name](Run(source, cache, int(workers), int(epochs))):
        assert images.shape == (BATCH, 3, SIDE, SIDE)
        assert images.dtype == torch.uint8
        assert features.shape == (BATCH, *SHAPE)
        assert features.dtype == torch.float16
        count += 1
        first = first or time.perf_counter() - began
    whole = time.perf_counter() - began
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    found = {
        "steady": (count - 1) * BATCH / (whole - first),
        "whole": count * BATCH / whole,
        "first_s": first,
        "peak_mb": peak.megabytes,
        "cpu_s": sum(one.ru_utime + one.ru_stime for one in used),
        "batches": count,
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
