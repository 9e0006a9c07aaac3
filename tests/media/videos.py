"""Small mp4 files that carry the number of each frame in its pixels, made anew for each test."""

from __future__ import annotations

import io
import struct
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

BITS = 10
TICKS = 24_000

Image_HWC = npt.NDArray[np.uint8]


def numbered_image(number: int, width: int, height: int) -> Image_HWC:
    """Return columns of black and white: the bits of ``number``, above a grey band."""
    image = np.full((height, width, 3), 128, dtype=np.uint8)
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for bit in range(BITS):
        image[: height // 2, edges[bit] : edges[bit + 1]] = 255 if number >> bit & 1 else 0
    return image


def number_of(image_HWC: Image_HWC) -> int:
    height, width, _ = image_HWC.shape
    edges = np.linspace(0, width, BITS + 1).astype(int)
    row = image_HWC[: height // 2, :, 1].mean(axis=0)
    return sum(int(row[edges[bit] : edges[bit + 1]].mean() > 127) << bit for bit in range(BITS))


def make_mp4(
    frames: int,
    *,
    size: tuple[int, int] = (80, 48),
    times: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    sound: bool = False,
    faststart: bool = False,
) -> bytes:
    """Return an H.264 file; ``times`` count in thousandths of a 24th of a second."""
    width, height = size
    pixels = "yuv444p" if width % 2 or height % 2 else "yuv420p"
    flags = {"movflags": "faststart"} if faststart else {}
    with (
        # A named file, because the muxer reads it again to move the index to its front.
        tempfile.NamedTemporaryFile(suffix=".mp4") as body,
        av.open(body.name, mode="w", options=flags) as container,
    ):
        stream = container.add_stream("libx264", rate=24, options=options or {"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        voice = container.add_stream("aac", rate=16_000, layout="mono") if sound else None
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(numbered_image(number, width, height), "rgb24")
            frame.pts = times[number] if times else number * 1000
            frame.time_base = stream.time_base
            container.mux(stream.encode(frame))
        if voice is not None:
            quiet = np.zeros((1, 16_000), dtype=np.float32)
            tone = av.AudioFrame.from_ndarray(quiet, format="fltp", layout="mono")
            tone.sample_rate = 16_000
            container.mux(voice.encode(tone))
            container.mux(voice.encode(None))
        container.mux(stream.encode(None))
        container.close()
        return Path(body.name).read_bytes()


def turned(mp4: bytes, matrix: tuple[int, int, int, int]) -> bytes:
    """Return the file with (a, b, c, d) as display matrix: x' = a x + c y, y' = b x + d y."""
    a, b, c, d = (value << 16 for value in matrix)
    place = mp4.index(b"tkhd") + 4 + 40
    return b"".join(
        [mp4[:place], struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30), mp4[place + 36 :]]
    )


def packets(mp4: bytes) -> list[tuple[int, int, int]]:
    """Return place, size and time of each packet of the video, in the order of decoding."""
    with av.open(io.BytesIO(mp4)) as container:
        stream = container.streams.video[0]
        return [(p.pos, p.size, p.pts) for p in container.demux(stream) if p.size]
