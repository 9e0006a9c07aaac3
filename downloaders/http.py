"""The transport for http:// and https://."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import NoReturn

import httpx

from downloaders.expiry import link_expiry
from downloaders.host_limits import OVERALL
from downloaders.transport import (
    FRESH_LINKS,
    Body,
    LinkExpiredError,
    Policy,
    TransientError,
    public_url,
    range_header,
)
from schemas.errors import DownloadError

_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_LINK_ENDED = {400, 401, 403, 410}
_MAX_REDIRECTS = 10
_MEANING = {
    401: "the server asks for a login",
    403: "the server refuses; a signed link may have expired",
    404: "the server has no such file",
    410: "the file was removed",
}


class HttpTransport:
    """Fetches by GET with Range and If-Range; see ``Transport``."""

    def __init__(self, policy: Policy) -> None:
        self._client = httpx.Client(
            follow_redirects=True,
            max_redirects=_MAX_REDIRECTS,
            timeout=httpx.Timeout(policy.read_timeout, connect=policy.connect_timeout, pool=None),
            # How many are open is bounded by the fetcher; each is kept for the next file.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=OVERALL),
            # The bytes on disk must be the published ones, so nothing may be encoded on the way.
            headers={"User-Agent": "samdistill", "Accept-Encoding": "identity"},
        )

    def close(self) -> None:
        """See ``Transport.close``."""
        self._client.close()

    @contextlib.contextmanager
    def open(
        self, url: str, start: int, validator: str | None, stop: int | None = None
    ) -> Iterator[Body | None]:
        """See ``Transport.open``."""
        headers = resume_headers(start, validator, stop)
        with self.request(url, headers) as response:
            yield read_body(url, response, start, validator)

    @contextlib.contextmanager
    def request(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """Open the answer to GET, whatever its status, after redirects."""
        with http_errors(url), self._client.stream("GET", url, headers=dict(headers)) as response:
            yield response


def resume_headers(start: int, validator: str | None, stop: int | None) -> dict[str, str]:
    """Return the headers that ask for the bytes from ``start`` on, of the same file as before."""
    headers = {"Range": range_header(start, stop)} if start else {}
    if start and validator is not None:
        headers["If-Range"] = validator
    return headers


def read_body(url: str, response: httpx.Response, start: int, validator: str | None) -> Body | None:
    """Return the body of an answer; errors name ``url``.

    Raises
    ------
    TransientError, DownloadError
        See ``Transport.open``.
    """
    if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return None
    if response.status_code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        refuse(url, response)
    first, total = _extent(url, response)
    found = _validator(response)
    if first and (first != start or (validator is not None and found not in (None, validator))):
        # Some servers answer If-Range with the changed file's tail all the same.
        return None
    partial = response.status_code == HTTPStatus.PARTIAL_CONTENT
    return Body(
        start=first,
        total=total,
        validator=found,
        ranges=partial or response.headers.get("Accept-Ranges") == "bytes",
        chunks=_chunks(url, response),
    )


def _extent(url: str, response: httpx.Response) -> tuple[int, int | None]:
    if response.status_code == HTTPStatus.OK:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    stated = response.headers.get("Content-Range", "")
    match = _CONTENT_RANGE.fullmatch(stated)
    if match is None:
        raise DownloadError(
            f"{public_url(url)}: the server's answer to a range request makes no sense",
            expected="Content-Range: bytes FIRST-LAST/SIZE",
            got=repr(stated),
        )
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _validator(response: httpx.Response) -> str | None:
    # A weak ETag only promises equal meaning, not equal bytes; HTTP forbids it in If-Range.
    tag: str | None = response.headers.get("ETag")
    if tag is not None and not tag.startswith("W/"):
        return tag
    modified: str | None = response.headers.get("Last-Modified")
    return modified


def _chunks(url: str, response: httpx.Response) -> Iterator[bytes]:
    with http_errors(url):
        yield from response.iter_raw()


def refuse(url: str, response: httpx.Response, meaning: str | None = None) -> NoReturn:
    """Raise what a status other than success means.

    Raises
    ------
    TransientError, DownloadError
        Depending on whether it may pass.
    """
    code = response.status_code
    meaning = meaning or _MEANING.get(code, response.reason_phrase)
    text = f"{public_url(url)}: HTTP {code}" + (f": {meaning}" if meaning else "")
    if code in _LINK_ENDED and link_expiry(url) is not None:
        raise LinkExpiredError(f"{text}. {FRESH_LINKS}")
    if code not in _TRANSIENT:
        raise DownloadError(text)
    error = TransientError(text)
    error.retry_after = _seconds(response.headers.get("Retry-After"))
    raise error


def _seconds(retry_after: str | None) -> float | None:
    if retry_after is None:
        return None
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


@contextlib.contextmanager
def http_errors(url: str) -> Iterator[None]:
    """Turn what goes wrong on the way into ``TransientError`` or ``DownloadError``."""
    try:
        yield
    except httpx.TooManyRedirects as cause:
        raise DownloadError(
            f"{public_url(url)}: redirected more than {_MAX_REDIRECTS} times"
        ) from cause
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as cause:
        raise DownloadError(f"{public_url(url)}: {cause}") from cause
    except httpx.TimeoutException as cause:
        raise TransientError(f"{public_url(url)}: no answer in time") from cause
    except httpx.TransportError as cause:
        kind = DownloadError if "CERTIFICATE_VERIFY_FAILED" in str(cause) else TransientError
        raise kind(f"{public_url(url)}: {cause}") from cause
