"""COCO's compressed run lengths, checked before pycocotools sees them: it trusts its input.

Each run is a little-endian base-32 number in characters 48 to 111; bit 5 says that more digits
follow, bit 4 of the last digit is the sign, and from the fourth run on the value is the difference
to the run two before (pycocotools, maskApi.c, rleFrString).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from schemas.errors import DataError

Digits = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]

# Of characters. An array of as many numbers stays below 128 KiB, where malloc begins to take memory
# from the system anew for each: larger blocks measured three times slower.
_BLOCK = 16_000
_MOST_DIGITS = 7
"""35 bits: more than any image has pixels, and far from overflowing a sum of them."""


def run_totals(texts: Sequence[bytes], names: Sequence[str]) -> Integers:
    """Return for each text the sum of its runs, which must be the pixels of its mask.

    Many texts are decoded at once: an image of SA-1B has a hundred.

    Raises
    ------
    DataError
        A text is malformed, or has a negative run; the message begins with its name.
    """
    totals = [np.zeros(0, dtype=np.int64)]
    totals += [_totals(texts[block], names[block]) for block in _blocks(texts)]
    return np.concatenate(totals)


def run_lengths(text: bytes) -> Integers:
    """Return the runs of one text that is known to be sound: zeros first, then in turn."""
    digits = np.frombuffer(text, dtype=np.uint8) - np.uint8(48)
    ends = np.flatnonzero(digits < 32)
    values = _values(digits, ends, np.diff(ends, prepend=-1))
    return _undo_differences(values, np.array([0, len(values)]))


def mirror_runs(runs: Integers, height: int) -> Integers:
    """Return the runs of a mask mirrored left to right.

    Columns keep their inside: each stretch of set pixels is cut at the borders of its first and
    its last column, the pieces move with their columns, and those that then touch become one.
    """
    ends = np.cumsum(runs)
    stop = ends[1::2]
    start = ends[0::2][: len(stop)]
    head = np.minimum(stop, (start // height + 1) * height)
    tail = np.maximum(head, (stop - 1) // height * height)
    first, last = np.concatenate([start, head, tail]), np.concatenate([head, tail, stop])
    first, last = first[first < last], last[first < last]
    if not len(first):
        return runs
    moved = int(ends[-1]) - height * (first // height + (last - 1) // height + 1)
    first, last = np.sort(first + moved), np.sort(last + moved)
    apart = np.flatnonzero(first[1:] != last[:-1])
    stretches = np.stack([first[np.append(0, apart + 1)], last[np.append(apart, -1)]], axis=1)
    borders = np.concatenate([[0], stretches.reshape(-1), ends[-1:]])
    mirrored: Integers = np.diff(borders)
    return mirrored if mirrored[-1] else mirrored[:-1]


def _blocks(texts: Sequence[bytes]) -> Iterator[slice]:
    """Yield ranges of texts that are decoded together."""
    start, length = 0, 0
    for place, text in enumerate(texts):
        if length + len(text) > _BLOCK and place > start:
            yield slice(start, place)
            start, length = place, 0
        length += len(text)
    if start < len(texts):
        yield slice(start, len(texts))


def _totals(texts: Sequence[bytes], names: Sequence[str]) -> Integers:
    bounds = np.cumsum([0, *map(len, texts)])
    # Below '0' the difference wraps around to a large number.
    digits = np.frombuffer(b"".join(texts), dtype=np.uint8) - np.uint8(48)
    _check_texts(digits, bounds, names)
    ends = np.flatnonzero(digits < 32)
    sizes = np.diff(ends, prepend=-1)
    firsts = np.searchsorted(ends, bounds)
    if sizes.max(initial=0) > _MOST_DIGITS:
        raise _malformed(names, firsts, int(sizes.argmax()), f"runs of {_MOST_DIGITS} digits")
    runs = _undo_differences(_values(digits, ends, sizes), firsts)
    if runs.min(initial=0) < 0:
        raise _malformed(names, firsts, int(runs.argmin()), "run lengths >= 0")
    sums = np.concatenate([[0], np.cumsum(runs)])
    totals: Integers = sums[firsts[1:]] - sums[firsts[:-1]]
    return totals


def _check_texts(digits: Digits, bounds: Integers, names: Sequence[str]) -> None:
    if len(digits) and digits.max() > 63:
        raise _malformed(names, bounds, int(digits.argmax()), "characters '0' to 'o'")
    last = bounds[1:][np.diff(bounds) > 0] - 1
    unfinished = np.flatnonzero(digits[last] & 32)
    if len(unfinished):
        raise _malformed(names, bounds, int(last[unfinished[0]]), "a complete last run")


def _values(digits: Digits, ends: Integers, sizes: Integers) -> Integers:
    """Return the signed number of each run, read from its last and highest digit on."""
    values = (digits[ends] ^ 16).astype(np.int64) - 16
    longer, place = np.flatnonzero(sizes > 1), 1
    while len(longer):
        values[longer] = values[longer] * 32 + (digits[ends[longer] - place] & 31)
        place += 1
        longer = longer[sizes[longer] > place]
    return values


def _undo_differences(values: Integers, firsts: Integers) -> Integers:
    """Return the runs: each but the first three of a text adds to the run two before."""
    begins = firsts[:-1][np.diff(firsts) > 0]
    chained, runs = values.copy(), np.empty_like(values)
    chained[begins] = 0
    for parity in (0, 1):
        # Sums over every other run of all texts, less the sum before each text.
        borders = (firsts - parity + 1) // 2
        sums = np.concatenate([[0], np.cumsum(chained[parity::2])])
        runs[parity::2] = sums[1:] - np.repeat(sums[borders[:-1]], np.diff(borders))
    runs[begins] = values[begins]
    return runs


def _malformed(names: Sequence[str], bounds: Integers, position: int, expected: str) -> DataError:
    name = names[int(np.searchsorted(bounds, position, side="right")) - 1]
    return DataError(f"{name}: RLE counts", expected=expected)
