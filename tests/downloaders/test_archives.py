from __future__ import annotations

import io
import stat
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from downloaders.archives import ArchiveReader, FolderArchive, ZipArchive, open_archive
from downloaders.member_names import check_member_name
from schemas.errors import ArchiveError
from tests.contracts.downloader_contract import ArchiveReaderContract
from tests.downloaders.conftest import make_zip


class TestStoredZip(ArchiveReaderContract):
    compression = zipfile.ZIP_STORED

    def make(self, folder: Path, members: dict[str, bytes]) -> ArchiveReader:
        path = folder / "a.zip"
        with zipfile.ZipFile(path, "w", self.compression) as archive:
            archive.mkdir("top")
            for name, body in members.items():
                archive.writestr(name, body)
        return ZipArchive(path)


class TestDeflatedZip(TestStoredZip):
    compression = zipfile.ZIP_DEFLATED


class TestStreamedZip(ArchiveReaderContract):
    """Written to a pipe: local headers without sizes, data descriptors after the members."""

    def make(self, folder: Path, members: dict[str, bytes]) -> ArchiveReader:
        class Pipe(io.BytesIO):
            def seekable(self) -> bool:
                return False

        stream = Pipe()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, body in members.items():
                archive.writestr(name, body)
        (folder / "a.zip").write_bytes(stream.getvalue())
        return ZipArchive(folder / "a.zip")


class TestFolder(ArchiveReaderContract):
    def make(self, folder: Path, members: dict[str, bytes]) -> ArchiveReader:
        root = folder / "any-name"
        for name, body in members.items():
            path = root / name.removeprefix("top/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        return FolderArchive(root, top="top", name="a.zip")

    def test_a_link_inside_is_followed_and_one_that_leaves_is_refused(self, tmp_path: Path) -> None:
        reader = self.make(tmp_path, self.MEMBERS)
        root = tmp_path / "any-name"
        (root / "c.jpg").symlink_to("b.jpg")
        assert reader.read("top/c.jpg") == self.MEMBERS["top/b.jpg"]
        assert "top/c.jpg" in reader.members()

        (tmp_path / "outside").write_bytes(b"secret")
        (root / "d.jpg").symlink_to(tmp_path / "outside")
        with pytest.raises(ArchiveError, match=r"d\.jpg is a link that leaves the folder"):
            reader.read("top/d.jpg")
        with pytest.raises(ArchiveError, match=r"d\.jpg is a link that leaves the folder"):
            FolderArchive(root, top="top").members()

    def test_a_linked_folder_is_refused_rather_than_skipped(self, tmp_path: Path) -> None:
        self.make(tmp_path, self.MEMBERS)
        (tmp_path / "any-name" / "loop").symlink_to(".")
        with pytest.raises(ArchiveError, match="a link to a folder"):
            FolderArchive(tmp_path / "any-name", top="top").members()

    def test_a_folder_that_is_gone_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ArchiveError, match=r"gone.*samdistill download"):
            FolderArchive(tmp_path / "gone", top="top", name="a.zip")


