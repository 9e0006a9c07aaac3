from __future__ import annotations

import hashlib
import random

import pytest

from downloaders import digests
from downloaders.digests import Digests
from schemas.errors import DataError


@pytest.mark.parametrize("alone", [0, 50_000, 1 << 30])
def test_the_order_of_chunks_is_kept_whoever_hashes(
    alone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_ALONE_BYTES", alone)
    monkeypatch.setattr(digests, "_MOST_WAITING", 3)
    chunks = [random.Random(n).randbytes(n * 97) for n in range(200)]
    body = b"".join(chunks)
    md5 = f"md5:{hashlib.md5(body, usedforsecurity=False).hexdigest()}"
    stream = Digests(md5)

    for number, chunk in enumerate(chunks):
        stream.update(chunk)
        if number == 100:
            assert stream.sha256 == hashlib.sha256(b"".join(chunks[:101])).hexdigest()

    assert stream.sha256 == hashlib.sha256(body).hexdigest()
    assert stream.checksum == md5
    assert stream.verified


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(DataError, match=r"sha256:… or md5:…; got crc32:…"):
        Digests("crc32:00")
