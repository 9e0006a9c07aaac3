"""Readers of bench_stream.py, each run in a process of its own: epochs of shuffled batches.

    python benchmarks/stream_readers.py NAME SOURCE CACHE WORKERS WARM_UP BATCHES EPOCHS

``SOURCE`` is a folder, or ``s3://bucket/prefix``; libraries that download do so into ``CACHE``.
``BATCHES`` are measured after ``WARM_UP`` of them, while the reader reads on. All decode and resize
an image by the same function. Prints one JSON object.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import stream_limit
import torch
from stream_data import ITEM_BYTES, SEED_BYTES, SHAPE
from torch.utils.data import DataLoader, Dataset

from pipelines.media.decode import decode_checked
from pipelines.media.preprocess import resize_to_square

BATCH = 16
SIDE = 1008
_THREADS_ON_S3 = 4
MODULES = {
    "samdistill": "pipelines.stream.feature_stream",
    "WebDataset": "webdataset",
    "MDS": "streaming",
    "LitData": "litdata",
}
Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Run:
    source: str
    cache: str
    workers: int
    """Processes; threads where there are no processes."""
    epochs: int

    @property
    def remote(self) -> bool:
        return self.source.startswith("s3://")

    @property
    def threads(self) -> int:
        """Of one process: those that wait for a network are not at work."""
        return self.workers * _THREADS_ON_S3 if self.remote else self.workers


def picture(jpeg: bytes, out: torch.Tensor | None = None) -> torch.Tensor:
    return resize_to_square(decode_checked(jpeg, "bench"), SIDE, out)


def limit(run: Run) -> Iterator[Pair]:
    return stream_limit.limit(run.source, run.threads, run.epochs, (3, SIDE, SIDE), BATCH, picture)


def samdistill(run: Run) -> Iterator[Pair]:
    from pipelines.stream.feature_stream import FeatureStream

    stream = FeatureStream(
        run.source,
        "bench",
        image_size=SIDE,
        batch_size=BATCH,
        seed=1,
        epochs=run.epochs,
        threads=run.threads,
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
    from litdata.streaming import downloader

    class Pictures(StreamingDataset):
        def __getitem__(self, at: int) -> Pair:
            sample = super().__getitem__(at)
            return picture(bytes(sample["jpeg"])), sample["x"]

    remote = {}
    if run.remote:
        server = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"]}
        remote = {"cache_dir": run.cache, "storage_options": server}
        # It has no option for a server without TLS.
        downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True
    data = Pictures(run.source, shuffle=True, drop_last=True, **remote)
    yield from _library_epochs(StreamingDataLoader, data, run)


def _library_epochs(kind: type[DataLoader[Pair]], data: Dataset[Pair], run: Run) -> Iterator[Pair]:
    loader = kind(
        data, batch_size=BATCH, num_workers=run.workers, drop_last=True, persistent_workers=True
    )
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
    return [me, *map(int, Path(f"/proc/{me}/task/{me}/children").read_text().split())]


def _proportional(process: int) -> float:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("Pss:"))


def _processor_seconds() -> float:
    """Return what this process, its children and their ended children have used."""
    ticks = 0
    for process in _family():
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(run: Iterator[Pair], warm_up: int, batches: int) -> dict[str, float]:
    """Take that many batches; what is measured begins with the last one of the warm-up."""
    began = time.perf_counter()
    first, start, used = 0.0, began, _processor_seconds()
    for number, (images, features) in enumerate(run, 1):
        assert images.shape == (BATCH, 3, SIDE, SIDE)
        assert images.dtype == torch.uint8
        assert features.shape == (BATCH, *SHAPE)
        assert features.dtype == torch.float16
        first = first or time.perf_counter() - began
        if number == warm_up:
            start, used = time.perf_counter(), _processor_seconds()
        if number == warm_up + batches:
            break
    # In one epoch a worker may leave out its last batch, which is not full.
    assert number == warm_up + batches or not warm_up
    count = (number - warm_up) * BATCH
    return {
        "rate": count / (time.perf_counter() - start),
        "cpu_ms": 1000 * (_processor_seconds() - used) / count,
        "first_s": first,
    }


def main() -> None:
    name, source, cache, *numbers = sys.argv[1:]
    workers, warm_up, batches, epochs = map(int, numbers)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    if name in MODULES:
        importlib.import_module(MODULES[name])
    # The others have it from their own imports.
    importlib.import_module("boto3")
    imports = _proportional(os.getpid())
    peak = ResidentPeak()
    peak.start()
    found = measure(READERS[name](Run(source, cache, workers, epochs)), warm_up, batches)
    print(json.dumps(found | {"peak_mb": peak.megabytes, "imports_mb": imports}), flush=True)
    for process in _family()[1:]:
        os.kill(process, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main()
