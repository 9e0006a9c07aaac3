"""Frame-exact decoding of video files: frame ``i`` is the ``i``-th picture that a player shows.

Strict: damage that the decoder notices is an error that names the frame, never a concealed
picture. Each clip is decoded by one thread, because ffmpeg reports concealed damage of H.264 only
then, and its frame threads can hang on it; decode several clips at once instead.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from pipelines.media.images import MAX_PIXELS, Image_HWC
from pipelines.media.mp4_boxes import missing_bytes
from schemas.errors import DataError, UsageError

_EXACT = (
    Interpolation.BILINEAR
    | Interpolation.BITEXACT
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
)
"""The same RGB on every processor: without these flags, SIMD variants of libswscale differ."""
_STRICT = {"err_detect": "explode", "threads": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFrame:
    """One decoded picture."""

    index: int
    """Its place in the order of presentation, from 0."""
    seconds: Fraction
    """Its time of presentation, as the file states it."""
    image_HWC: Image_HWC
    """RGB, upright."""


class Video:
    """The video stream of one file; made by ``open_video``.

    Frames are those that a player shows, in the order of their times: what an edit list cuts away
    is no frame, and times need not be regular. Rotation by the display matrix is applied, as ffmpeg
    and OpenCV do when they extract frames. Colours follow the matrix and range that the file
    states, BT.601 and limited range when it states none.
    """

    def __init__(self, source: BinaryIO, where: str) -> None:
        self._source, self.where = source, where
        self._times, self._unit = self._index()

    @property
    def frame_count(self) -> int:
        """Number of frames, from the file's index: all packets are counted, none is decoded."""
        return len(self._times)

    @property
    def seconds(self) -> Sequence[Fraction]:
        """Time of presentation of each frame."""
        return [time * self._unit for time in self._times]

    def frames(self, every: int = 1) -> Iterator[VideoFrame]:
        """Decode frames 0, ``every``, 2 · ``every``, …; one at a time is in memory.

        Frames between them are decoded as far as these need them; damage in others is not noticed.

        Raises
        ------
        DataError
            The text after ``where: `` is a quarantine reason: ``undecodable: frame 7: …``.
        """
        if every < 1:
            raise UsageError("every how many frames", expected="1 or more", got=every)
        wanted = iter(range(0, self.frame_count, every))
        convert = _Converter()
        index = next(wanted)
        for frame in self._decoded(every):
            if frame.pts != self._times[index]:
                raise self._lost(index)
            try:
                image_HWC = convert(frame)
            except DataError as error:
                raise self._bad(index, error.what) from error
            yield VideoFrame(
                index=index, seconds=self._times[index] * self._unit, image_HWC=image_HWC
            )
            if (following := next(wanted, None)) is None:
                return
            index = following
        raise self._lost(index)

    def _index(self) -> tuple[list[int], Fraction]:
        """Return the times of all shown frames, sorted, and their unit."""
        if missing := missing_bytes(self._source):
            raise DataError(f"{self.where}: truncated: the file lacks {missing} bytes")
        with self._opened() as (container, stream):
            shown = [
                packet.pts
                for packet in container.demux(stream)
                if packet.size and not packet.is_discard
            ]
            unit = stream.time_base
        if not shown:
            raise DataError(f"{self.where}: undecodable: a video without frames")
        if None in shown or len(set(shown)) < len(shown):
            raise DataError(f"{self.where}: unsupported: frames without a time of their own")
        return sorted(shown), unit

    def _decoded(self, every: int) -> Iterator[Any]:
        """Yield the wanted frames as the decoder gives them."""
        places = {time: index for index, time in enumerate(self._times)}
        with self._opened() as (container, stream):
            context = stream.codec_context
            for packet in container.demux(stream):
                index = places.get(packet.pts)
                # Others are decoded only when later frames refer to them.
                needed = index is not None and index % every == 0
                context.skip_frame = "DEFAULT" if needed or not packet.size else "NONREF"
                try:
                    frames = packet.decode()
                except av.error.FFmpegError as cause:
                    raise self._bad(index, cause.strerror) from cause
                for frame in frames:
                    place = places.get(frame.pts)
                    if frame.is_corrupt:
                        raise self._bad(place, "the decoder had to conceal damage")
                    if place is None:
                        raise self._bad(place, f"a frame of unknown time {frame.pts}")
                    if place % every == 0:
                        yield frame

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        """Open anew from the first byte, so that no pass depends on where another one stopped."""
        self._source.seek(0)
        try:
            container = av.open(self._source, mode="r")
        except (av.error.FFmpegError, EOFError) as cause:
            raise DataError(f"{self.where}: undecodable: {_text(cause)}") from cause
        with container:
            stream = container.streams.best("video")
            if stream is None:
                raise DataError(f"{self.where}: undecodable: no video stream")
            context = stream.codec_context
            if context.width * context.height > MAX_PIXELS:
                size = f"{context.width}x{context.height}"
                raise DataError(
                    f"{self.where}: too-large: {size}", expected=f"{MAX_PIXELS} pixels at most"
                )
            context.options = _STRICT
            context.thread_type = "NONE"
            yield container, stream

    def _lost(self, index: int) -> DataError:
        return self._bad(index, "the decoder left it out")

    def _bad(self, index: int | None, reason: str) -> DataError:
        frame = "" if index is None else f"frame {index}: "
        return DataError(f"{self.where}: undecodable: {frame}{reason}")


class _Converter:
    """Turns decoded frames of one clip into upright RGB; refuses a change of size."""

    def __init__(self) -> None:
        self._planes, self._packed = VideoReformatter(), VideoReformatter()
        self._size: tuple[int, int] | None = None

    def __call__(self, frame: av.VideoFrame) -> Image_HWC:
        size = (frame.width, frame.height)
        if self._size is None:
            self._size = size
        if size != self._size:
            raise DataError(f"the size changes from {self._size} to {size}")
        turns, skew = divmod(frame.rotation, 90)
        if skew:
            raise DataError(f"rotated by {frame.rotation} degrees, which is no quarter turn")
        # By way of planes, for which libswscale has fast code with the same exact results.
        planes = self._planes.reformat(frame, format="gbrp", interpolation=_EXACT, threads=1)
        rgb = self._packed.reformat(planes, format="rgb24", interpolation=_EXACT, threads=1)
        return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), turns))


@contextmanager
def open_video(source: bytes | BinaryIO, where: str) -> Iterator[Video]:
    """Open a video that is in memory, or in a seekable file or archive member.

    Raises
    ------
    DataError
        It is no video, is cut off, or has no frames; the text after ``where: `` is a quarantine
        reason.
    """
    yield Video(io.BytesIO(source) if isinstance(source, bytes) else source, where)


def _text(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
