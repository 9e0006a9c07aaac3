"""The limit of bench_stream.py: bytes straight into a batch that is used again, decode, no more.

No order, no checksum, no error is looked after, and batches are overwritten.
"""

from __future__ import annotations

import http.client
import io
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from stream_data import ITEM_BYTES, SHAPE

_BATCHES = 3
"""One is handed out, one is filled, and one has begun: no thread waits at the end of a batch."""
Read = Callable[[str, int, memoryview], None]


def limit(
    source: str,
    threads: int,
    epochs: int,
    image_shape: tuple[int, ...],
    batch: int,
    picture: Callable[[bytes, torch.Tensor], object],
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches of what ``stream_data.write_plain`` wrote, read by threads."""
    remote = source.startswith("s3://")
    read = _from_server(source.removeprefix("s3://")) if remote else _from_folder(source)
    count = int(np.frombuffer(_bytes(read, "count", 0, 8), dtype=np.int64)[0])
    ends = np.load(io.BytesIO(_bytes(read, "ends.npy", 0, 128 + 8 * count))).tolist()
    images = [_memory((batch, *image_shape), np.uint8) for _ in range(_BATCHES)]
    stored = [_memory((batch, *SHAPE), np.float16) for _ in range(_BATCHES)]

    def fill(turn: int, place: int, index: int) -> None:
        row = memoryview(stored[turn][place].numpy()).cast("B")
        read("features", index * ITEM_BYTES, row)
        begin = ends[index - 1] if index else 0
        picture(_bytes(read, "jpegs", begin, ends[index] - begin), images[turn][place])

    rng = np.random.default_rng(1)
    order = np.concatenate([rng.permutation(count) for _ in range(epochs)])
    picks = order[: len(order) // batch * batch].reshape(-1, batch).tolist()
    with ThreadPoolExecutor(threads) as pool:

        def begin(number: int) -> list[Future[None]]:
            pairs = enumerate(picks[number]) if number < len(picks) else ()
            return [pool.submit(fill, number % _BATCHES, place, index) for place, index in pairs]

        begun = [begin(0), begin(1)]
        for number in range(len(picks)):
            for job in begun.pop(0):
                job.result()
            yield images[number % _BATCHES], stored[number % _BATCHES]
            begun.append(begin(number + 2))


def _from_folder(folder: str) -> Read:
    files = {name: os.open(f"{folder}/{name}", os.O_RDONLY) for name in os.listdir(folder)}

    def read(name: str, offset: int, out: memoryview) -> None:
        assert os.preadv(files[name], [out], offset) == len(out)

    return read


def _from_server(path: str) -> Read:
    """Read by ranged requests without a signature, over one connection of each thread."""
    server = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    own = threading.local()

    def read(name: str, offset: int, out: memoryview) -> None:
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection(server)
        span = {"Range": f"bytes={offset}-{offset + len(out) - 1}"}
        own.connection.request("GET", f"/{path}/{name}", headers=span)
        answer = own.connection.getresponse()
        done = 0
        while done < len(out):
            count = answer.readinto(out[done:])
            assert count
            done += count
        answer.read()

    return read


def _bytes(read: Read, name: str, offset: int, count: int) -> bytes:
    body = bytearray(count)
    read(name, offset, memoryview(body))
    return bytes(body)


def _memory(shape: tuple[int, ...], dtype: type[np.generic]) -> torch.Tensor:
    """Return memory that begins at a page: the kernel copies fastest to there."""
    pages = mmap.mmap(-1, int(np.prod(shape)) * np.dtype(dtype).itemsize)
    return torch.from_numpy(np.frombuffer(pages, dtype=dtype).reshape(shape))
