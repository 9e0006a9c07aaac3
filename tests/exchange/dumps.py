"""Teacher dumps as the programs write them, and a reader that knows the documented layout only."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float16]
SHAPE = (6, 4, 5)


def feature(number: int, shape: tuple[int, ...] = SHAPE) -> Values:
    """Return a feature like no other, with the odd bit patterns of float16 among its values."""
    values = np.random.default_rng(number).normal(size=shape).astype(np.float16)
    values.reshape(-1)[:4] = [-0.0, 6e-8, 65504, -6e-5]
    return values


def write_rank(folder: Path, rank: int, records: Iterable[tuple[str, Values]]) -> None:
    """Write the two files of a rank."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        (folder / f"rank{rank}-keys.txt").open("w") as keys,
        (folder / f"rank{rank}-values.bin").open("wb") as values,
    ):
        for number, (key, value) in enumerate(records):
            keys.write(f"{key}\n")
            values.write(struct.pack("<i", 1_000_000_007 * (number + 1) % 2**31))
            values.write(value.astype("<f2").tobytes())


def read_dump(folder: Path, shape: Sequence[int] = SHAPE) -> dict[str, Values]:
    """Return all records by key."""
    size = 4 + 2 * int(np.prod(shape))
    found = {}
    for keys in sorted(folder.glob("rank*-keys.txt")):
        body = keys.with_name(keys.name.replace("keys.txt", "values.bin")).read_bytes()
        lines = keys.read_text().split("\n")[:-1]
        assert len(body) == size * len(lines)
        for number, key in enumerate(lines):
            record = body[size * number : size * (number + 1)]
            assert 0 <= struct.unpack_from("<i", record)[0] < 2**31
            found[key] = np.frombuffer(record, "<f2", offset=4).reshape(shape)
    return found
