"""The faster of two decoders, for images whose bytes are known to be those that were normalized."""

from __future__ import annotations

import simplejpeg

from pipelines.media.images import Image_HWC, decode_image

_JPEG_MAGIC = b"\xff\xd8"


def decode_checked(encoded: bytes, where: str) -> Image_HWC:
    """Return what ``decode_image`` returns, pixel for pixel, in half of its time for a JPEG.

    Both decoders are libjpeg-turbo with the same settings; colours other than YCbCr are left to
    Pillow. The caller must have compared the bytes with their digest: what was normalized has been
    decoded by ``decode_image``, which knows more kinds of damage.

    Raises
    ------
    DataError
        As ``decode_image``.
    """
    if not encoded.startswith(_JPEG_MAGIC):
        return decode_image(encoded, where)
    try:
        if simplejpeg.decode_jpeg_header(encoded)[2] != "YCbCr":
            return decode_image(encoded, where)
        image: Image_HWC = simplejpeg.decode_jpeg(encoded, fastdct=False, fastupsample=False)
    except ValueError:
        # Pillow knows more kinds of JPEG, and its errors are ours.
        return decode_image(encoded, where)
    return image
