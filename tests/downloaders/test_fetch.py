from __future__ import annotations

import hashlib
import random
import threading

import pytest

from downloaders.fetch import ResumingFetcher
from downloaders.transport import Policy
from schemas.errors import DownloadError, UsageError
from tests.downloaders.conftest import FAST, Request, make_zip, sha256
from tests.downloaders.fault_server import (
    RECOVERED,
    Fault,
    FaultServer,
    cut,
    endless,
    flip,
    longer_length,
    page,
    status,
    tail_anyway,
    untagged,
    whole_cut,
)


@pytest.mark.parametrize("fault", RECOVERED)
def test_recovers_from(
    fault: str,
    server: FaultServer,
    body: bytes,
    fetcher: ResumingFetcher,
    request_for: Request,
) -> None:
    faults = RECOVERED[fault]
    request = request_for(server.put("a.zip", body, *faults))

    fetched = fetcher.fetch(request)

    assert (request.folder / "a.zip").read_bytes() == body
    assert sorted(path.name for path in request.folder.iterdir()) == ["a.zip"]
    assert (fetched.bytes, f"sha256:{fetched.sha256}") == (len(body), sha256(body))
    assert fetched.verified
    assert not server.faults["/a.zip"]


HOPELESS: dict[str, tuple[Fault, str]] = {
    "403": (status(403), "HTTP 403: the server refuses"),
    "404": (status(404), "HTTP 404"),
    "503 for ever": (status(503), "HTTP 503: Service Unavailable (gave up after 4 attempts)"),
    "HTML": (page("Quota exceeded"), "an HTML page titled 'Quota exceeded'"),
    "redirect loop": (status(302, {"Location": "/a.zip"}), "redirected more than 10 times"),
    "redirect to ftp": (status(302, {"Location": "ftp://127.0.0.1/a.zip"}), "ftp"),
    "bit flip": (flip(200_000), "expected sha256:"),
    "wrong Content-Length": (longer_length(100), "bytes"),
    "no ranges and always cut": (whole_cut(150_000), "gave up after 4 attempts"),
}


@pytest.mark.parametrize("fault", HOPELESS)
def test_goes_to_the_next_mirror_after(
    fault: str,
    server: FaultServer,
    body: bytes,
    fetcher: ResumingFetcher,
    request_for: Request,
) -> None:
    bad = server.put("a.zip", body, *[HOPELESS[fault][0]] * 50)
    request = request_for(bad, server.put("good.zip", body))

    fetched = fetcher.fetch(request)

    assert fetched.url == f"{server.base}/good.zip"
    assert (request.folder / "a.zip").read_bytes() == body


@pytest.mark.parametrize("fault", HOPELESS)
def test_says_why_it_gives_up(
    fault: str,
    server: FaultServer,
    body: bytes,
    fetcher: ResumingFetcher,
    request_for: Request,
) -> None:
    cause, text = HOPELESS[fault]
    request = request_for(server.put("a.zip", body, *[cause] * 50))

    with pytest.raises(DownloadError) as raised:
        fetcher.fetch(request)

    assert text in str(raised.value)
    assert "a.zip could not be fetched" in str(raised.value)
    assert not (request.folder / "a.zip").exists()


def test_resumes_the_part_of_an_earlier_run(
    server: FaultServer, body: bytes, fetcher: ResumingFetcher, request_for: Request
) -> None:
    request = request_for(server.put("a.zip", body, cut(150_000), *[status(403)] * 9))
    with pytest.raises(DownloadError):
        fetcher.fetch(request)
    assert (request.folder / "a.zip.part").stat().st_size == 150_000
    server.put("a.zip", body)

    fetched = fetcher.fetch(request)

    assert fetched.resumed
    assert server.ranges()[-1] == "bytes=150000-"
    assert (request.folder / "a.zip").read_bytes() == body


