"""Pictures and index masks as the image files of the archives."""

from __future__ import annotations

import io

from PIL import Image

from pipelines.demo.regions import Labels


def jpeg_bytes(picture: Image.Image) -> bytes:
    """Return the picture as JPEG, greyscale or colour as it is."""
    body = io.BytesIO()
    picture.save(body, "JPEG", quality=90)
    return body.getvalue()


def indexed_png(indices_HW: Labels, palette: bytes) -> bytes:
    """Return a PNG whose palette indices are ``indices_HW``."""
    image = Image.fromarray(indices_HW)
    image.putpalette(palette)
    return _png(image)


def binary_png(mask_HW: Labels) -> bytes:
    """Return a grey PNG: 255 where the mask is set, else 0."""
    return _png(Image.fromarray((mask_HW != 0).astype("uint8") * 255))


def _png(image: Image.Image) -> bytes:
    body = io.BytesIO()
    image.save(body, "PNG")
    return body.getvalue()


def _bit_palette() -> bytes:
    """Return the colours of DAVIS: bits 0, 3, 6.. of the index make red, the next green, blue."""
    return bytes(
        sum(((index >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(8))
        for index in range(256)
        for channel in range(3)
    )


DAVIS_PALETTE = _bit_palette()
_YOUTUBE_VOS_COLOURS = ((0, 0, 0), (236, 95, 103), (249, 145, 87), (250, 200, 99), (153, 199, 148))
YOUTUBE_VOS_PALETTE = (
    bytes(level for colour in _YOUTUBE_VOS_COLOURS for level in colour)
    + DAVIS_PALETTE[3 * len(_YOUTUBE_VOS_COLOURS) :]
)
