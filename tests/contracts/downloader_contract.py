"""What every data set's downloader and every archive reader owes its callers."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import ClassVar

import pytest

from downloaders.archives import ArchiveReader
from downloaders.base import Downloader, Fetched, FetchRequest
from schemas.errors import ArchiveError, UnknownNameError


class RecordingFetcher:
    """Takes requests and brings nothing."""

    def __init__(self) -> None:
        self.requests: list[FetchRequest] = []

    def fetch(self, request: FetchRequest) -> Fetched:
        self.requests.append(request)
        return Fetched(
            name=request.file.name,
            url=request.file.urls[0],
            bytes=1,
            sha256="0" * 64,
            verified=False,
        )


class DownloaderContract:
    """Subclasses set ``downloader``."""

    downloader: ClassVar[Downloader]

    def test_says_what_a_person_needs_to_know(self) -> None:
        entry = self.downloader.entry
        for text in (entry.title, entry.about, entry.licence, entry.cite):
            assert text
            assert text == text.strip()
        assert entry.homepage.startswith("https://")

    def test_every_split_has_files_that_name_it(self) -> None:
        for split in self.downloader.entry.splits:
            plan = self.downloader.plan([split.name])
            assert plan.splits == (split.name,)
            assert plan.files
            assert all(split.name in file.splits for file in plan.files)

    def test_no_split_means_the_default_ones(self) -> None:
        default = [split.name for split in self.downloader.entry.splits if split.by_default]
        assert default
        assert self.downloader.plan([]) == self.downloader.plan(default)

    def test_files_are_listed_once_and_splits_may_repeat(self) -> None:
        names = [split.name for split in self.downloader.entry.splits]
        plan = self.downloader.plan(names + names)
        assert len({file.name for file in plan.files}) == len(plan.files)
        assert plan.splits == tuple(names)

    def test_unknown_split_names_the_nearest(self) -> None:
        near = self.downloader.entry.splits[0].name
        with pytest.raises(UnknownNameError, match=f"Did you mean.*{near}") as raised:
            self.downloader.plan([near[:-1] + "x"])
        assert "\n" not in str(raised.value)

    def test_files_can_be_named_checked_and_mirrored(self) -> None:
        names = [split.name for split in self.downloader.entry.splits]
        for file in self.downloader.plan(names).files:
            assert file.name == PurePosixPath(file.name).name == PurePosixPath(file.path).name
            assert not file.path.startswith("/")
            assert file.urls or self.downloader.entry.needs_links
            assert len(set(file.urls)) == len(file.urls)
            assert set(file.splits) <= set(names)
            if file.checksum is not None:
                algorithm, _, digest = file.checksum.partition(":")
                assert len(bytes.fromhex(digest)) == {"sha256": 32, "md5": 16}[algorithm]

    def test_a_mirror_replaces_the_places_and_nothing_else(self) -> None:
        plan = self.downloader.plan([])
        moved = plan.at_mirror("http://mirror.test/base/")
        for before, after in zip(plan.files, moved.files, strict=True):
            assert after.urls[0] == f"http://mirror.test/base/{before.path}"
            assert after.urls[-1] == f"http://mirror.test/base/{before.name}"
            assert (after.name, after.checksum) == (before.name, before.checksum)

    def test_fetch_uses_the_fetcher_that_it_is_given(self, tmp_path: Path) -> None:
        fetcher = RecordingFetcher()
        file = self.downloader.plan([]).files[0]
        fetched = self.downloader.fetch(FetchRequest(file=file, folder=tmp_path), fetcher)
        assert fetched.name == file.name
        assert [request.file.name for request in fetcher.requests] == [file.name]


class ArchiveReaderContract:
    """Subclasses make a reader over given members; all names begin with ``top/``."""

    MEMBERS: ClassVar[dict[str, bytes]] = {
        "top/b.jpg": b"\xff\xd8" + bytes(range(256)) * 20_000,
        "top/a.json": b'{"n": [' + b"1, " * 700_000 + b"1]}",
        "top/sub/é.txt": "höhe".encode(),
        "top/sub/empty.bin": b"",
    }

    def make(self, folder: Path, members: dict[str, bytes]) -> ArchiveReader:
        raise NotImplementedError

    def test_lists_files_sorted_and_no_folders(self, tmp_path: Path) -> None:
        with self.make(tmp_path, self.MEMBERS) as reader:
            assert list(reader.members()) == sorted(self.MEMBERS)

    def test_reads_what_was_stored(self, tmp_path: Path) -> None:
        with self.make(tmp_path, self.MEMBERS) as reader:
            for member, body in self.MEMBERS.items():
                assert reader.read(member) == body
                assert reader.size(member) == len(body)

    def test_streams_what_was_stored(self, tmp_path: Path) -> None:
        with self.make(tmp_path, self.MEMBERS) as reader:
            for member, body in self.MEMBERS.items():
                with reader.open(member) as stream:
                    assert stream.read(10) == body[:10]
                    assert stream.read() == body[10:]
                    assert stream.read() == b""

    def test_names_a_member_that_is_not_there(self, tmp_path: Path) -> None:
        with self.make(tmp_path, self.MEMBERS) as reader:
            for member in ("top/none.jpg", "top", "top/sub", "other/b.jpg"):
                for look in (reader.read, reader.size, reader.open):
                    with pytest.raises(ArchiveError, match="has no member"):
                        look(member)

    def test_never_leaves_the_archive(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(b"secret")
        with self.make(tmp_path, self.MEMBERS) as reader:
            for member in ("top/../../secret", "../secret", "/etc/passwd", "top//b.jpg", ""):
                with pytest.raises(ArchiveError):
                    reader.read(member)

    def test_travels_to_another_process(self, tmp_path: Path) -> None:
        with self.make(tmp_path, self.MEMBERS) as reader:
            pickled = pickle.dumps(reader)
            name, members = reader.name, reader.members()
        with pickle.loads(pickled) as again:
            assert (again.name, again.members()) == (name, members)
            assert again.read("top/b.jpg") == self.MEMBERS["top/b.jpg"]

    def test_threads_may_share_it(self, tmp_path: Path) -> None:
        members = {f"top/{number:03}.bin": bytes([number]) * 50_000 for number in range(64)}
        together = threading.Barrier(4)

        def read_all(reader: ArchiveReader) -> bool:
            together.wait()
            return all(reader.read(member) == body for member, body in members.items())

        with self.make(tmp_path, members) as reader, ThreadPoolExecutor(4) as threads:
            assert all(threads.map(read_all, [reader] * 4))

    def test_closes_twice(self, tmp_path: Path) -> None:
        reader = self.make(tmp_path, self.MEMBERS)
        reader.close()
        reader.close()