def test_publishes_a_part_that_was_already_whole_without_a_request(
    server: FaultServer, body: bytes, fetcher: ResumingFetcher, request_for: Request
) -> None:
    request = request_for(server.put("a.zip", body))
    request.folder.mkdir()
    (request.folder / "a.zip.part").write_bytes(body)

    assert fetcher.fetch(request).resumed
    assert server.seen == []


@pytest.mark.parametrize("tail", [None, tail_anyway], ids=["honest", "ignores If-Range"])
def test_starts_again_when_the_file_changed_between_ranges(
    tail: Fault | None,
    server: FaultServer,
    body: bytes,
    fetcher: ResumingFetcher,
    request_for: Request,
) -> None:
    changed = make_zip({"val2017/1.jpg": random.Random(8).randbytes(400_000)})
    url = server.put("a.zip", body, cut(150_000), *[status(403)] * 9)
    request = request_for(url, checksum=None, bytes=None)
    with pytest.raises(DownloadError):
        fetcher.fetch(request)
    server.put("a.zip", changed, *([tail] if tail else []))

    fetched = fetcher.fetch(request)

    assert (request.folder / "a.zip").read_bytes() == changed
    assert not fetched.verified
    assert not fetched.resumed


def test_does_not_join_bytes_that_nothing_can_vouch_for(
    server: FaultServer, body: bytes, fetcher: ResumingFetcher, request_for: Request
) -> None:
    url = server.put("a.zip", body, untagged(150_000), untagged())
    request = request_for(url, checksum=None, bytes=None)

    fetcher.fetch(request)

    assert server.ranges() == [None, None]
    assert (request.folder / "a.zip").read_bytes() == body


@pytest.mark.parametrize("known", [True, False], ids=["size known", "size unknown"])
def test_an_error_page_does_not_cost_the_bytes_so_far(
    known: bool,
    server: FaultServer,
    body: bytes,
    fetcher: ResumingFetcher,
    request_for: Request,
) -> None:
    url = server.put("a.zip", body, cut(150_000), page("Log in"))
    request = request_for(url, bytes=len(body) if known else None)

    with pytest.raises(DownloadError, match="Log in"):
        fetcher.fetch(request)

    assert (request.folder / "a.zip.part").read_bytes() == body[:150_000]


def test_a_dead_mirror_does_not_cost_bytes_that_only_the_first_can_vouch_for(
    server: FaultServer, body: bytes, fetcher: ResumingFetcher, request_for: Request
) -> None:
    first = server.put("a.zip", body, cut(150_000), status(404))
    request = request_for(first, f"{server.base}/none.zip", checksum=None, bytes=None)
    with pytest.raises(DownloadError):
        fetcher.fetch(request)

    assert fetcher.fetch(request).resumed
    assert server.ranges()[-1] == "bytes=150000-"


def test_another_mirror_goes_on_with_the_part(
    server: FaultServer, body: bytes, fetcher: ResumingFetcher, request_for: Request
) -> None:
    first = server.put("a.zip", body, cut(150_000), status(404))
    request = request_for(first, server.put("b.zip", body))

    fetched = fetcher.fetch(request)

    assert [(seen.path, seen.range) for seen in server.seen][-1] == ("/b.zip", "bytes=150000-")
    assert fetched.verified


def test_a_damaged_part_is_noticed_and_fetched_anew(
    server: FaultServer, body: bytes, fetcher: ResumingFetcher, request_for: Request
) -> None:
    request = request_for(server.put("a.zip", body))
    request.folder.mkdir()
    (request.folder / "a.zip.part").write_bytes(body[:1000] + bytes(1000))

    fetched = fetcher.fetch(request)

    assert server.ranges() == ["bytes=2000-", None]
    assert (request.folder / "a.zip").read_bytes() == body
    assert not fetched.resumed


def test_a_short_file_without_any_length_is_noticed(
    server: FaultServer, body: bytes, fetcher: ResumingFetcher, request_for: Request
) -> None:
    request = request_for(server.put("a.zip", body, endless(150_000)), checksum=None, bytes=None)

    with pytest.raises(DownloadError, match="has no end: it is truncated"):
        fetcher.fetch(request)


