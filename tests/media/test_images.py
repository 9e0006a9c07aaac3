from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from pipelines.media.images import (
    MAX_PIXELS,
    decode_image,
    decode_indexed,
    image_size,
    verify_image,
)
from schemas.errors import DataError, UsageError
from tests.fixtures import FIXTURES

ODD = FIXTURES / "images" / "odd"


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    body = io.BytesIO()
    image.save(body, kind, **options)
    return body.getvalue()


def noise(width: int = 40, height: int = 30) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P"])
def test_every_png_mode_becomes_what_pillow_calls_rgb(mode: str) -> None:
    image = noise().convert(mode)
    decoded = decode_image(encoded(image), "x")
    assert decoded.dtype == np.uint8
    assert decoded.shape == (30, 40, 3)
    np.testing.assert_array_equal(decoded, np.asarray(image.convert("RGB")))


def test_alpha_is_ignored_and_not_blended() -> None:
    image = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
    np.testing.assert_array_equal(
        decode_image(encoded(image), "x"), np.full((2, 2, 3), (10, 20, 30))
    )


def test_transparent_palette_entries_keep_their_colour_and_warn_nobody() -> None:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    body = encoded(image, transparency=bytes([255, 0]))
    assert decode_image(body, "x")[0, 0].tolist() == [200, 100, 50]


def test_sixteen_bit_grey_gives_its_high_byte() -> None:
    values = np.array([[0, 255, 256, 0x80FF, 0xFFFF]], dtype=np.uint16)
    decoded = decode_image(encoded(Image.fromarray(values)), "x")
    assert decoded[0, :, 0].tolist() == [0, 0, 1, 0x80, 0xFF]
    assert (decoded == decoded[:, :, :1]).all()


def test_grey_and_cmyk_jpegs() -> None:
    grey = decode_image(encoded(noise().convert("L"), "JPEG"), "x")
    assert (grey == grey[:, :, :1]).all()
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red, green, blue = decode_image(encoded(cmyk, "JPEG"), "x")[8, 8]
    assert red > 240
    assert max(green, blue) < 15


def test_webp() -> None:
    image = noise()
    decoded = decode_image(encoded(image, "WEBP", lossless=True), "x")
    np.testing.assert_array_equal(decoded, np.asarray(image))


def test_exif_orientation_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    plain, turned = encoded(noise(), "JPEG"), encoded(noise(), "JPEG", exif=exif)
    assert image_size(turned, "x") == (40, 30)
    np.testing.assert_array_equal(decode_image(turned, "x"), decode_image(plain, "x"))


