from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from skimage import data

from pipelines.media import decode
from pipelines.media.decode import decode_checked
from pipelines.media.images import decode_image
from schemas.errors import DataError


def jpeg(mode: str = "RGB", size: tuple[int, int] = (333, 251), **options: object) -> bytes:
    picture = Image.fromarray(data.astronaut()).resize(size).convert(mode)
    sink = io.BytesIO()
    picture.save(sink, "JPEG", **options)
    return sink.getvalue()


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("quality", [30, 75, 95])
def test_jpegs_have_the_same_pixels_by_either_decoder(
    subsampling: str, progressive: bool, quality: int
) -> None:
    for size in ((333, 251), (16, 16), (1, 1), (7, 640)):
        body = jpeg(size=size, subsampling=subsampling, progressive=progressive, quality=quality)
        assert np.array_equal(decode_checked(body, "a"), decode_image(body, "a"))


def test_colour_jpegs_are_not_left_to_the_slower_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(encoded: bytes, where: str) -> None:
        raise AssertionError(where)

    body = jpeg()
    monkeypatch.setattr(decode, "decode_image", refuse)
    assert decode_checked(body, "a").shape == (251, 333, 3)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colours_are_left_to_pillow(mode: str) -> None:
    body = jpeg(mode)
    assert np.array_equal(decode_checked(body, "a"), decode_image(body, "a"))


def test_rotation_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    body = jpeg(exif=exif.tobytes())
    assert decode_checked(body, "a").shape == (251, 333, 3)


def test_other_formats_are_left_to_pillow() -> None:
    sink = io.BytesIO()
    Image.fromarray(data.astronaut()).save(sink, "PNG")
    assert np.array_equal(decode_checked(sink.getvalue(), "a"), data.astronaut())


@pytest.mark.parametrize("body", [b"", b"\xff\xd8\xff", jpeg()[:2000]])
def test_damage_has_the_errors_of_the_strict_decoder(body: bytes) -> None:
    with pytest.raises(DataError, match=r"^a: "):
        decode_checked(body, "a")
