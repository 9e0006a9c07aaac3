from __future__ import annotations

import random
from pathlib import Path

import pytest

from downloaders import seekable_gzip
from downloaders.archives import ArchiveReader, open_archive
from downloaders.byte_source import FileBytes
from downloaders.seekable_gzip import POINTS_SUFFIX, GzipBytes
from schemas.errors import ArchiveError
from tests.contracts.downloader_contract import ArchiveReaderContract
from tests.downloaders.archive_files import make_gzip, make_tar, make_zip

NOISE = random.Random(5).randbytes(3 << 20)
MEMBERS = {f"top/{number:02}.bin": NOISE[number * 100_000 :][:100_000] for number in range(30)}


@pytest.fixture(autouse=True)
def _many_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut files of a test's size into many blocks, and keep few of them."""
    monkeypatch.setattr(seekable_gzip, "_SPACING", 1 << 18)
    monkeypatch.setattr(seekable_gzip, "_CACHED_BYTES", 1 << 19)


class TestTarGz(ArchiveReaderContract):
    suffix = ".tar.gz"

    def make(self, folder: Path, members: dict[str, bytes]) -> ArchiveReader:
        path = folder / f"a{self.suffix}"
        path.write_bytes(make_gzip(make_tar(members)))
        return open_archive(path)


class TestGzipNamedTar(TestTarGz):
    suffix = ".tar"


class TestGzippedZip(ArchiveReaderContract):
    def make(self, folder: Path, members: dict[str, bytes]) -> ArchiveReader:
        (folder / "a.zip.gz").write_bytes(make_gzip(make_zip(members)))
        return open_archive(folder / "a.zip.gz")


def gzip_file(folder: Path, body: bytes) -> Path:
    path = folder / "a.tar.gz"
    path.write_bytes(body)
    return path


def test_reads_in_any_order(tmp_path: Path) -> None:
    names = [*MEMBERS, *reversed(MEMBERS), *random.Random(1).sample(list(MEMBERS), 30)]
    with open_archive(gzip_file(tmp_path, make_gzip(make_tar(MEMBERS)))) as archive:
        for name in names:
            assert archive.read(name) == MEMBERS[name]


def test_any_range_of_the_content(tmp_path: Path) -> None:
    source = GzipBytes(FileBytes(gzip_file(tmp_path, make_gzip(NOISE))))
    numbers = random.Random(2)
    assert source.size == len(NOISE)
    for _ in range(50):
        start, count = numbers.randrange(len(NOISE) + 10), numbers.randrange(1 << 20)
        assert source.pread(count, start) == NOISE[start : start + count]


def test_content_is_decompressed_once_when_it_is_read_in_order(tmp_path: Path) -> None:
    path = gzip_file(tmp_path, make_gzip(NOISE))
    GzipBytes(FileBytes(path)).close()

    class Counting(FileBytes):
        count = 0

        def pread(self, count: int, offset: int) -> bytes:
            block = super().pread(count, offset)
            self.count += len(block)
            return block

    file = Counting(path)
    source, before = GzipBytes(file), file.count
    for start in range(0, len(NOISE), 1000):
        source.pread(1000, start)
    # The library reads 1 MiB of input at each of the 12 points, of which it needs a quarter.
    assert file.count - before <= 14 << 20


def test_streams_that_follow_each_other_are_one(tmp_path: Path) -> None:
    body = make_tar(MEMBERS)
    cuts = [body[: 1 << 20], body[1 << 20 : (1 << 20) + 7], b"", body[(1 << 20) + 7 :]]
    path = gzip_file(tmp_path, b"".join(map(make_gzip, cuts)) + bytes(700))
    with open_archive(path) as archive:
        assert {name: archive.read(name) for name in archive.members()} == MEMBERS


def test_points_are_kept_beside_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = gzip_file(tmp_path, make_gzip(make_tar(MEMBERS)))
    open_archive(path).close()
    points = path.with_name(path.name + POINTS_SUFFIX)
    good = points.read_bytes()

    def not_again(source: object) -> int:
        raise AssertionError(source)

    with monkeypatch.context() as patch:
        patch.setattr(seekable_gzip, "_checked_size", not_again)
        with open_archive(path) as archive:
            assert archive.read("top/29.bin") == MEMBERS["top/29.bin"]

    points.write_bytes(good[:-1])
    with open_archive(path) as archive:
        assert archive.read("top/29.bin") == MEMBERS["top/29.bin"]
    assert points.read_bytes() == good


@pytest.mark.parametrize("keep", [-1, -8, -9, -600, 1_500_000, 200_000])
def test_a_truncated_gzip_is_noticed_wherever_it_ends(keep: int, tmp_path: Path) -> None:
    body = make_gzip(make_tar(MEMBERS))[:keep]
    with pytest.raises(
        ArchiveError,
        match=rf"a\.tar\.gz is damaged: it is truncated: it ends at byte {len(body)}.*Delete it",
    ):
        open_archive(gzip_file(tmp_path, body))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


@pytest.mark.parametrize("place", [-2, -6, 1_500_000, 300])
def test_a_flipped_bit_is_noticed_wherever_it_is(place: int, tmp_path: Path) -> None:
    body = bytearray(make_gzip(make_tar(MEMBERS)))
    body[place] ^= 4
    with pytest.raises(ArchiveError, match=r"a\.tar\.gz is damaged: it does not decompress"):
        open_archive(gzip_file(tmp_path, bytes(body)))


def test_a_flipped_bit_is_noticed_although_there_were_points(tmp_path: Path) -> None:
    body = bytearray(make_gzip(make_tar(MEMBERS)))
    open_archive(gzip_file(tmp_path, bytes(body))).close()
    body[1_500_000] ^= 4
    with pytest.raises(ArchiveError, match=r"a\.tar\.gz is damaged"):
        open_archive(gzip_file(tmp_path, bytes(body)))


def test_bytes_behind_the_end_are_not_dropped(tmp_path: Path) -> None:
    path = gzip_file(tmp_path, make_gzip(make_tar(MEMBERS)) + b"more")
    with pytest.raises(ArchiveError, match=r"a\.tar\.gz is damaged"):
        open_archive(path)


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    path = gzip_file(tmp_path, make_gzip(make_tar({"top/zeros": bytes(80 << 20)})))
    with pytest.raises(ArchiveError, match="would grow from"):
        open_archive(path)


def test_a_gzipped_tar_that_is_truncated_inside_names_the_member(tmp_path: Path) -> None:
    path = gzip_file(tmp_path, make_gzip(make_tar(MEMBERS)[:150_000]))
    with pytest.raises(ArchiveError, match=r"inside member top/01\.bin; expected 100000 bytes"):
        open_archive(path)


def test_a_disk_that_fails_is_an_archive_error(tmp_path: Path) -> None:
    class Failing(FileBytes):
        fails = False

        def pread(self, count: int, offset: int) -> bytes:
            if self.fails:
                raise ArchiveError("cannot read: Input/output error")
            return super().pread(count, offset)

    file = Failing(gzip_file(tmp_path, make_gzip(NOISE)))
    source = GzipBytes(file)
    file.fails = True
    with pytest.raises(ArchiveError):
        source.pread(10, 2_000_000)
