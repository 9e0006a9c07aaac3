from __future__ import annotations

from pathlib import Path

import pytest

from downloaders.base import DownloadContext, Fetched, FetchRequest
from downloaders.sav import SAV, published_checksum
from tests.fixtures import FIXTURES

LINKS = FIXTURES / "sa-v" / "links_expired_sa-v.txt"


class Recorder:
    """Remembers what it is asked for."""

    def __init__(self) -> None:
        self.requests: list[FetchRequest] = []

    def fetch(self, request: FetchRequest) -> Fetched:
        self.requests.append(request)
        return Fetched(name=request.file.name, url="", bytes=0, sha256="", verified=False)


def test_the_better_checksum_that_lists_the_tar_counts(tmp_path: Path) -> None:
    (tmp_path / "sav_md5sum.chk").write_text(
        f"{'a' * 32}  ./sav_000.tar\n{'B' * 32} *sav_001.tar\n"
    )
    assert published_checksum(tmp_path, "sav_000.tar") == f"md5:{'a' * 32}"
    (tmp_path / "sav_sha256sum.chk").write_text(f"{'c' * 64}  sav_000.tar\nno line\n")
    assert published_checksum(tmp_path, "sav_000.tar") == f"sha256:{'c' * 64}"
    assert published_checksum(tmp_path, "sav_001.tar") == f"md5:{'b' * 32}"
    assert published_checksum(tmp_path, "sav_002.tar") is None


def test_a_tar_is_fetched_with_the_checksum_that_came_before_it(tmp_path: Path) -> None:
    (tmp_path / "sav_md5sum.chk").write_text(f"{'a' * 32}  sav_val.tar\n")
    (*_, tar) = SAV.plan(["val"]).files
    recorder = Recorder()
    SAV.fetch(FetchRequest(file=tar, folder=tmp_path), recorder)
    assert recorder.requests[0].file.checksum == f"md5:{'a' * 32}"


@pytest.mark.skipif(not LINKS.is_file(), reason="fixtures are not here")
def test_the_published_list_gives_the_tars_and_the_checksums_first() -> None:
    names = [file.name for file in SAV.plan([], DownloadContext(links=LINKS)).files]
    assert set(names[:2]) == {"sav_md5sum.chk", "sav_sha256sum.chk"}
    tars = {f"sav_{number:03d}.tar" for number in range(56)} | {"sav_val.tar", "sav_test.tar"}
    assert set(names[2:]) == tars
    assert len(names) == 60
