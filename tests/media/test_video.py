from __future__ import annotations

import io
import itertools
import struct
import tracemalloc
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.media.images import decode_image
from pipelines.media.jpeg import encode_jpeg
from pipelines.media.video import open_video
from schemas.errors import DataError, UsageError
from tests.fixtures import FIXTURES
from tests.media.videos import make_mp4, number_of, packets, turned

VIDEOS = FIXTURES / "video"
UNDECODABLE = r"^clip: undecodable: "
LONG_GOP = {"g": "250", "bf": "3", "b-pyramid": "normal", "crf": "18"}


def decoded(mp4: bytes, every: int = 1) -> list[tuple[int, int]]:
    """Return for each frame its index and the number that its pixels say."""
    with open_video(mp4, "clip") as video:
        return [(frame.index, number_of(frame.image_HWC)) for frame in video.frames(every)]


@pytest.fixture(scope="module")
def long_gop() -> bytes:
    return make_mp4(260, options=LONG_GOP)


@pytest.mark.parametrize("every", [1, 2, 3, 4, 7, 24, 300])
def test_every_kth_frame_is_the_one_of_its_number(long_gop: bytes, every: int) -> None:
    assert decoded(long_gop, every) == [(n, n) for n in range(0, 260, every)]


def test_frames_are_the_same_pixels_whichever_are_asked_for(long_gop: bytes) -> None:
    with open_video(long_gop, "clip") as video:
        whole = {frame.index: frame.image_HWC.tobytes() for frame in video.frames()}
        for frame in video.frames(4):
            assert frame.image_HWC.tobytes() == whole[frame.index]


@settings(deadline=None, max_examples=12, derandomize=True)
@given(
    gaps=st.lists(st.integers(1, 5000), min_size=1, max_size=40),
    b_frames=st.integers(0, 4),
    group=st.integers(1, 30),
    every=st.integers(1, 5),
)
def test_any_times_any_structure(gaps: list[int], b_frames: int, group: int, every: int) -> None:
    times = list(np.cumsum(gaps))
    options = {"bf": str(b_frames), "g": str(group), "preset": "ultrafast", "crf": "18"}
    mp4 = make_mp4(len(times), times=[int(time) for time in times], options=options)
    with open_video(mp4, "clip") as video:
        assert video.frame_count == len(times)
        apart = [later - sooner for sooner, later in itertools.pairwise(video.seconds)]
    assert apart == [Fraction(gap, 24_000) for gap in gaps[1:]]
    assert decoded(mp4, every) == [(n, n) for n in range(0, len(times), every)]


@pytest.mark.parametrize("size", [(81, 48), (80, 47), (97, 61), (64, 128)])
def test_odd_sizes_and_portrait(size: tuple[int, int]) -> None:
    mp4 = make_mp4(6, size=size)
    with open_video(mp4, "clip") as video:
        shapes = {frame.image_HWC.shape for frame in video.frames()}
    assert shapes == {(size[1], size[0], 3)}
    assert decoded(mp4) == [(n, n) for n in range(6)]


def test_sound_is_ignored() -> None:
    assert decoded(make_mp4(30, sound=True), 4) == [(n, n) for n in range(0, 30, 4)]


def test_a_file_is_read_like_bytes(long_gop: bytes) -> None:
    with open_video(io.BytesIO(long_gop), "clip") as video:
        assert [number_of(frame.image_HWC) for frame in video.frames(50)] == [
            0,
            50,
            100,
            150,
            200,
            250,
        ]


def test_what_an_edit_list_cuts_away_is_no_frame() -> None:
    # The muxer's own edit list only skips the delay of B-frames; this one starts at frame 5.
    mp4 = bytearray(make_mp4(20, options={"bf": "0", "g": "250", "crf": "18"}))
    place = mp4.index(b"elst") + 4
    _, count, _, start = struct.unpack_from(">IIIi", mp4, place)
    assert (count, start) == (1, 0)
    struct.pack_into(">i", mp4, place + 12, 5 * 1000)
    found = decoded(bytes(mp4))
    assert [index for index, _ in found] == list(range(15))
    assert [number for _, number in found] == list(range(5, 20))


