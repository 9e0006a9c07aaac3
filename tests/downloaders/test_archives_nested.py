from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import pytest

from downloaders.archives import ArchiveReader, open_archive
from downloaders.multipart import part_of
from downloaders.sources import DatasetSource, join_parts
from schemas.errors import ArchiveError
from tests.contracts.downloader_contract import ArchiveReaderContract
from tests.downloaders.archive_files import make_gzip, make_tar, make_zip, write_parts


def deflated(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return stream.getvalue()


def below_top(members: dict[str, bytes]) -> dict[str, bytes]:
    return {name.removeprefix("top/"): body for name, body in members.items()}


class TestPartsOfTarGz(ArchiveReaderContract):
    suffixes = ("aa", "ab", "ac", "ad", "ae")

    def make(self, folder: Path, members: dict[str, bytes]) -> ArchiveReader:
        body = make_gzip(make_tar(members))
        return open_archive(write_parts(folder / "a.tar.gz", body, self.suffixes)[0])


class TestPartsOfZip(ArchiveReaderContract):
    def make(self, folder: Path, members: dict[str, bytes]) -> ArchiveReader:
        parts = write_parts(folder / "a.zip", make_zip(members), ["001", "002", "003"])
        return open_archive(parts[1])


class TestTarGzInStoredZip(ArchiveReaderContract):
    def make(self, folder: Path, members: dict[str, bytes]) -> ArchiveReader:
        inner = make_gzip(make_tar(below_top(members)))
        (folder / "a.zip").write_bytes(make_zip({"top.tar.gz": inner}))
        return open_archive(folder / "a.zip")


class TestZipInTarGz(ArchiveReaderContract):
    def make(self, folder: Path, members: dict[str, bytes]) -> ArchiveReader:
        inner = deflated(below_top(members))
        (folder / "a.tgz").write_bytes(make_gzip(make_tar({"./top.zip": inner})))
        return open_archive(folder / "a.tgz")


class TestZipInDeflatedZip(ArchiveReaderContract):
    def make(self, folder: Path, members: dict[str, bytes]) -> ArchiveReader:
        (folder / "a.zip").write_bytes(deflated({"top.ZIP": make_zip(below_top(members))}))
        return open_archive(folder / "a.zip")


def test_members_of_both_levels_are_members(tmp_path: Path) -> None:
    deep = make_zip({"x.txt": b"x"})
    path = tmp_path / "MOSE.zip"
    path.write_bytes(
        make_zip(
            {
                "MOSE/README": b"read me",
                "MOSE/train.tar.gz": make_gzip(make_tar({"train/a.jpg": b"a", "deep.zip": deep})),
                "MOSE/valid.zip": make_zip({"valid/b.jpg": b"b"}),
                "MOSE/not-an-archive.zip": b"plain bytes",
                "MOSE/._valid.zip": b"what a Mac leaves",
            }
        )
    )
    with open_archive(path) as archive:
        assert list(archive.members()) == [
            "MOSE/._valid.zip",
            "MOSE/README",
            "MOSE/not-an-archive.zip",
            "MOSE/train/deep.zip",
            "MOSE/train/train/a.jpg",
            "MOSE/valid/valid/b.jpg",
        ]
        assert archive.read("MOSE/train/deep.zip") == deep
        assert archive.read("MOSE/valid/valid/b.jpg") == b"b"


def test_a_compressed_inner_archive_is_copied_once(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(deflated({"b.zip": make_zip({"x": b"x" * 1000})}))
    copies = []
    for _ in range(2):
        with open_archive(path) as archive:
            assert archive.read("b/x") == b"x" * 1000
        copies.append([(copy, copy.stat().st_ino) for copy in tmp_path.glob("*.inner")])
    assert copies[0] == copies[1]
    assert len(copies[0]) == 1
    assert len(list(tmp_path.iterdir())) == 2

    path.write_bytes(deflated({"b.zip": make_zip({"y": b"other"})}))
    with open_archive(path) as archive:
        assert archive.read("b/y") == b"other"


def test_two_members_that_would_get_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(make_zip({"b/x": b"1", "b.zip": make_zip({"x": b"2"})}))
    with pytest.raises(ArchiveError, match=r"a\.zip has two members named 'b/x'"):
        open_archive(path)


def test_a_damaged_inner_archive_is_named_with_its_outer_one(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(make_zip({"b.tar": make_tar({"x": bytes(2000)})[:1500]}))
    with pytest.raises(ArchiveError, match=r"a\.zip:b\.tar is damaged.*inside member x"):
        open_archive(path)


def test_what_is_no_archive_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(deflated({"b.zip": b"no archive" * 99}))
    with open_archive(path) as archive:
        assert archive.read("b.zip") == b"no archive" * 99
    assert list(tmp_path.iterdir()) == [path]


def test_hundreds_of_inner_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(make_zip({f"{number}.zip": b"" for number in range(300)}))
    with pytest.raises(ArchiveError, match=r"holds 300 archives; expected 256 at most.*--from"):
        open_archive(path)


def test_parts_that_are_not_there_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "a.zip.aa", tmp_path / "gone" / "a.zip.001"):
        with pytest.raises(ArchiveError, match=f"cannot open {path}: No such file"):
            open_archive(path)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_part_is_named(missing: int, tmp_path: Path) -> None:
    parts = write_parts(tmp_path / "a.tar.gz", bytes(range(80)), ["aa", "ab", "ac", "ad"])
    parts[missing].unlink()
    follows = parts[missing + 1].name
    with pytest.raises(
        ArchiveError, match=rf"part is missing.*part number {missing + 1}.*{follows}"
    ):
        open_archive(parts[3])


def test_a_missing_last_part_is_a_truncation(tmp_path: Path) -> None:
    body = make_gzip(make_tar({"x": bytes(range(256)) * 100}))
    parts = write_parts(tmp_path / "a.tar.gz", body, ["aa", "ab", "ac"])
    parts[-1].unlink()
    with pytest.raises(ArchiveError, match=r"a\.tar\.gz in 2 parts is damaged: it is truncated"):
        open_archive(parts[0])


def test_a_short_part_is_named(tmp_path: Path) -> None:
    body = make_gzip(make_tar({"x": bytes(range(256)) * 100}))
    parts = write_parts(tmp_path / "a.tar.gz", body, ["aa", "ab", "ac"])
    parts[1].write_bytes(parts[1].read_bytes()[:-5])
    with pytest.raises(ArchiveError, match=r"a\.tar\.gz\.ab has another size.* is damaged"):
        open_archive(parts[0])


def test_parts_that_were_swapped_are_refused(tmp_path: Path) -> None:
    body = make_gzip(make_tar({"x": bytes(range(256)) * 100}))
    write_parts(tmp_path / "a.tar.gz", body, ["ab", "aa", "ac"])
    with pytest.raises(ArchiveError, match=r"a\.tar\.gz in 3 parts is damaged: its first"):
        open_archive(tmp_path / "a.tar.gz.aa")


@pytest.mark.parametrize(
    ("name", "whole", "number"),
    [
        ("train.tar.gz.aa", "train.tar.gz", 0),
        ("train.tar.gz.ba", "train.tar.gz", 26),
        ("a.zip.001", "a.zip", 1),
        ("a.zip.part2", "a.zip", 2),
        ("a.tar.part-03", "a.tar", 3),
    ],
)
def test_names_of_parts(name: str, whole: str, number: int) -> None:
    assert part_of(name) == (whole, number, name)


@pytest.mark.parametrize(
    "name", ["a.tar.gz", "a.tar.xz", "a.tar.gz.part", "a.tar.gz.index", "b.aa"]
)
def test_names_that_are_not_of_parts(name: str) -> None:
    assert part_of(name) is None


def test_a_web_page_saved_as_an_archive_is_named(tmp_path: Path) -> None:
    for name in ("a.zip", "a.tar.gz", "a.tar", "meta.json"):
        path = tmp_path / name
        path.write_bytes(b"<!DOCTYPE html><title>Google Drive - Quota exceeded</title>")
        with pytest.raises(
            ArchiveError, match=f"{name} is damaged.*page titled 'Google Drive - Quota"
        ):
            open_archive(path)


def test_bytes_that_are_no_archive_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"not a tar" * 100)
    with pytest.raises(ArchiveError, match=r"expected a zip, tar or tar\.gz file; got bytes that"):
        open_archive(path)


@pytest.mark.parametrize(("name", "member"), [("m.json", "m.json"), ("m.json.gz", "m.json")])
def test_a_file_that_is_no_archive_is_its_own_member(
    name: str, member: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(make_gzip(b'{"a": 1}') if name.endswith(".gz") else b'{"a": 1}')
    with open_archive(path) as opened, pickle.loads(pickle.dumps(opened)) as archive:
        assert archive.name == name
        assert archive.members() == (member,)
        assert (archive.read(member), archive.size(member)) == (b'{"a": 1}', 8)
        with archive.open(member) as stream:
            assert stream.read() == b'{"a": 1}'
        with pytest.raises(ArchiveError, match="has no member 'other'"):
            archive.read("other")


def source(path: Path, digest: str) -> DatasetSource:
    return DatasetSource(name=path.name, path=path, top=None, digest=digest)


def test_sources_that_are_parts_become_one(tmp_path: Path) -> None:
    body = make_gzip(make_tar({"train/a.jpg": b"a" * 999}))
    parts = write_parts(tmp_path / "train.tar.gz", body, ["aa", "ab", "ac"])
    other = source(tmp_path / "valid.tar.gz", "sha256:1")
    joined, same = join_parts([*(source(path, "sha256:0") for path in parts[::-1]), other])

    assert same is other
    assert (joined.name, joined.path) == ("train.tar.gz", parts[0])
    assert joined.digest.startswith("parts:")
    with joined.open() as archive:
        assert archive.name == "train.tar.gz"
        assert archive.read("train/a.jpg") == b"a" * 999

    unsure = join_parts([source(parts[0], "sha256:0"), source(parts[1], "unverified")])
    assert [one.digest for one in unsure] == ["unverified"]
