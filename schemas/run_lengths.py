"""COCO's compressed run lengths, checked before pycocotools sees them: it trusts its input.

Each run is a little-endian base-32 number in characters 48 to 111; bit 5 says that more digits
follow, bit 4 of the last digit is the sign, and from the fourth run on the value is the difference
to the run two before (pycocotools, maskApi.c, rleFrString).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from schemas.errors import DataError

Digits = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]

_MOST_DIGITS = 7
"""35 bits: more than any image has pixels, and far from overflowing a sum of them."""


def run_totals(texts: Sequence[bytes], names: Sequence[str]) -> Integers:
    """Return for each text the sum of its runs, which must be the pixels of its mask.

    All texts are decoded at once: an image of SA-1B has a hundred.

    Raises
    ------
    DataError
        A text is malformed, or has a negative run; the message begins with its name.
    """
    bounds = np.cumsum([0, *map(len, texts)])
    # Below '0' the difference wraps around to a large number.
    digits = np.frombuffer(b"".join(texts), dtype=np.uint8) - np.uint8(48)
    _check_texts(digits, bounds, names)
    ends = np.flatnonzero(digits < 32)
    starts = np.concatenate([[0], ends[:-1] + 1])
    firsts = np.searchsorted(ends, bounds)
    sizes = ends - starts[: len(ends)] + 1
    if len(sizes) and sizes.max() > _MOST_DIGITS:
        raise _malformed(names, firsts, int(sizes.argmax()), f"runs of {_MOST_DIGITS} digits")
    runs = _undo_differences(_values(digits, starts, sizes), firsts)
    if len(runs) and runs.min() < 0:
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


def _values(digits: Digits, starts: Integers, sizes: Integers) -> Integers:
    """Return the signed number of each run; its first digit is the lowest."""
    values = np.zeros(len(sizes), dtype=np.int64)
    longer = np.arange(len(sizes))
    for place in range(int(sizes.max(initial=0))):
        longer = longer[sizes[longer] > place]
        digit = digits[starts[longer] + place]
        values[longer] += (digit & 31).astype(np.int64) << (5 * place)
        negative = (digit & 48) == 16  # the sign bit of a last digit
        values[longer[negative]] -= 1 << (5 * (place + 1))
    return values


def _undo_differences(values: Integers, firsts: Integers) -> Integers:
    """Return the runs: each but the first three of a text adds to the run two before."""
    counts = np.diff(firsts)
    place = np.arange(len(values)) - np.repeat(firsts[:-1], counts)
    chained = np.where(place > 0, values, 0)
    odd = np.where(place & 1, chained, 0)
    runs = np.where(place & 1, _sums_within(odd, firsts), _sums_within(chained - odd, firsts))
    runs[firsts[:-1][counts > 0]] = values[firsts[:-1][counts > 0]]
    return runs


def _sums_within(values: Integers, firsts: Integers) -> Integers:
    """Return running sums that begin anew with each text."""
    sums = np.concatenate([[0], np.cumsum(values)])
    within: Integers = sums[1:] - np.repeat(sums[firsts[:-1]], np.diff(firsts))
    return within


def _malformed(names: Sequence[str], bounds: Integers, position: int, expected: str) -> DataError:
    name = names[int(np.searchsorted(bounds, position, side="right")) - 1]
    return DataError(f"{name}: RLE counts", expected=expected)
