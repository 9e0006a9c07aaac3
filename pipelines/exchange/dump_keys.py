"""Which record of a dump belongs to a sample."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import DataError

_EXTENSION = r"(?i)\.(jpg|jpeg|png)$"
"""COCO and LVIS are dumped by file name, SA-1B by its stem; keys of samples are stems."""


def parse_keys(body: bytes, where: str) -> pa.Array:
    """Return the keys of one rank as the keys of samples, in the order of its records.

    Raises
    ------
    DataError
        The file ends within a line, or has an empty line, or is no text.
    """
    if body and not body.endswith(b"\n"):
        raise DataError(f"{where} ends within a line: it was cut short", fix="Copy the dump again.")
    try:
        text = pa.scalar(body.decode("utf-8"), pa.large_string())
    except UnicodeDecodeError as cause:
        raise DataError(f"{where} is no text: {cause}") from cause
    lines = pc.split_pattern(text, "\n").values if body else pa.array([], pa.large_string())
    keys = pc.utf8_trim_whitespace(lines[: max(0, len(lines) - 1)])
    if (empty := pc.index(pc.utf8_length(keys), 0).as_py()) >= 0:
        raise DataError(f"line {empty + 1} of {where} is empty", expected="a key on each line")
    return pc.replace_substring_regex(keys, _EXTENSION, "")


class DumpKeys:
    """Finds records by key: some 70 bytes of memory for a key, whatever the records' size.

    Of a key that comes more than once the first record counts: ranks in order, then lines. The
    sampler of these programs repeats a few samples, so that all ranks have equally many.
    """

    def __init__(self, ranks: Sequence[pa.Array]) -> None:
        self.all = pa.chunked_array(ranks, pa.large_string()).combine_chunks()
        self._order = pc.sort_indices(self.all)
        self._sorted = self.all.take(self._order)

    def __len__(self) -> int:
        return len(self.all)

    def find(self, key: str) -> int | None:
        """Return the number of the key's record, over all ranks in order; None without one."""
        place = bisect.bisect_left(
            range(len(self)), key, key=lambda item: str(self._sorted[item].as_py())
        )
        if place == len(self) or self._sorted[place].as_py() != key:
            return None
        return int(self._order[place].as_py())

    def repeated(self) -> int:
        """Return how many records are left aside because an earlier one has their key."""
        return len(self) - int(pc.count_distinct(self.all).as_py())
