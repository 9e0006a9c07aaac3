"""Shard write and random-order read of 1024x72x72 float16 records, beside the peers.

The limit is a plain file: one write, and preadv by two threads into the batch. Each peer writes
by its own writer and reads through its own recommended loader, with 0 or 2 worker processes,
whichever is faster, into the same kind of batch: one torch tensor [8, 1024, 72, 72]. Loader
start-up is left out: the clock runs from the first batch to the last of several epochs.

Run it by ``make bench NAME=store``; by default on a RAM disk, so that software and not the disk is
measured.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from measure import interleave, machine, medians, print_ratios, print_table
from no_teacher import TEACHER

from pipelines.store.arrays import FeatureArray, as_bytes
from pipelines.store.local import LocalObjectStore
from schemas.features import FeatureSpec
from schemas.manifests import ArrayRecord

SHAPE = (1024, 72, 72)
BATCH = 8
EPOCHS = 3
THREADS = 2


class Records:
    """The data: random values, a few distinct records repeated, made once."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        self._distinct = rng.standard_normal((4, *SHAPE), dtype=np.float32).astype(np.float16)
        self.count = count
        self.bytes = count * self._distinct[0].nbytes

    def __getitem__(self, index: int) -> np.ndarray:
        return self._distinct[index % len(self._distinct)]


def batches_of(order: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(order) - BATCH + 1, BATCH):
        yield order[start : start + BATCH]


class Plain:
    """The limit: one file, nothing but the bytes."""

    def write(self, folder: Path, records: Records) -> None:
        with (folder / "records.bin").open("xb", buffering=0) as file:
            for index in range(records.count):
                file.write(memoryview(records[index]).cast("B"))
            os.fsync(file.fileno())

    def read(self, folder: Path, records: Records, workers: int) -> Iterator[torch.Tensor]:
        size = records[0].nbytes
        descriptor = os.open(folder / "records.bin", os.O_RDONLY)
        batch = torch.empty((BATCH, *SHAPE), dtype=torch.float16)
        rows = [memoryview(batch[place].numpy()).cast("B") for place in range(BATCH)]
        rng = np.random.default_rng(1)
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in range(EPOCHS):
                for picks in batches_of(rng.permutation(records.count)):
                    jobs = [
                        pool.submit(os.preadv, descriptor, [rows[place]], int(index) * size)
                        for place, index in enumerate(picks)
                    ]
                    assert all(job.result() == size for job in jobs)
                    yield batch
        os.close(descriptor)


class Ours:
    """samdistill: a zarr v3 shard file, crc32c per record, blake3 per file, fsync and link."""

    def __init__(self, *, verify: bool) -> None:
        self.verify = verify

    def array(self, folder: Path, records: Records) -> FeatureArray:
        feature = FeatureSpec(name="image.trunk", rows="sample", item_shape=SHAPE, codec="float16")
        record = ArrayRecord(
            dataset="bench",
            split="all",
            split_digest="",
            feature=feature,
            teacher=TEACHER,
            shards=1,
            rows_per_shard=records.count,
        )
        return FeatureArray(LocalObjectStore(folder), record)

    def write(self, folder: Path, records: Records) -> None:
        array = self.array(folder, records)
        array.create()
        with array.stage_shard(0) as shard:
            for index in range(records.count):
                shard.writer.write(index, as_bytes(records[index]))
            shard.writer.finish()
            assert shard.staged.publish()

    def read(self, folder: Path, records: Records, workers: int) -> Iterator[torch.Tensor]:
        array = self.array(folder, records)
        batch = torch.empty((BATCH, *SHAPE), dtype=torch.float16)
        rows = [batch[place].numpy() for place in range(BATCH)]
        rng = np.random.default_rng(1)
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in range(EPOCHS):
                for picks in batches_of(rng.permutation(records.count)):
                    jobs = [
                        pool.submit(array.read_into, int(index), rows[place], verify=self.verify)
                        for place, index in enumerate(picks)
                    ]
                    for job in jobs:
                        job.result()
                    yield batch


class ZarrPython:
    """zarr-python, sharded, uncompressed, whole shards written at once."""

    def write(self, folder: Path, records: Records) -> None:
        import zarr

        shard = 16
        array = zarr.create_array(
            folder / "array",
            shape=(records.count, *SHAPE),
            chunks=(1, *SHAPE),
            shards=(shard, *SHAPE),
            dtype="float16",
            compressors=None,
        )
        for start in range(0, records.count, shard):
            stop = min(start + shard, records.count)
            array[start:stop] = np.stack([records[index] for index in range(start, stop)])

    def read(self, folder: Path, records: Records, workers: int) -> Iterator[torch.Tensor]:
        import zarr

        array = zarr.open_array(folder / "array", mode="r")
        batch = torch.empty((BATCH, *SHAPE), dtype=torch.float16)
        rng = np.random.default_rng(1)
        for _ in range(EPOCHS):
            for picks in batches_of(rng.permutation(records.count)):
                for place, index in enumerate(picks):
                    batch[place] = torch.from_numpy(array[int(index)])
                yield batch


class WebDataset:
    """WebDataset: .npy members in tar shards, WebLoader."""

    def write(self, folder: Path, records: Records) -> None:
        import webdataset

        with webdataset.ShardWriter(
            str(folder / "shard-%05d.tar"), maxsize=256 << 20, verbose=0
        ) as writer:
            for index in range(records.count):
                writer.write({"__key__": f"{index:08d}", "npy": records[index]})

    def read(self, folder: Path, records: Records, workers: int) -> Iterator[torch.Tensor]:
        import webdataset

        shards = sorted(str(path) for path in folder.glob("shard-*.tar"))
        data = (
            webdataset.WebDataset(
                shards * EPOCHS, shardshuffle=len(shards), empty_check=False, seed=1
            )
            .shuffle(16)
            .decode()
            .to_tuple("npy")
            .map_tuple(torch.from_numpy)
            .batched(BATCH, partial=False)
        )
        for (batch,) in webdataset.WebLoader(data, batch_size=None, num_workers=workers):
            yield batch