@pytest.mark.parametrize(
    ("matrix", "quarters"),
    [((1, 0, 0, 1), 0), ((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)],
)
def test_rotation_is_applied(matrix: tuple[int, int, int, int], quarters: int) -> None:
    mp4 = make_mp4(3)
    with open_video(mp4, "clip") as video:
        plain = [frame.image_HWC for frame in video.frames()]
    with open_video(turned(mp4, matrix), "clip") as video:
        for frame, expected in zip(video.frames(), plain, strict=True):
            # np.rot90 turns counterclockwise; (0, 1, -1, 0) takes right to down: clockwise.
            np.testing.assert_array_equal(frame.image_HWC, np.rot90(expected, quarters))


@pytest.mark.parametrize("fault", ["zeros", "noise", "length"])
def test_damage_names_the_frame(long_gop: bytes, fault: str) -> None:
    place, size, _ = packets(long_gop)[100]
    body = bytearray(long_gop)
    if fault == "zeros":
        body[place + 5 : place + size] = bytes(size - 5)
    elif fault == "noise":
        noise = np.random.default_rng(0).integers(0, 256, size - 8, dtype=np.uint8)
        body[place + 8 : place + size] = noise.tobytes()
    else:
        body[place : place + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(DataError, match=r"^clip: undecodable: frame \d+: "):
        decoded(bytes(body))


def test_frames_before_the_damage_are_given() -> None:
    mp4 = make_mp4(40, options={"bf": "0", "crf": "18"})
    place, _, _ = packets(mp4)[30]
    body = bytearray(mp4)
    body[place : place + 4] = b"\xff\xff\xff\xff"
    found = []
    with open_video(bytes(body), "clip") as video, pytest.raises(DataError, match="frame 30: "):
        for frame in video.frames():
            found.append(number_of(frame.image_HWC))  # noqa: PERF401  what came before the error
    assert found == list(range(30))


def test_a_truncated_file_is_an_error_also_without_its_last_frame_only() -> None:
    mp4 = make_mp4(40, faststart=True)
    last, size, _ = packets(mp4)[-1]
    for end in (last + size - 1, last, len(mp4) // 2, 40, 0):
        with pytest.raises(DataError, match=r"^clip: (truncated|undecodable): "):
            decoded(mp4[:end])


def test_an_index_behind_the_frames_that_is_cut_off_is_an_error() -> None:
    mp4 = make_mp4(40)
    assert mp4.index(b"mdat") < mp4.index(b"moov")
    with pytest.raises(DataError, match=UNDECODABLE):
        decoded(mp4[: mp4.index(b"moov") - 4])


def test_no_frames_no_video_stream_no_video(long_gop: bytes) -> None:
    body = io.BytesIO()
    with av.open(body, mode="w", format="mp4") as container:
        voice = container.add_stream("aac", rate=16_000, layout="mono")
        tone = av.AudioFrame.from_ndarray(
            np.zeros((1, 16_000), dtype=np.float32), format="fltp", layout="mono"
        )
        tone.sample_rate = 16_000
        container.mux(voice.encode(tone))
        container.mux(voice.encode(None))
    with pytest.raises(DataError, match="no video stream"):
        decoded(body.getvalue())
    with pytest.raises(DataError, match=UNDECODABLE):
        decoded(b"<html>busy</html>" * 100)
    empty = bytearray(long_gop)
    for table in (b"stts", b"stsz", b"ctts", b"stss", b"stsc", b"stco"):
        if (place := empty.find(table)) >= 0:
            count = place + (12 if table == b"stsz" else 8)
            empty[count : count + 4] = bytes(4)
    with pytest.raises(DataError, match=UNDECODABLE):
        decoded(bytes(empty))


def test_pixels_are_those_of_the_exact_conversion(long_gop: bytes) -> None:
    flags = Interpolation.BILINEAR | Interpolation.BITEXACT
    flags |= Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    with open_video(long_gop, "clip") as video, av.open(io.BytesIO(long_gop)) as container:
        for frame, plain in zip(video.frames(), container.decode(video=0), strict=True):
            expected = plain.to_ndarray(format="rgb24", interpolation=flags)
            np.testing.assert_array_equal(frame.image_HWC, expected)


def test_a_step_below_one_is_refused(long_gop: bytes) -> None:
    with open_video(long_gop, "clip") as video, pytest.raises(UsageError, match="every"):
        next(video.frames(0))


def test_memory_does_not_grow_with_the_length() -> None:
    def peak(frames: int) -> int:
        mp4 = make_mp4(frames, options={"preset": "ultrafast"}, size=(160, 96))
        with open_video(mp4, "clip") as video:
            tracemalloc.start()
            for _ in video.frames():
                pass
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        return most

    picture = 160 * 96 * 3
    assert peak(400) < peak(40) + 2 * picture


def test_jpegs_are_close_and_the_same_each_time(long_gop: bytes) -> None:
    with open_video(long_gop, "clip") as video:
        image = next(video.frames()).image_HWC
    assert encode_jpeg(image) == encode_jpeg(image.copy())
    back = decode_image(encode_jpeg(image), "jpeg").astype(int)
    assert np.abs(back - image).mean() < 2


@pytest.mark.skipif(not VIDEOS.is_dir(), reason="fixtures are not here")
class TestRealVideos:
    def test_frames_of_bedroom_are_those_that_others_extracted(self) -> None:
        mp4 = (VIDEOS / "bedroom.mp4").read_bytes()
        with open_video(mp4, "bedroom") as video:
            assert video.frame_count == 200
            frames = [frame.image_HWC for frame in itertools.islice(video.frames(), 12)]
        extracted = [
            decode_image((VIDEOS / f"bedroom_frames/{n:05d}.jpg").read_bytes(), "jpeg")
            for n in range(12)
        ]
        for index, frame in enumerate(frames):
            apart = [np.abs(frame.astype(int) - other).mean() for other in extracted]
            assert int(np.argmin(apart)) == index
            assert apart[index] < 1.6

    def test_coffee_has_287_frames_at_its_rate(self) -> None:
        mp4 = (VIDEOS / "04_coffee.mp4").read_bytes()
        with open_video(mp4, "coffee") as video:
            times = video.seconds
            indices = [frame.index for frame in video.frames(41)]
        assert len(times) == 287
        assert {b - a for a, b in itertools.pairwise(times)} == {Fraction(1001, 30_000)}
        assert indices == [0, 41, 82, 123, 164, 205, 246]
