from __future__ import annotations

import hashlib
import io
import random
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from downloaders.base import FetchRequest, RemoteFile, Unpacked
from downloaders.fetch import ResumingFetcher
from downloaders.transport import Policy
from tests.downloaders.fault_server import FaultServer, running

FAST = Policy(
    retries=3, first_wait=0.01, longest_wait=0.05, connect_timeout=5.0, read_timeout=0.5,
    progress_bytes=1 << 16,
)  # fmt: skip

Request = Callable[..., FetchRequest]


def make_zip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, body in members.items():
            archive.writestr(zipfile.ZipInfo(name), body)
    return stream.getvalue()


def sha256(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("ALL_PROXY", raising=False)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with running() as state:
        yield state


@pytest.fixture(scope="session")
def body() -> bytes:
    """A zip of 400 kB that does not compress, so that faults can hit its middle."""
    return make_zip({"val2017/1.jpg": random.Random(7).randbytes(400_000)})


@pytest.fixture
def fetcher() -> Iterator[ResumingFetcher]:
    with ResumingFetcher(FAST) as made:
        yield made


@pytest.fixture
def request_for(tmp_path: Path, body: bytes) -> Request:
    """Return a function that makes the request for a.zip from given URLs, checked by default."""

    def make(*urls: str, any_content: bool = False, **changes: object) -> FetchRequest:
        file = RemoteFile(
            name="a.zip",
            path="zips/a.zip",
            urls=urls,
            kind="zip",
            splits=("val2017",),
            bytes=len(body),
            checksum=sha256(body),
            unpacked=Unpacked(top="val2017"),
        )
        file = replace(file, **changes)  # type: ignore[arg-type]
        return FetchRequest(file=file, folder=tmp_path / "raw", any_content=any_content)

    return make