def write(path: Path, *infos: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore", UserWarning)  # zipfile warns of the duplicate we want
        for info, body in infos:
            archive.writestr(info, body)
    return path


def symlink() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("top/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def lzma() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("top/a")
    info.compress_type = zipfile.ZIP_LZMA
    return info


HOSTILE: dict[str, tuple[tuple[zipfile.ZipInfo | str, bytes], str]] = {
    "parent": (("../up.jpg", b"x"), r"unsafe name '\.\./up\.jpg'"),
    "inner parent": (("top/../../up.jpg", b"x"), "unsafe name"),
    "absolute": (("/etc/passwd", b"x"), "unsafe name '/etc/passwd'"),
    "drive": (("C:/boot.ini", b"x"), "unsafe name"),
    "backslash": (("top\\up.jpg", b"x"), "unsafe name"),
    "empty part": (("top//a.jpg", b"x"), "unsafe name"),
    "parent folder": (("../up/", b""), "unsafe name"),
    "link": ((symlink(), b"/etc/passwd"), "top/link of .* is a symbolic link"),
    "method": ((lzma(), b"x"), "compression method 14"),
    "bomb": (("top/zeros", bytes(65 << 20)), r"would grow from \d+ to 68157440 bytes"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_refuses_a_hostile_member(case: str, tmp_path: Path) -> None:
    member, text = HOSTILE[case]
    with pytest.raises(ArchiveError, match=text):
        ZipArchive(write(tmp_path / "a.zip", member))


def test_refuses_two_members_of_one_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", ("top/a", b"1"), ("top/a", b"2"))
    with pytest.raises(ArchiveError, match="two members named 'top/a'"):
        ZipArchive(path)


def test_refuses_encrypted_members(tmp_path: Path) -> None:
    body = bytearray(make_zip({"top/a": b"secret"}))
    entry = body.index(b"PK\x01\x02")
    struct.pack_into("<H", body, entry + 8, 1)
    (tmp_path / "a.zip").write_bytes(body)

    with pytest.raises(ArchiveError, match=r"member top/a of .* is encrypted"):
        ZipArchive(tmp_path / "a.zip")


def test_refuses_a_name_with_a_nul_byte(tmp_path: Path) -> None:
    body = make_zip({"top/a.jpgX../b": b"x"}).replace(b"a.jpgX", b"a.jpg\0")
    (tmp_path / "a.zip").write_bytes(body)

    with pytest.raises(ArchiveError, match="unsafe name"):
        ZipArchive(tmp_path / "a.zip")


def test_refuses_overlapping_members(tmp_path: Path) -> None:
    body = make_zip({"top/a": bytes(1000)})
    central = body.index(b"PK\x01\x02")
    end = body.index(b"PK\x05\x06")
    entry = body[central:end]
    second = entry.replace(b"top/a", b"top/b")
    count = struct.pack("<HH", 2, 2)
    tail = body[end : end + 8] + count + struct.pack("<I", 2 * len(entry)) + body[end + 16 :]
    (tmp_path / "a.zip").write_bytes(body[:central] + entry + second + tail)

    with pytest.raises(ArchiveError, match="overlap"):
        ZipArchive(tmp_path / "a.zip")


@pytest.mark.parametrize("keep", [0, 3, 500, -1, -30])
def test_a_truncated_zip_names_the_file_and_the_remedy(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(make_zip({"top/a": bytes(1000)})[:keep])

    with pytest.raises(ArchiveError, match=r"a\.zip is damaged.*truncated.*Delete it.*download"):
        ZipArchive(path)


def test_a_missing_zip_is_an_archive_error(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"cannot open .*a\.zip: No such file"):
        open_archive(tmp_path / "a.zip")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "anything"])
def test_the_first_bytes_count_and_not_the_suffix(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(make_zip({"top/a": b"a"}))
    with open_archive(tmp_path / name) as archive:
        assert archive.read("top/a") == b"a"


def damage_content(body: bytearray) -> None:
    body[body.index(b"DATA")] ^= 1


def damage_header(body: bytearray) -> None:
    body[0] ^= 1


def damage_size(body: bytearray) -> None:
    entry = body.index(b"PK\x01\x02")
    struct.pack_into("<I", body, entry + 24, 3)


@pytest.mark.parametrize("damage", [damage_content, damage_header, damage_size])
def test_damage_is_noticed_on_reading(damage: Callable[[bytearray], None], tmp_path: Path) -> None:
    body = bytearray(make_zip({"top/a": b"DATA" * 100}))
    damage(body)
    (tmp_path / "a.zip").write_bytes(body)

    with ZipArchive(tmp_path / "a.zip") as archive:
        with pytest.raises(ArchiveError, match=r"a\.zip is damaged.*top/a"):
            archive.read("top/a")
        with (
            archive.open("top/a") as stream,
            pytest.raises(ArchiveError, match=r"a\.zip is damaged.*top/a"),
        ):
            stream.read()


def test_damaged_deflate_data_is_an_archive_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", ("top/a", b"some text " * 100))
    body = bytearray(path.read_bytes())
    body[35:45] = b"\xff" * 10
    path.write_bytes(body)

    with ZipArchive(path) as archive, pytest.raises(ArchiveError, match="top/a"):
        archive.read("top/a")


PART = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\"), min_size=1)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.lists(PART, min_size=1, max_size=4))
def test_a_name_is_either_refused_or_stays_below_the_folder(parts: list[str]) -> None:
    name = "/".join(parts)
    folder = Path("/folder")
    try:
        checked = check_member_name("a.zip", name)
    except ArchiveError:
        assert {".", ".."} & set(parts) or name[1] == ":"
        return
    assert checked == name
    assert (folder / checked).as_posix() == f"/folder/{name}"


@settings(deadline=None, max_examples=150, derandomize=True)
@given(
    st.lists(st.sampled_from(["..", ".", "", "a", "~", "C:"]), min_size=1, max_size=5),
    st.sampled_from(["/", "\\"]),
)
def test_hostile_names_never_point_outside(parts: list[str], separator: str) -> None:
    name = separator.join(parts)
    try:
        check_member_name("a.zip", name)
    except ArchiveError:
        return
    assert name not in ("", ".", "..")
    assert not {"..", ".", "", "C:"} & set(name.split("/")[:1])
    assert ".." not in name.split("/")


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.dictionaries(st.from_regex(r"top/[a-z0-9._-]{0,5}x", fullmatch=True), st.binary()))
def test_any_content_survives(members: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "a.zip", *members.items())
        with ZipArchive(path) as archive:
            assert {name: archive.read(name) for name in archive.members()} == members
