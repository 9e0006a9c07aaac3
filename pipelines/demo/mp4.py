"""Clips as MP4 video."""

from __future__ import annotations

import io
from collections.abc import Sequence

import av
from PIL import Image

_OPTIONS = {
    "threads": "1",
    "crf": "20",
    "flags": "+bitexact",
    # The assembly of x264's look-ahead reads memory that nobody wrote: other bytes at each run.
    "x264-params": "asm=0",
}


def mp4_bytes(pictures: Sequence[Image.Image], rate: int) -> bytes:
    """Return an H.264 video of ``pictures``, whose sides are even, at ``rate`` per second.

    Equal at every call with one build of FFmpeg and x264; another build may give other bytes.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=rate, options=_OPTIONS)
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return buffer.getvalue()
