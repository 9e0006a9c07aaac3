from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from downloaders.http import HttpTransport
from downloaders.transport import TransientError, Transport
from schemas.errors import DownloadError
from tests.downloaders.conftest import FAST
from tests.downloaders.fault_server import FaultServer, Handler, etag, status


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = HttpTransport(FAST)
    yield made
    made.close()


def test_reads_from_an_offset(server: FaultServer, transport: Transport) -> None:
    url = server.put("a.zip", b"0123456789")
    with transport.open(url, 4, etag(b"0123456789")) as body:
        assert body is not None
        assert (body.start, body.total) == (4, 10)
        assert b"".join(body.chunks) == b"456789"
    assert server.seen[0].if_range == etag(b"0123456789")


def test_a_changed_file_comes_whole(server: FaultServer, transport: Transport) -> None:
    url = server.put("a.zip", b"0123456789")
    with transport.open(url, 4, '"older"') as body:
        assert body is not None
        assert (body.start, b"".join(body.chunks)) == (0, b"0123456789")


def test_an_offset_past_the_end_gives_nothing(server: FaultServer, transport: Transport) -> None:
    url = server.put("a.zip", b"0123456789")
    with transport.open(url, 10, None) as body:
        assert body is None


def test_follows_a_redirect_with_its_range(server: FaultServer, transport: Transport) -> None:
    server.put("b.zip", b"0123456789")
    url = server.put("a.zip", b"", status(302, {"Location": "/b.zip"}))
    with transport.open(url, 4, None) as body:
        assert body is not None
        assert b"".join(body.chunks) == b"456789"


def test_a_weak_etag_is_no_validator(server: FaultServer, transport: Transport) -> None:
    date = "Mon, 01 Jan 2024 00:00:00 GMT"

    def weak(handler: Handler, body: bytes) -> None:
        status(200, {"ETag": 'W/"1"', "Last-Modified": date})(handler, body)

    with transport.open(server.put("a.zip", b"", weak), 0, None) as body:
        assert body is not None
        assert body.validator == date


def test_a_range_answer_without_content_range_is_refused(
    server: FaultServer, transport: Transport
) -> None:
    url = server.put("a.zip", b"", status(206))
    with pytest.raises(DownloadError, match="Content-Range"), transport.open(url, 4, None):
        pass


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7, 7),
        ("in an hour", 3000, 3600),
        ("Mon, 01 Jan 2024 00:00:00 GMT", 0, 0),
        ("Mon, 01 Jan 2024 00:00:00 -0000", 0, 0),
    ],
)
def test_knows_how_long_to_wait(
    header: str, least: float, most: float, server: FaultServer, transport: Transport
) -> None:
    if header == "in an hour":
        header = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    url = server.put("a.zip", b"", status(503, {"Retry-After": header}))
    with pytest.raises(TransientError, match="HTTP 503") as raised, transport.open(url, 0, None):
        pass
    assert raised.value.retry_after is not None
    assert least <= raised.value.retry_after <= most


def test_a_refused_connection_may_pass(transport: Transport) -> None:
    with pytest.raises(TransientError), transport.open("http://127.0.0.1:1/a.zip", 0, None):
        pass


def test_a_malformed_url_does_not_pass(transport: Transport) -> None:
    with pytest.raises(DownloadError) as raised, transport.open("http://host:port/a.zip", 0, None):
        pass
    assert not isinstance(raised.value, TransientError)
