"""The stored form of each codec, byte for byte: it changes only with a new codec name."""

from __future__ import annotations

import numpy as np
import pytest
from blake3 import blake3

from schemas.codec import CODECS, get_codec
from schemas.codec_base import Part
from tests.schemas.codec_values import golden_values

GOLDEN = {
    "float32": "1cab464ab04c4c6ebbc37243fc03b594",
    "float16": "6011a9a42e3be995aa7805d78d6a425d",
    "bfloat16": "96fbb42869985a4d9ba7322cdfb7082f",
    "uint8": "165e0b3967d4d04381774f9bb4c615f1",
    "int8": "11f912f16e5ecf062f14f6a21d275aeb",
    "fp8_e4m3": "f970a150e4b350a326857a42d7b0d0cb",
}


@pytest.mark.parametrize("name", sorted(CODECS.keys() - {"pca64"}))
def test_the_stored_bytes_are_those_of_the_format(name: str) -> None:
    stored = get_codec(name).encode(golden_values(name), "x")
    assert blake3(stored.tobytes()).hexdigest()[:32] == GOLDEN[name]


def test_int8_by_hand() -> None:
    values = np.array([[-1.0, 0.0, 1.55, 0.2], [7.0, 7.0, 7.0, 7.0]], np.float32)
    step = np.array([2.55 / 255, 0], np.float32)
    low = np.array([-1, 7], np.float32)
    codes = np.array([0, 100, 255, 120, 0, 0, 0, 0], np.uint8)
    expected = step.tobytes() + low.tobytes() + codes.tobytes()
    assert get_codec("int8").encode(values, "x").tobytes() == expected


def test_fp8_by_hand() -> None:
    values = np.array([-448.0, 1.0, 0.0, 2.0**-9], np.float32)
    scale = np.array([1], np.float32)
    codes = np.array([0xFE, 0x38, 0x00, 0x01], np.uint8)
    expected = scale.tobytes() + codes.tobytes()
    assert get_codec("fp8_e4m3").encode(values, "x").tobytes() == expected


def test_pca64_by_hand() -> None:
    codec = get_codec("pca64")
    assert codec.parts((3, 1, 2)) == (
        Part(name="mean", data_type="<f4", shape=(3,), offset=0),
        Part(name="step", data_type="<f4", shape=(2,), offset=12),
        Part(name="low", data_type="<f4", shape=(2,), offset=20),
        Part(name="basis", data_type="|i1", shape=(2, 3), offset=28),
        Part(name="code", data_type="|u1", shape=(2, 1, 2), offset=34),
    )
    numbers = np.array([1, 2, 3, 0.5, 0.25, -1, -2], np.float32)
    basis = np.array([127, 0, -127, 0, 1, 0], np.int8)
    codes = np.array([0, 255, 8, 16], np.uint8)
    stored = np.frombuffer(numbers.tobytes() + basis.tobytes() + codes.tobytes(), np.uint8)
    expected = [[1 - 127, 1 + 127 * 126.5], [2, 4], [3 + 127, 3 - 127 * 126.5]]
    assert codec.decode(stored, (3, 1, 2)).tolist() == [[pair] for pair in expected]