class MosaicStreaming:
    """MDS: MDSWriter, StreamingDataset, StreamingDataLoader."""

    def write(self, folder: Path, records: Records) -> None:
        from streaming import MDSWriter

        columns = {"x": "ndarray:float16:" + ",".join(map(str, SHAPE))}
        with MDSWriter(out=str(folder / "mds"), columns=columns, size_limit=256 << 20) as writer:
            for index in range(records.count):
                writer.write({"x": records[index]})

    def read(self, folder: Path, records: Records, workers: int) -> Iterator[torch.Tensor]:
        from streaming import StreamingDataLoader, StreamingDataset
        from streaming.base.util import clean_stale_shared_memory

        clean_stale_shared_memory()
        data = StreamingDataset(local=str(folder / "mds"), shuffle=True, batch_size=BATCH)
        loader = StreamingDataLoader(data, batch_size=BATCH, num_workers=workers, drop_last=True)
        for _ in range(EPOCHS):
            for batch in loader:
                yield batch["x"]


class LitData:
    """LitData: optimize, StreamingDataset, StreamingDataLoader."""

    def write(self, folder: Path, records: Records) -> None:
        from litdata.streaming import Cache

        cache = Cache(str(folder / "lit"), chunk_bytes=256 << 20)
        for index in range(records.count):
            cache[index] = {"x": torch.from_numpy(records[index])}
        cache.done()
        cache.merge()

    def read(self, folder: Path, records: Records, workers: int) -> Iterator[torch.Tensor]:
        from litdata import StreamingDataLoader, StreamingDataset

        data = StreamingDataset(str(folder / "lit"), shuffle=True, drop_last=True)
        loader = StreamingDataLoader(data, batch_size=BATCH, num_workers=workers)
        for _ in range(EPOCHS):
            for batch in loader:
                yield batch["x"]


PEERS = {
    "zarr-python": ("zarr", ZarrPython()),
    "WebDataset": ("webdataset", WebDataset()),
    "MDS": ("streaming", MosaicStreaming()),
    "LitData": ("litdata", LitData()),
}
LIBRARIES = {name: peer for name, (module, peer) in PEERS.items() if find_spec(module)}
DIRECT = {
    "plain file (limit)": Plain(),
    "samdistill": Ours(verify=True),
    "samdistill, crc unchecked": Ours(verify=False),
}
STORES = {**DIRECT, **LIBRARIES}


def timed_write(name: str, root: Path, records: Records) -> float:
    """GB/s of writing all records into a fresh folder; the folder stays for reading."""
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    start = time.perf_counter()
    STORES[name].write(folder, records)
    return records.bytes / (time.perf_counter() - start) / 1e9


def timed_read(name: str, root: Path, records: Records, workers: int) -> float:
    """GB/s from the first batch to the last."""
    count, start = 0, 0.0
    for batch in STORES[name].read(root / name, records, workers):
        assert tuple(batch.shape) == (BATCH, *SHAPE)
        assert batch.dtype == torch.float16
        if count == 0:
            start = time.perf_counter()
        count += 1
    seconds = time.perf_counter() - start
    return (count - 1) * BATCH * records[0].nbytes / seconds / 1e9


def reads(root: Path, records: Records) -> dict[str, Callable[[], float]]:
    runs: dict[str, Callable[[], float]] = {}
    for name in STORES:
        for workers in (0, 2) if name in LIBRARIES and name != "zarr-python" else (0,):
            runs[f"{name}/{workers}"] = lambda name=name, workers=workers: timed_read(
                name, root, records, workers
            )
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)

    records = Records(options.records)
    base = options.folder if options.folder.is_dir() else Path(tempfile.gettempdir())
    root = Path(tempfile.mkdtemp(prefix="bench-store-", dir=base))
    try:
        write = medians(
            interleave(
                {name: lambda name=name: timed_write(name, root, records) for name in STORES},
                options.rounds,
            )
        )
        every_read = medians(interleave(reads(root, records), options.rounds))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    read = {
        name: max(rate for run, rate in every_read.items() if run.rpartition("/")[0] == name)
        for name in STORES
    }
    report(records, options.rounds, base, write, read)


def report(
    records: Records, rounds: int, base: Path, write: dict[str, float], read: dict[str, float]
) -> None:
    print(f"{machine()} · torch {torch.__version__}")
    print(
        f"{records.count} records of {'x'.join(map(str, SHAPE))} float16 in {base}, batch {BATCH}, "
        f"median of {rounds} interleaved rounds\n"
    )
    print_table(
        ("store", "write GB/s", "read GB/s"),
        [(name, f"{write[name]:.2f}", f"{read[name]:.2f}") for name in STORES],
    )
    print()
    if missing := PEERS.keys() - LIBRARIES.keys():
        print(f"Not installed here: {', '.join(sorted(missing))}; `make bench NAME=store` has all.")
    print_ratios(
        {
            "write_vs_raw": write["samdistill"] / write["plain file (limit)"],
            "write_vs_best_library": write["samdistill"] / max(write[n] for n in LIBRARIES),
            "read_vs_raw": read["samdistill"] / read["plain file (limit)"],
            "read_vs_best_library": read["samdistill"] / max(read[n] for n in LIBRARIES),
        }
    )


if __name__ == "__main__":
    main()
