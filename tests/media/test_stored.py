from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import av
import numpy as np
import pytest

from pipelines.media import stored
from pipelines.media.images import decode_image
from pipelines.media.stored import StoredPictures, decode_stored, is_video
from pipelines.media.video import Video, VideoFrame, open_video
from schemas.errors import DataError
from schemas.ids import digest_bytes
from tests.media.videos import make_mp4, number_of, packets
from tests.normalize.archives import jpeg

FRAMES = 24
MP4 = make_mp4(FRAMES)


@dataclass(frozen=True)
class Row:
    key: str
    frame: int | None
    blake3: str


def rows(every: int, clip: str = "clip", mp4: bytes = MP4) -> list[Row]:
    digest = digest_bytes(mp4)
    numbers = range(0, FRAMES, every)
    return [Row(f"{clip}.{number:05d}", place, digest) for place, number in enumerate(numbers)]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps of all passes that are begun."""
    begun: list[int] = []

    class Counted(Video):
        def frames(self, every: int = 1) -> Iterator[VideoFrame]:
            begun.append(every)
            return super().frames(every)

    monkeypatch.setattr("pipelines.media.video.Video", Counted)
    return begun


@pytest.mark.parametrize("every", [1, 4, 5])
def test_frames_are_those_that_pyav_decodes(every: int) -> None:
    with open_video(MP4, "clip") as video:
        expected = [frame.image_HWC for frame in video.frames()][::every]
    pictures = StoredPictures()
    for row, image_HWC in zip(rows(every), expected, strict=True):
        assert np.array_equal(pictures.decode(row, lambda: MP4), image_HWC)
        assert np.array_equal(decode_stored(MP4, row.key), image_HWC)


def test_the_frames_are_counted_as_a_player_shows_them() -> None:
    with av.open(io.BytesIO(MP4)) as container:
        assert any(packet.dts != packet.pts for packet in container.demux(video=0))
    assert [number_of(decode_stored(MP4, row.key)) for row in rows(5)] == [0, 5, 10, 15, 20]


def test_a_clip_is_read_once_and_takes_one_pass_after_its_first_frame(passes: list[int]) -> None:
    read: list[str] = []
    pictures = StoredPictures()
    for row in rows(4):
        pictures.decode(row, reading(read, row.key))
    assert read == ["clip.00000"]
    assert passes == [1, 4]


def reading(read: list[str], key: str, body: bytes = MP4) -> Callable[[], bytes]:
    def take() -> bytes:
        read.append(key)
        return body

    return take


def test_threads_out_of_order_need_no_other_pass(passes: list[int]) -> None:
    taken = rows(2)
    order = [1, 0, 3, 2, 5, 4, 8, 7, 6, 11, 10, 9]
    pictures = StoredPictures()
    found = [number_of(pictures.decode(taken[place], lambda: MP4)) for place in order]
    assert found == [2 * place for place in order]
    assert passes.count(2) == 1
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda row: number_of(pictures.decode(row, lambda: MP4)), taken))
    assert numbers == [2 * place for place in range(12)]


def test_a_frame_again_and_one_that_waited_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_WAITING", 2)
    taken, pictures = rows(1), StoredPictures()
    for place in (20, 3, 3, 19, 0, 21):
        assert number_of(pictures.decode(taken[place], lambda: MP4)) == place


def test_clips_and_stills_take_turns() -> None:
    other = make_mp4(FRAMES, options={"crf": "30"})
    still, pictures = jpeg(24, 12, 3), StoredPictures()
    for one, two in zip(rows(8), rows(8, "other", other), strict=True):
        for row, body in ((one, MP4), (two, other)):
            found = pictures.decode(row, lambda body=body: body)  # type: ignore[misc]
            assert np.array_equal(found, decode_stored(body, row.key))
        row = Row("still", None, digest_bytes(still))
        assert np.array_equal(pictures.decode(row, lambda: still), decode_image(still, "still"))
    assert not is_video(still)


def test_damage_is_an_error_of_its_frame_and_those_before_it_are_sound() -> None:
    mp4 = make_mp4(FRAMES, options={"bf": "0"})
    place, _, _ = packets(mp4)[6]
    damaged = mp4[:place] + b"\xff\xff\xff\xff" + mp4[place + 4 :]
    taken, pictures = rows(1, mp4=damaged), StoredPictures()
    for _ in range(2):
        assert number_of(pictures.decode(taken[5], lambda: damaged)) == 5
        with pytest.raises(DataError, match="undecodable: frame 6: "):
            pictures.decode(taken[6], lambda: damaged)
        with pytest.raises(DataError, match="undecodable: frame 6: "):
            pictures.decode(taken[9], lambda: damaged)


@pytest.mark.parametrize(
    ("key", "problem"),
    [("clip.00024", "the video has no such frame"), ("clip.x", "a key that ends with its number")],
)
def test_keys_of_no_frame(key: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        decode_stored(MP4, key)
    with pytest.raises(DataError, match=problem):
        StoredPictures().decode(Row(key, 24, digest_bytes(MP4)), lambda: MP4)
