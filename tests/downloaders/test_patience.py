from __future__ import annotations

import re

import pytest

from downloaders.fetch import ResumingFetcher
from downloaders.http import HttpTransport
from downloaders.patience import KnownHosts, Patience
from downloaders.transport import Policy, TransientError, UnknownHostError
from schemas.errors import DownloadError
from tests.downloaders.conftest import FAST, Request
from tests.downloaders.fault_server import FaultServer, status

NOWHERE = "http://no-such-host.invalid"
POLICY = Policy(retries=3, name_retries=1, progress_bytes=100)
LOST = UnknownHostError("the name of the host is not found")


def waits(hosts: KnownHosts, error: TransientError, url: str = NOWHERE) -> list[float]:
    patience, found = Patience(POLICY, hosts, url, "a.zip", 0, lambda _line: None), []
    with pytest.raises(DownloadError, match="gave up after"):
        while True:
            found.append(patience.wait_after(error, 0))
    return found


def test_every_wait_is_one_line_with_its_reason(
    server: FaultServer, body: bytes, request_for: Request
) -> None:
    lines: list[str] = []
    request = request_for(server.put("a.zip?signature=secret", body, status(503), status(500)))

    with ResumingFetcher(FAST, warn=lines.append) as fetcher:
        fetcher.fetch(request)

    place = re.escape(f"{server.base}/a.zip")
    assert len(lines) == 2
    assert re.fullmatch(rf"a\.zip waits 0\.01 s for attempt 2 of 4: {place}: HTTP 503.*", lines[0])
    assert re.fullmatch(rf"a\.zip waits 0\.02 s for attempt 3 of 4: {place}: HTTP 500.*", lines[1])


def test_without_a_network_it_gives_up_soon_and_leaves_nothing(request_for: Request) -> None:
    lines: list[str] = []
    request = request_for(f"{NOWHERE}/a.zip", f"{NOWHERE}/b.zip", "http://nor-this.invalid/a.zip")

    with (
        ResumingFetcher(FAST, warn=lines.append) as fetcher,
        pytest.raises(DownloadError, match=r"2 attempts\).*1 attempt\).*2 attempts\)"),
    ):
        fetcher.fetch(request)

    assert ["attempt 2 of 2" in line for line in lines] == [True, True]
    assert not request.folder.exists()


def test_the_transport_knows_that_a_name_is_not_found() -> None:
    with pytest.raises(UnknownHostError), HttpTransport(FAST).open(f"{NOWHERE}/a.zip", 0, None):
        pass


def test_a_name_that_was_not_found_is_asked_for_once_by_each_further_file() -> None:
    hosts = KnownHosts()

    assert waits(hosts, LOST) == [1]
    assert waits(hosts, LOST) == []
    assert waits(hosts, LOST, "http://another.invalid/a.zip") == [1]
    assert waits(hosts, TransientError("HTTP 503")) == [1, 2, 4]


def test_a_host_that_has_answered_is_only_lost_for_a_while() -> None:
    hosts = KnownHosts()
    hosts.answered(f"{NOWHERE}/b.zip")

    assert waits(hosts, LOST) == [1, 2, 4]


def test_progress_earns_new_attempts() -> None:
    patience = Patience(POLICY, KnownHosts(), NOWHERE, "a.zip", 50, lambda _line: None)
    error = TransientError("reset")

    assert [patience.wait_after(error, size) for size in (50, 60, 150, 160)] == [1, 2, 1, 2]
