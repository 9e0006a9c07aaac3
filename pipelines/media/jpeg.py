"""JPEG encoding of frames that are published only inside a video."""

from __future__ import annotations

import io

from PIL import Image

from pipelines.media.images import Image_HWC

QUALITY = 95


def encode_jpeg(image_HWC: Image_HWC, quality: int = QUALITY) -> bytes:
    """Return an RGB image as JPEG with full chroma; equal pixels give equal bytes."""
    body = io.BytesIO()
    Image.fromarray(image_HWC).save(body, "JPEG", quality=quality, subsampling="4:4:4")
    return body.getvalue()
