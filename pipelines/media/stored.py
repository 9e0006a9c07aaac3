"""Decoding what a shard stores: an image, or a video of which each sample is one frame.

Which of the two it is, the first bytes say. Which frame it is, the sample's key says: its last part
is the number of the frame in the video, from 0.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from pipelines.media.images import Image_HWC, decode_image
from schemas.errors import DataError

if TYPE_CHECKING:
    from pipelines.media.video import VideoFrame

_WAITING = 32
"""Frames that were passed and stay decoded, for threads that come a little later."""


class StoredPicture(Protocol):
    """One row of a samples table, as far as decoding needs it."""

    @property
    def key(self) -> str:
        """Key of the sample."""
        ...

    @property
    def frame(self) -> int | None:
        """Position in the clip, from 0."""
        ...

    @property
    def blake3(self) -> str:
        """Of the stored bytes: frames of one video have the same."""
        ...


def decode_stored(
    encoded: bytes, key: str, still: Callable[[bytes, str], Image_HWC] = decode_image
) -> Image_HWC:
    """Return one sample as RGB uint8 ``[height, width, 3]``.

    Of a video, one pass decodes all that the frame needs, from the first on: for many frames of a
    clip use ``StoredPictures``.

    Parameters
    ----------
    still
        Decodes what is no video.

    Raises
    ------
    DataError
        As ``decode_image`` and ``Video.frames``.
    """
    if not is_video(encoded):
        return still(encoded, key)
    # Most splits have no video: their readers need no ffmpeg.
    from pipelines.media.video import open_video

    number = frame_number(key)
    with open_video(encoded, key) as video:
        for frame in video.frames(max(number, 1)):
            if frame.index == number:
                return frame.image_HWC
    raise _no_frame(key)


def is_video(encoded: bytes) -> bool:
    """Say whether these are the bytes of an mp4 file."""
    return encoded[4:8] == b"ftyp"


def frame_number(key: str) -> int:
    """Return the place in its video of the frame with this key."""
    number = key.rpartition(".")[2]
    if not (number.isascii() and number.isdigit()):
        raise DataError(f"{key}: no frame of a video", expected="a key that ends with its number")
    return int(number)


class StoredPictures:
    """Decodes samples that are asked for nearly in order, by any threads: one pass of each video.

    One video is open at a time. A frame that was passed long ago takes another pass.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._video: _Pass | None = None

    def decode(self, sample: StoredPicture, read: Callable[[], bytes]) -> Image_HWC:
        """Return one sample as RGB uint8 ``[height, width, 3]``.

        Parameters
        ----------
        read
            Gives the stored bytes; not called for a frame of the video that is open.

        Raises
        ------
        DataError
            As ``decode_stored``; and what ``read`` raises.
        """
        with self._lock:
            if self._video is not None and self._video.digest == sample.blake3:
                return self._frame(sample)
        encoded = read()
        if not is_video(encoded):
            return decode_image(encoded, sample.key)
        with self._lock:
            if self._video is None or self._video.digest != sample.blake3:
                self._video = _Pass(encoded, sample.blake3)
            return self._frame(sample)

    def _frame(self, sample: StoredPicture) -> Image_HWC:
        assert self._video is not None
        number, position = frame_number(sample.key), sample.frame or 0
        # The first frame does not say how far it is to the next one.
        return self._video.frame(sample.key, number, number // position if position else None)


class _Pass:
    """One video, decoded forwards; begun anew for a frame that it has behind it."""

    def __init__(self, encoded: bytes, digest: str) -> None:
        self.digest = digest
        self._encoded = encoded
        self._every: int | None = None
        self._frames: Iterator[VideoFrame] = iter(())
        self._passed = -1
        self._waiting: dict[int, Image_HWC] = {}

    def frame(self, key: str, number: int, every: int | None) -> Image_HWC:
        """Return the picture of one frame; ``every`` so many is a sample, None when unknown."""
        if every is None:
            return decode_stored(self._encoded, key)
        if every != self._every:
            self._begin(key, every)
        if (found := self._waiting.pop(number, None)) is not None:
            return found
        if number <= self._passed:
            self._begin(key, every)
        return self._advance(key, number)

    def _begin(self, key: str, every: int) -> None:
        from pipelines.media.video import open_video

        with open_video(self._encoded, key) as video:
            self._every, self._frames = every, video.frames(every)
        self._passed = -1
        self._waiting.clear()

    def _advance(self, key: str, number: int) -> Image_HWC:
        try:
            for frame in self._frames:
                self._passed = frame.index
                if frame.index == number:
                    return frame.image_HWC
                if len(self._waiting) == _WAITING:
                    del self._waiting[min(self._waiting)]
                self._waiting[frame.index] = frame.image_HWC
        except DataError:
            self._every = None
            raise
        raise _no_frame(key)


def _no_frame(key: str) -> DataError:
    return DataError(f"{key}: undecodable: the video has no such frame")
