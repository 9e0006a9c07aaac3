"""Strict decoding of encoded images, by Pillow and nothing else.

One decoder, so that every stage sees the same pixels. No global state of Pillow is touched, so
threads may decode at once. Damage that libjpeg repairs in silence (a flipped bit in the middle) is
not noticed here: the checksums of archives are for that.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from schemas.errors import DataError, UsageError

Image_HWC = npt.NDArray[np.uint8]
Indices_HW = npt.NDArray[np.uint8]

MAX_PIXELS = 1 << 27
"""Larger images are refused from their header: 134 million pixels are 400 MB once decoded."""

_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error)
_JPEG_MAGIC = b"\xff\xd8"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_INDEXED_KINDS = frozenset([(3, 1), (3, 2), (3, 4), (3, 8), (0, 8)])
"""Colour type and bit depth, bytes 25 and 24 of a PNG."""
_APP1 = 0xE1
_SMALLEST = (1, 1)
_NO_LENGTH = frozenset([0x01, *range(0xD0, 0xDB), 0xFF])
"""Markers without a length, start of scan (after which no metadata comes), and fill bytes."""


def decode_image(encoded: bytes, where: str) -> Image_HWC:
    """Return the stored pixel grid as RGB uint8 ``[height, width, 3]``.

    JPEG (of an MPO file the first picture), PNG and WebP. Grey becomes three equal channels, a
    palette its colours, 16-bit grey its high byte, CMYK is converted without colour profile. Alpha
    and colour profiles are ignored. EXIF orientation is never applied: annotations of all data sets
    describe the stored grid.

    Raises
    ------
    DataError
        The text after ``where: `` is a quarantine reason, ``truncated: …``, ``undecodable: …``,
        ``too-large: …`` or ``unsupported: …``.
    """
    with _opened(encoded, where) as image:
        if image.mode.startswith("I;16"):
            grey_HW = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
            return np.repeat(grey_HW[:, :, None], 3, axis=2)
        _require_supported(image, where)
        if image.mode == "P":
            # Straight to RGB, Pillow warns when the palette has transparent entries.
            return np.asarray(image.convert("RGBA").convert("RGB"))
        return np.asarray(image.convert("RGB"))


def verify_image(encoded: bytes, where: str) -> tuple[int, int]:
    """Return ``(width, height)`` of an image that ``decode_image`` can decode to its last row.

    Of a JPEG every entropy-coded bit is read, in which all damage shows that libjpeg reports, and
    an eighth of the picture is made of it: half the time, the same verdict.

    Raises
    ------
    DataError
        As ``decode_image``.
    """
    with _opened(encoded, where) as image:
        _require_supported(image, where)
        size = image.size
        image.draft(None, _SMALLEST)
        image.load()
        return size


def image_size(encoded: bytes, where: str) -> tuple[int, int]:
    """Return ``(width, height)`` of the stored pixel grid, from the header alone.

    Raises
    ------
    DataError
        As ``decode_image``, as far as the header shows it.
    """
    with _opened(encoded, where) as image:
        return image.size


def decode_indexed(encoded: bytes, where: str) -> Indices_HW:
    """Return the palette indices of a PNG as uint8 ``[height, width]``; colours play no part.

    A PNG of 8-bit grey counts too, as masks that were saved without their palette are.

    Raises
    ------
    DataError
        As ``decode_image``; and ``unsupported: …`` for colours, which cannot be told from indices
        that a tool expanded, and for less than 8 bits of grey, which decoders stretch to 255.
    """
    with _opened(encoded, where) as image:
        kind = (encoded[25], encoded[24]) if encoded.startswith(_PNG_MAGIC) else None
        if kind not in _INDEXED_KINDS:
            raise DataError(
                f"{where}: unsupported: a {image.format} of mode {image.mode}",
                expected="a PNG with a palette, or of 8-bit grey",
            )
        return np.asarray(image)


def _require_supported(image: ImageFile.ImageFile, where: str) -> None:
    if image.mode in {"I", "F"}:
        raise DataError(f"{where}: unsupported: pixels of mode {image.mode}")


@contextmanager
def _opened(encoded: bytes, where: str) -> Iterator[ImageFile.ImageFile]:
    """Open by the first bytes; Image.open would warn of large images instead of refusing them."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise UsageError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set in this process: truncated images would "
            "decode to grey",
            fix="Find who sets it, and do not.",
        )
    try:
        with _open(encoded, where) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(
                    f"{where}: too-large: {width}x{height}", expected=f"{MAX_PIXELS} pixels at most"
                )
            yield image
    except DataError:
        raise
    except Image.DecompressionBombError as cause:  # the WebP plugin looks before we can
        raise DataError(f"{where}: too-large: {cause}") from cause
    except _DECODER_ERRORS as cause:
        reason = "truncated" if "truncated" in str(cause).lower() else "undecodable"
        raise DataError(f"{where}: {reason}: {cause}") from cause


def _open(encoded: bytes, where: str) -> ImageFile.ImageFile:
    if not encoded:
        raise DataError(f"{where}: truncated: the file is empty")
    if encoded.startswith(_JPEG_MAGIC):
        return JpegImageFile(io.BytesIO(_without_exif(encoded)))
    if encoded.startswith(_PNG_MAGIC):
        return PngImageFile(io.BytesIO(encoded))
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return WebPImageFile(io.BytesIO(encoded))
    raise DataError(
        f"{where}: unsupported: no image format",
        expected="JPEG, PNG or WebP",
        got=f"a file that starts with {encoded[:8]!r}",
    )


def _without_exif(jpeg: bytes) -> bytes:
    """Return the JPEG without APP1 segments, up to where its header is irregular.

    Pillow reads the resolution from EXIF as soon as it opens a file, and warns of damaged tags.
    """
    kept, place = [jpeg[:2]], 2
    while place + 4 <= len(jpeg) and jpeg[place] == 0xFF and jpeg[place + 1] not in _NO_LENGTH:
        end = place + 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
        if jpeg[place + 1] != _APP1:
            kept.append(jpeg[place:end])
        place = end
    if sum(map(len, kept)) == place:
        return jpeg
    return b"".join([*kept, jpeg[place:]])