def test_damaged_exif_warns_nobody() -> None:
    # Pillow reads the resolution from EXIF when it opens a file, and warns of a cut directory.
    block = b"Exif\0\0II*\0\x08\0\0\0\x40\0" + b"\x1a\x01\x05\0\x01\0\0\0\xff\xff\0\0"
    plain = encoded(noise(), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    app0 = 4 + int.from_bytes(plain[4:6], "big")
    body = plain[:2] + segment + plain[app0:]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Image.open(io.BytesIO(body)):
            pass
        assert caught, "the case is worth testing only while Pillow warns"
    np.testing.assert_array_equal(decode_image(body, "x"), decode_image(plain, "x"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_half_a_file_is_refused(kind: str) -> None:
    body = encoded(noise(), kind)
    with pytest.raises(DataError, match=r"^a/b: (truncated|undecodable): "):
        decode_image(body[: len(body) // 2], "a/b")


def test_half_a_jpeg_is_called_truncated() -> None:
    body = encoded(noise(), "JPEG")
    with pytest.raises(DataError, match=r"^k: truncated: "):
        decode_image(body[: len(body) // 2], "k")


def test_a_process_that_tolerates_truncated_images_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(UsageError, match="LOAD_TRUNCATED_IMAGES"):
        decode_image(encoded(noise(), "JPEG"), "k")


def test_what_is_no_image_is_named() -> None:
    with pytest.raises(DataError, match="k: truncated: the file is empty"):
        decode_image(b"", "k")
    with pytest.raises(DataError, match=r"unsupported: .*JPEG, PNG or WebP.*<html>"):
        decode_image(b"<html>quota</html>", "k")


def test_a_bomb_is_refused_from_its_header() -> None:
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    body = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    body += struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 4) + b"IDAT" + bytes(8)
    for read in (decode_image, image_size):
        with pytest.raises(DataError, match=rf"too-large: 30000x30000.*{MAX_PIXELS}"):
            read(body, "k")


def test_indices_are_kept_whatever_the_colours() -> None:
    indices = np.array([[0, 1, 2], [3, 200, 255]], dtype=np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(bytes(reversed(range(256))) * 3)
    np.testing.assert_array_equal(decode_indexed(encoded(image), "x"), indices)
    np.testing.assert_array_equal(decode_indexed(encoded(Image.fromarray(indices)), "x"), indices)


@pytest.mark.parametrize("mode", ["1", "LA", "RGB", "RGBA"])
def test_colours_and_stretched_grey_are_no_indices(mode: str) -> None:
    with pytest.raises(DataError, match="unsupported: a PNG of mode"):
        decode_indexed(encoded(noise().convert(mode)), "x")


def test_a_jpeg_holds_no_indices() -> None:
    with pytest.raises(DataError, match="unsupported: a JPEG of mode L"):
        decode_indexed(encoded(noise().convert("L"), "JPEG"), "x")


@pytest.mark.skipif(not ODD.is_dir(), reason="the shared fixtures are not here")
class TestOddFiles:
    @pytest.mark.parametrize(
        ("name", "size"),
        [
            ("broken_exif_dpi.jpg", (100, 100)),
            ("exif_typeerror.jpg", (800, 531)),
            ("frame_size.mpo", (56, 70)),
            ("gray_192.jpg", (192, 192)),
            ("hopper_16bit_qtables.jpg", (128, 128)),
            ("hopper_orientation_6.jpg", (128, 128)),
            ("icc_profile_big.jpg", (425, 250)),
            ("jpeg_ff00_header.jpg", (300, 225)),
            ("l_trns.png", (64, 64)),
            ("p_16.png", (128, 128)),
            ("p_trns_single.png", (64, 64)),
        ],
    )
    def test_it_decodes_as_stored(self, name: str, size: tuple[int, int]) -> None:
        body = (ODD / name).read_bytes()
        assert image_size(body, name) == size
        with Image.open(io.BytesIO(body)) as image:
            expected = np.asarray(image.convert("RGBA").convert("RGB"))
        np.testing.assert_array_equal(decode_image(body, name), expected)

    def test_the_truncated_one_is_refused(self) -> None:
        body = (ODD / "truncated_jpeg.jpg").read_bytes()
        with pytest.raises(DataError, match=r"^odd: truncated: "):
            decode_image(body, "odd")


def verdict(read: Callable[[bytes, str], object], body: bytes) -> str:
    try:
        read(body, "x")
    except DataError as error:
        return str(error)
    return "sound"


def test_verifying_refuses_what_decoding_refuses() -> None:
    sound = encoded(noise(), "JPEG")
    assert verify_image(sound, "x") == (40, 30)
    floats = encoded(Image.new("F", (4, 4)), "TIFF")
    for body in (sound[: len(sound) // 2], b"", b"<html>", floats):
        assert verdict(verify_image, body) == verdict(decode_image, body)
    with pytest.raises(DataError, match="truncated"):
        verify_image(sound[: len(sound) // 2], "x")


JPEGS = [
    encoded(noise().convert(mode), "JPEG", progressive=progressive, **options)
    for mode in ("RGB", "L", "CMYK")
    for progressive in (False, True)
    for options in ({}, {"restart_marker_blocks": 2}, {"quality": 30})
]


@given(
    body=st.sampled_from(JPEGS),
    place=st.floats(0, 1),
    length=st.integers(0, 40),
    instead=st.binary(max_size=40),
)
@settings(max_examples=400, deadline=None)
def test_verifying_a_damaged_jpeg_agrees_with_decoding_it(
    body: bytes, place: float, length: int, instead: bytes
) -> None:
    begin = int(place * len(body))
    damaged = body[:begin] + instead + body[begin + length :]
    assert verdict(verify_image, damaged) == verdict(decode_image, damaged)


@given(body=st.sampled_from(JPEGS), share=st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_verifying_a_jpeg_that_was_cut_off_agrees_with_decoding_it(
    body: bytes, share: float
) -> None:
    cut = body[: int(share * len(body))]
    assert verdict(verify_image, cut) == verdict(decode_image, cut)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_one_pixel_is_an_image(kind: str) -> None:
    body = encoded(Image.new("RGB", (1, 1), (128, 128, 128)), kind)
    assert verify_image(body, "x") == (1, 1)
    assert decode_image(body, "x").shape == (1, 1, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_twenty_thousand_pixels_wide_is_an_image(kind: str) -> None:
    body = encoded(Image.new("RGB", (20_000, 3)), kind)
    assert verify_image(body, "x") == (20_000, 3)
    assert decode_image(body, "x").shape == (3, 20_000, 3)


def test_transparent_palettes_with_rotation_and_alpha_verify_as_stored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    assert verify_image(encoded(noise(), "JPEG", exif=exif), "x") == (40, 30)
    assert verify_image(encoded(noise().convert("RGBA")), "x") == (40, 30)
