from __future__ import annotations

import json

import pytest

from downloaders.fetch import ResumingFetcher
from downloaders.hub import HubFile, HubPlace, list_hub_files
from schemas.errors import DownloadError, UsageError
from tests.downloaders.conftest import Request
from tests.downloaders.fault_server import Fault, FaultServer, Handler, cut, status

PLACE = "hf://datasets/Owner/Name@v1/sub/a.zip"
PATH = "datasets/Owner/Name/resolve/v1/sub/a.zip"


@pytest.fixture(autouse=True)
def _hub(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.base)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def coded(code: int, name: str) -> Fault:
    return status(code, {"X-Error-Code": name, "X-Error-Message": "no"})


def test_resumes_through_the_redirect_and_sends_the_token(
    server: FaultServer, body: bytes, fetcher: ResumingFetcher, request_for: Request
) -> None:
    server.put("blob", body, cut(150_000))
    hop = status(302, {"Location": "/blob"})
    server.put(PATH, b"", hop, hop)

    fetched = fetcher.fetch(request_for(PLACE))

    assert fetched.verified
    assert fetched.url == PLACE
    assert server.ranges() == [None, None, "bytes=150000-", "bytes=150000-"]
    assert server.seen[0].authorization == "Bearer hf_secret"


def test_the_token_does_not_leave_the_hub(
    server: FaultServer, body: bytes, fetcher: ResumingFetcher, request_for: Request
) -> None:
    server.put("blob", body)
    elsewhere = server.base.replace("127.0.0.1", "localhost")
    server.put(PATH, b"", status(302, {"Location": f"{elsewhere}/blob"}))

    fetcher.fetch(request_for(PLACE))

    assert [seen.authorization for seen in server.seen] == ["Bearer hf_secret", None]


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (coded(403, "GatedRepo"), "accept the terms at https://huggingface.co/datasets/Owner/Name"),
        (coded(401, "GatedRepo"), "accept the terms at https://huggingface.co/datasets/Owner/Name"),
        (status(401), "the token is not valid"),
        (coded(404, "EntryNotFound"), "Owner/Name has no file sub/a.zip"),
        (coded(404, "RevisionNotFound"), "Owner/Name has no revision v1"),
        (coded(404, "RepoNotFound"), "the hub has no data set Owner/Name"),
    ],
)
def test_says_what_to_do_when_the_hub_refuses(
    fault: Fault,
    text: str,
    server: FaultServer,
    fetcher: ResumingFetcher,
    request_for: Request,
) -> None:
    server.put(PATH, b"", fault)
    with pytest.raises(DownloadError, match=text) as raised:
        fetcher.fetch(request_for(PLACE))
    assert "hf_secret" not in str(raised.value)
    assert len(server.seen) == 1


def test_without_a_token_a_gate_asks_for_one(
    server: FaultServer,
    fetcher: ResumingFetcher,
    request_for: Request,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("downloaders.hub.get_token", lambda: None)
    server.put(PATH, b"", coded(401, "GatedRepo"))
    with pytest.raises(DownloadError, match="then set HF_TOKEN or run `hf auth login`"):
        fetcher.fetch(request_for(PLACE))
    assert server.seen[0].authorization is None


def test_offline_is_respected(
    server: FaultServer,
    fetcher: ResumingFetcher,
    request_for: Request,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set"):
        fetcher.fetch(request_for(PLACE))
    assert server.seen == []


def test_reads_places() -> None:
    assert HubPlace.parse(PLACE) == HubPlace(repo="Owner/Name", revision="v1", path="sub/a.zip")
    assert HubPlace.parse("hf://datasets/Owner/Name/a") == HubPlace(
        repo="Owner/Name", revision="main", path="a"
    )
    for wrong in ("hf://models/Owner/Name/a", "hf://datasets/Name", "hf://datasets//Name/a"):
        with pytest.raises(UsageError, match="expected hf://datasets/OWNER/NAME@REVISION/path"):
            HubPlace.parse(wrong)


def test_lists_a_repository(server: FaultServer) -> None:
    lfs = {"oid": "ab" * 32, "size": 9, "pointerSize": 1}
    entries = [
        {"type": "file", "path": "b.tar.gz.aa", "size": 9, "oid": "0", "lfs": lfs},
        {"type": "directory", "path": "sub", "oid": "0"},
        {"type": "file", "path": "README.md", "size": 3, "oid": "0"},
    ]

    def answer(handler: Handler, _body: bytes) -> None:
        text = json.dumps(entries).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)

    place = "hf://datasets/Owner/Name@v1"
    path = "api/datasets/Owner/Name/tree/v1?recursive=true&expand=false"
    server.put(path, b"", answer, coded(403, "GatedRepo"))

    assert list_hub_files(place) == [
        HubFile(path="README.md", bytes=3, checksum=None),
        HubFile(path="b.tar.gz.aa", bytes=9, checksum="sha256:" + "ab" * 32),
    ]
    with pytest.raises(DownloadError, match="cannot be listed: access must be granted"):
        list_hub_files(place)


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("time.sleep", lambda _seconds: None)  # the hub's library retries for long
    with pytest.raises(DownloadError, match=r"Name@v1 cannot be listed: .*refused"):
        list_hub_files("hf://datasets/Owner/Name@v1")