def test_other_content_is_accepted_only_when_asked_for(
    server: FaultServer, body: bytes, fetcher: ResumingFetcher, request_for: Request
) -> None:
    other = make_zip({"val2017/1.jpg": b"subset"})
    url = server.put("a.zip", other, cut(20))
    with pytest.raises(DownloadError, match=r"is not the published a\.zip"):
        fetcher.fetch(request_for(url))

    fetched = fetcher.fetch(request_for(url, any_content=True))

    assert not fetched.verified
    assert f"sha256:{fetched.sha256}" == sha256(other)


def test_any_content_is_still_no_excuse_for_a_page(
    server: FaultServer, body: bytes, fetcher: ResumingFetcher, request_for: Request
) -> None:
    request = request_for(server.put("a.zip", body, page("Sorry")), any_content=True)

    with pytest.raises(DownloadError, match="an HTML page titled 'Sorry'"):
        fetcher.fetch(request)


def test_checks_a_published_md5(
    server: FaultServer, body: bytes, fetcher: ResumingFetcher, request_for: Request
) -> None:
    url = server.put("a.zip", body, cut(150_000))
    wrong = request_for(url, checksum=f"md5:{'0' * 32}")
    with pytest.raises(DownloadError, match="expected md5:0000"):
        fetcher.fetch(wrong)

    right = f"md5:{hashlib.md5(body, usedforsecurity=False).hexdigest()}"
    assert fetcher.fetch(request_for(url, checksum=right)).verified


def test_progress_is_the_position_in_the_file(
    server: FaultServer, body: bytes, fetcher: ResumingFetcher, request_for: Request
) -> None:
    positions: list[int] = []
    request = request_for(server.put("a.zip", body))
    request.folder.mkdir()
    (request.folder / "a.zip.part").write_bytes(body[:1000])
    object.__setattr__(request, "progress", positions.append)

    fetcher.fetch(request)

    assert positions[0] == 1000
    assert positions == sorted(positions)
    assert positions[-1] == len(body)


def test_progress_earns_new_retries(server: FaultServer, body: bytes, request_for: Request) -> None:
    request = request_for(server.put("a.zip", body, *[cut(70_000)] * 5))

    with ResumingFetcher(FAST) as fetcher:
        fetcher.fetch(request)

    assert len(server.seen) > FAST.retries + 1


def test_waits_double_up_to_a_bound() -> None:
    policy = Policy(first_wait=1.0, longest_wait=5.0)

    assert [policy.wait(attempt, None) for attempt in range(1, 6)] == [1, 2, 4, 5, 5]
    assert policy.wait(1, 3.0) == 3
    assert policy.wait(1, 9999.0) == 5


def test_secrets_of_a_url_are_not_recorded(
    server: FaultServer, body: bytes, fetcher: ResumingFetcher, request_for: Request
) -> None:
    url = server.put("a.zip?signature=secret", body)

    fetched = fetcher.fetch(request_for(url.replace("http://", "http://user:word@")))

    assert fetched.url == f"{server.base}/a.zip"


def test_unknown_scheme_is_a_usage_error(fetcher: ResumingFetcher, request_for: Request) -> None:
    with pytest.raises(UsageError, match=r"http:// or https://.*'gopher'"):
        fetcher.fetch(request_for("gopher://example.org/a.zip"))


def test_stop_interrupts_a_wait(server: FaultServer, body: bytes, request_for: Request) -> None:
    patient = Policy(first_wait=600.0, longest_wait=600.0)
    request = request_for(server.put("a.zip", body, status(503)))
    with ResumingFetcher(patient) as fetcher:
        threading.Timer(0.2, fetcher.stop).start()

        with pytest.raises(KeyboardInterrupt):
            fetcher.fetch(request)
