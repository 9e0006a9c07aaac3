from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, check

NAMES = sorted(TARGETS)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "repeat", "drop"]),
        st.integers(0, 1 << 16),
        st.binary(min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=4,
)
SHORT = settings(
    deadline=None,
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def edited(body: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    """Return ``body`` with some damage of the kinds that files suffer."""
    for kind, where, piece in edits:
        place = where % (len(body) + 1)
        if kind == "flip":
            body = body[:place] + piece + body[place + len(piece) :]
        elif kind == "cut":
            body = body[:place]
        elif kind == "insert":
            body = body[:place] + piece + body[place:]
        elif kind == "repeat":
            body += body[place:]
        else:
            body = body[:place] + body[place + len(piece) * 7 :]
    return body


@pytest.mark.parametrize("name", NAMES)
def test_seeds_are_accepted(name: str) -> None:
    """Otherwise the edits below would test nothing but the first check."""
    target, seeds = TARGETS[name]
    target(seeds[0])


WEBP = b"RIFF$\0\0\0WEBPVP8 \x18\0\0\0000\1\0\x9d\1*" + b"\xff" * 44 + b"\x0c\0\x0c\0\1@&%\xa4"
FOUND = {
    "a segmentation that is not UTF-8": ("instances", b"""{"images": [{"id": 1, "width": 2,
        "height": 2, "file_name": "a"}], "categories": [{"id": 3, "name": "a"}], "annotations":
        [{"id": 0, "image_id": 1, "category_id": 3, "segmentation": ["\xd0"]}]}"""),
    "a size that is no list": ("run_lengths", b'{"size": 2, "counts": "01"}'),
    "a WebP of 16383 x 16383": ("image", WEBP),
}  # fmt: skip
"""What atheris found, and was made right since."""


@pytest.mark.parametrize("case", FOUND)
def test_what_was_found_is_refused(case: str) -> None:
    name, body = FOUND[case]
    check(TARGETS[name][0], body)


@pytest.mark.parametrize("name", NAMES)
@SHORT
@given(body=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(name: str, body: bytes) -> None:
    check(TARGETS[name][0], body)


@pytest.mark.parametrize("name", NAMES)
@SHORT
@given(data=st.data(), edits=EDITS)
def test_damaged_files_are_read_or_refused(
    name: str, data: st.DataObject, edits: list[tuple[str, int, bytes]]
) -> None:
    target, seeds = TARGETS[name]
    check(target, edited(data.draw(st.sampled_from(seeds)), edits))
