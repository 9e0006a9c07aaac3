from __future__ import annotations

import pickle
import random
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from downloaders.archives import ArchiveReader, open_archive
from downloaders.byte_source import FileBytes
from downloaders.tar_archive import INDEX_SUFFIX, TarArchive
from downloaders.tar_headers import read_entries
from schemas.errors import ArchiveError
from tests.contracts.downloader_contract import ArchiveReaderContract
from tests.downloaders.archive_files import END, make_tar, tar_header

FORMATS = {"v7+ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


class TestGnuTar(ArchiveReaderContract):
    form = tarfile.GNU_FORMAT

    def make(self, folder: Path, members: dict[str, bytes]) -> ArchiveReader:
        (folder / "a.tar").write_bytes(make_tar(members, form=self.form))
        return open_archive(folder / "a.tar")


class TestPaxTar(TestGnuTar):
    form = tarfile.PAX_FORMAT


class TestUstarTar(TestGnuTar):
    form = tarfile.USTAR_FORMAT


def read_all(path: Path) -> dict[str, bytes]:
    with open_archive(path) as archive:
        return {name: archive.read(name) for name in archive.members()}


def tar_file(folder: Path, body: bytes) -> Path:
    path = folder / "a.tar"
    path.write_bytes(body)
    return path


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("length", [99, 100, 101, 155, 190])
def test_names_of_any_length(form: str, length: int, tmp_path: Path) -> None:
    name = f"top/{'d' * (length // 2)}/{'f' * (length - length // 2 - 5)}"
    body = make_tar({name: b"long", "top/next": b"next"}, form=FORMATS[form])
    assert read_all(tar_file(tmp_path, body)) == {name: b"long", "top/next": b"next"}


def test_a_gnu_and_a_pax_name_beyond_the_ustar_limit(tmp_path: Path) -> None:
    name = "top/" + "n" * 700
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        assert read_all(tar_file(tmp_path, make_tar({name: b"x"}, form=form))) == {name: b"x"}


def test_a_leading_dot_and_folders_are_left_out(tmp_path: Path) -> None:
    folders = []
    for name in (".", "./top", "./top/sub"):
        folders.append((tarfile.TarInfo(name), b""))
        folders[-1][0].type = tarfile.DIRTYPE
    body = make_tar([*folders, ("./top/a.jpg", b"a"), ("./top/sub/b.jpg", b"b")])
    assert read_all(tar_file(tmp_path, body)) == {"top/a.jpg": b"a", "top/sub/b.jpg": b"b"}


def test_of_two_members_of_one_name_the_last_counts(tmp_path: Path) -> None:
    body = make_tar([("top/a", b"old"), ("top/b", b"b"), ("./top/a", b"newer")])
    assert read_all(tar_file(tmp_path, body)) == {"top/a": b"newer", "top/b": b"b"}


def link(kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo("top/link")
    info.type, info.linkname = kind, target
    return info


def test_a_hard_link_is_the_member_it_points_to(tmp_path: Path) -> None:
    body = make_tar([("top/a", b"content"), (link(tarfile.LNKTYPE, "./top/a"), b"")])
    assert read_all(tar_file(tmp_path, body)) == {"top/a": b"content", "top/link": b"content"}


REFUSED: dict[str, tuple[tarfile.TarInfo | str, str]] = {
    "parent": ("../up", r"unsafe name '\.\./up'"),
    "inner parent": ("top/../../up", "unsafe name"),
    "absolute": ("/etc/passwd", "unsafe name '/etc/passwd'"),
    "backslash": ("top\\up", "unsafe name"),
    "control character": ("top/a\nb", "unsafe name"),
    "symbolic link": (link(tarfile.SYMTYPE, "/etc/passwd"), "top/link of .* is a symbolic link"),
    "dangling hard link": (link(tarfile.LNKTYPE, "top/none"), "a link to top/none, which is not"),
    "escaping hard link": (link(tarfile.LNKTYPE, "../../x"), "unsafe name"),
    "device": (link(tarfile.BLKTYPE, ""), "top/link of .* is a block device"),
    "pipe": (link(tarfile.FIFOTYPE, ""), "top/link of .* is a pipe"),
    "unknown": (link(b"Q", ""), "of type 'Q'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_what_is_no_plain_file(case: str, tmp_path: Path) -> None:
    member, text = REFUSED[case]
    with pytest.raises(ArchiveError, match=text):
        open_archive(tar_file(tmp_path, make_tar([("top/a", b"a"), (member, b"")])))


def test_refuses_sparse_files(tmp_path: Path) -> None:
    old = tar_header(b"top/a", b"0", b"S") + END
    info = tarfile.TarInfo("top/a")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.name": "top/a"}
    new = make_tar([(info, b"1\n0\n1\n")], form=tarfile.PAX_FORMAT)
    for body in (old, new):
        with pytest.raises(ArchiveError, match=r"top/a of .* is a sparse file"):
            open_archive(tar_file(tmp_path, body))


def test_a_member_that_is_cut_off_is_named_with_both_sizes(tmp_path: Path) -> None:
    body = make_tar({"top/a": bytes(600), "top/b": b"b" * 5000})
    path = tar_file(tmp_path, body[: 512 + 1024 + 512 + 1234])
    with pytest.raises(
        ArchiveError,
        match=r"a\.tar is damaged.*inside member top/b; expected 5000 bytes; got 1234 bytes",
    ):
        open_archive(path)


def test_a_tar_without_its_end_is_truncated(tmp_path: Path) -> None:
    body = make_tar({"top/a": bytes(512), "top/b": bytes(512)})
    for keep in (1024, 2048, 1300):
        with pytest.raises(ArchiveError, match=r"a\.tar is damaged: it ends after member top/a|b"):
            open_archive(tar_file(tmp_path, body[:keep]))


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    body = bytearray(make_tar({"top/a": b"a", "top/b": b"b", "top/c": b"c"}))
    body[1024 + 20] ^= 1
    with pytest.raises(
        ArchiveError, match="no tar header at byte 1024, after member top/a: its ch"
    ):
        open_archive(tar_file(tmp_path, bytes(body)))


def test_a_second_archive_behind_the_end_is_not_dropped(tmp_path: Path) -> None:
    body = make_tar({"top/a": b"a"})
    with pytest.raises(ArchiveError, match=r"goes on behind its end.*several in one file.*--from"):
        open_archive(tar_file(tmp_path, body + body))


@pytest.mark.parametrize("size", [b"-1", b"0x10", b"1_0", b"\xff" * 12, b"9" * 11])
def test_strange_sizes_are_refused(size: bytes, tmp_path: Path) -> None:
    body = make_tar({"top/a": b"a"})[:1024] + tar_header(b"top/b", size) + END
    with pytest.raises(ArchiveError, match=r"a\.tar is damaged"):
        open_archive(tar_file(tmp_path, body))


@pytest.mark.parametrize(
    "record",
    [b"9999 path=x\n", b"x path=x\n", b"8 path=x", b"8 pathxx\n", b"13 path=\xff\xff\xff\n"],
)
def test_damaged_pax_records_are_refused(record: bytes, tmp_path: Path) -> None:
    extension = tar_header(b"pax", b"%o" % len(record), b"x") + record.ljust(512, b"\0")
    path = tar_file(tmp_path, extension + tar_header(b"top/a", b"0") + END)
    with pytest.raises(ArchiveError, match="header at byte 0"):
        open_archive(path)


def test_a_long_name_is_not_read_without_limit(tmp_path: Path) -> None:
    path = tar_file(tmp_path, tar_header(b"././@LongLink", b"77777777777", b"L") + END)
    with pytest.raises(ArchiveError, match="is too long"):
        open_archive(path)


def test_zeros_are_refused_rather_than_taken_for_an_empty_tar(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"expected a zip, tar or tar\.gz file"):
        open_archive(tar_file(tmp_path, make_tar({})))


class CountingBytes(FileBytes):
    """Counts the reads of a file."""

    reads = 0

    def pread(self, count: int, offset: int) -> bytes:
        self.reads += 1
        return super().pread(count, offset)


@pytest.fixture
def indexed(tmp_path: Path) -> Path:
    path = tar_file(
        tmp_path, make_tar({f"top/{number:03}": b"x" * number for number in range(100)})
    )
    open_archive(path).close()
    assert path.with_name(path.name + INDEX_SUFFIX).is_file()
    return path


def reads_to_open(path: Path) -> int:
    source = CountingBytes(path)
    with TarArchive(source, name="a.tar") as archive:
        assert len(archive.members()) == 100
        assert archive.read("top/099") == b"x" * 99
    return source.reads


def test_the_index_is_read_instead_of_the_archive(indexed: Path) -> None:
    assert reads_to_open(indexed) < 10


def test_an_index_that_is_damaged_or_of_another_file_is_made_anew(indexed: Path) -> None:
    index = indexed.with_name(indexed.name + INDEX_SUFFIX)
    good = index.read_bytes()
    for bad in (b"", good[:-1], good[:200] + b"\xff" + good[201:], b"old" + good):
        index.write_bytes(bad)
        assert reads_to_open(indexed) > 100
        assert index.read_bytes() == good

    indexed.write_bytes(make_tar({"top/other": b"other"}))
    assert read_all(indexed) == {"top/other": b"other"}


def test_works_where_nothing_can_be_written(indexed: Path) -> None:
    index = indexed.with_name(indexed.name + INDEX_SUFFIX)
    index.unlink()
    index.mkdir()  # root may write into read-only folders
    with open_archive(indexed) as archive:
        assert pickle.loads(pickle.dumps(archive)).read("top/003") == b"xxx"
    assert list(indexed.parent.iterdir()) != []
    assert not list(indexed.parent.glob("*.tmp"))


def test_members_beyond_eight_gigabytes(tmp_path: Path) -> None:
    """A file of holes, so nothing of that size is written or read."""
    huge = 9 << 30
    size = b"\x80" + huge.to_bytes(11)
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        file.write(tar_header(b"top/huge", size))
        file.seek(huge, 1)
        file.write(make_tar({"top/after": b"after"}))
    with open_archive(path) as archive:
        assert archive.size("top/huge") == huge
        assert archive.read("top/after") == b"after"
        with archive.open("top/huge") as stream:
            stream.seek(huge - 3)
            assert stream.read() == bytes(3)


def test_agrees_with_tarfile(tmp_path: Path) -> None:
    numbers = random.Random(3)
    members = {
        f"top/{n:04}{'x' * numbers.randrange(90)}/{'y' * numbers.randrange(1, 95)}": bytes(n)
        for n in range(300)
    }
    for form in FORMATS.values():
        path = tar_file(tmp_path, make_tar(members, form=form))
        with tarfile.open(path) as archive:
            offsets = {info.name: info.offset_data for info in archive}
        found = {entry.name: entry.offset for entry in read_entries(FileBytes(path))}
        assert found == offsets


NAME = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\:."), min_size=1
)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.dictionaries(NAME.map("top/{}".format), st.binary(max_size=1200), min_size=1, max_size=6))
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_any_name_and_content_survive(form: int, members: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert read_all(tar_file(Path(folder), make_tar(members, form=form))) == members
