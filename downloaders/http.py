"""The transport for http:// and https://."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import NoReturn
from urllib.parse import urljoin

from urllib3 import BaseHTTPResponse, exceptions

from downloaders.connections import MAX_REDIRECTS, Connections
from downloaders.expiry import link_expiry
from downloaders.transport import (
    FRESH_LINKS,
    Body,
    LinkExpiredError,
    Policy,
    TransientError,
    UnknownHostError,
    public_url,
    range_header,
)
from schemas.errors import DownloadError

_READ_BYTES = 1 << 18
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_LINK_ENDED = {400, 401, 403, 410}
_MEANING = {
    401: "the server asks for a login",
    403: "the server refuses; a signed link may have expired",
    404: "the server has no such file",
    410: "the file was removed",
}


class HttpTransport:
    """Fetches by GET with Range and If-Range; see ``Transport``."""

    def __init__(self, policy: Policy) -> None:
        self._connections = Connections(policy)

    def close(self) -> None:
        """See ``Transport.close``."""
        self._connections.close()

    @contextlib.contextmanager
    def open(
        self, url: str, start: int, validator: str | None, stop: int | None = None
    ) -> Iterator[Body | None]:
        """See ``Transport.open``."""
        headers = resume_headers(start, validator, stop)
        with self.request(url, headers) as response:
            yield read_body(url, response, start, validator)

    @contextlib.contextmanager
    def request(self, url: str, headers: Mapping[str, str]) -> Iterator[BaseHTTPResponse]:
        """Open the answer to GET, whatever its status, after redirects."""
        with http_errors(url):
            response = self._connections.get(url, headers)
        try:
            yield response
        finally:
            # A connection whose answer was read to the end is kept for the next file.
            response.close()


def resume_headers(start: int, validator: str | None, stop: int | None) -> dict[str, str]:
    """Return the headers that ask for the bytes from ``start`` on, of the same file as before."""
    headers = {"Range": range_header(start, stop)} if start else {}
    if start and validator is not None:
        headers["If-Range"] = validator
    return headers


def read_body(
    url: str, response: BaseHTTPResponse, start: int, validator: str | None
) -> Body | None:
    """Return the body of an answer; errors name ``url``.

    Raises
    ------
    TransientError, DownloadError
        See ``Transport.open``.
    """
    if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return None
    if response.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        refuse(url, response)
    first, total = _extent(url, response)
    found = _validator(response)
    if first and (first != start or (validator is not None and found not in (None, validator))):
        # Some servers answer If-Range with the changed file's tail all the same.
        return None
    partial = response.status == HTTPStatus.PARTIAL_CONTENT
    return Body(
        start=first,
        total=total,
        validator=found,
        ranges=partial or response.headers.get("Accept-Ranges") == "bytes",
        chunks=read_chunks(url, response),
    )


def _extent(url: str, response: BaseHTTPResponse) -> tuple[int, int | None]:
    if response.status == HTTPStatus.OK:
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


def _validator(response: BaseHTTPResponse) -> str | None:
    # A weak ETag only promises equal meaning, not equal bytes; HTTP forbids it in If-Range.
    tag: str | None = response.headers.get("ETag")
    if tag is not None and not tag.startswith("W/"):
        return tag
    modified: str | None = response.headers.get("Last-Modified")
    return modified


def read_chunks(url: str, response: BaseHTTPResponse) -> Iterator[bytes]:
    """Yield the body as it comes, never waiting to fill a chunk: a trickle must be seen as one.

    Raises
    ------
    TransientError
        The connection broke, or fell silent.
    """
    with http_errors(url):
        while chunk := response.read1(_READ_BYTES):
            yield chunk


def final_url(url: str, response: BaseHTTPResponse) -> str:
    """Return where redirects led from ``url``."""
    history = response.retries.history if response.retries else ()
    for step in history:
        url = urljoin(url, step.redirect_location or "")
    return url


def refuse(url: str, response: BaseHTTPResponse, meaning: str | None = None) -> NoReturn:
    """Raise what a status other than success means.

    Raises
    ------
    TransientError, DownloadError
        Depending on whether it may pass.
    """
    code = response.status
    meaning = meaning or _MEANING.get(code) or response.reason
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
    except exceptions.HTTPError as cause:
        raise _meaning(public_url(url), cause) from cause


def _meaning(place: str, error: exceptions.HTTPError) -> DownloadError:
    """Return our error; its text never holds the query, which may be a secret, as theirs may."""
    if isinstance(error, exceptions.MaxRetryError):
        if isinstance(error.reason, exceptions.ResponseError):
            return DownloadError(f"{place}: redirected more than {MAX_REDIRECTS} times")
        error = error.reason if isinstance(error.reason, exceptions.HTTPError) else error
    if isinstance(error, exceptions.URLSchemeUnknown):
        return DownloadError(f"{place}: {error.scheme}:// is no web address")
    if isinstance(error, exceptions.LocationValueError):
        return DownloadError(f"{place}: this is no valid address")
    first = _first_cause(error)
    text = str(first)
    if isinstance(first, socket.gaierror):
        return UnknownHostError(f"{place}: the name of the host is not found ({first.strerror})")
    if isinstance(error, exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in text:
        return DownloadError(f"{place}: {text}")
    if isinstance(error, exceptions.TimeoutError) and not isinstance(
        error, exceptions.NewConnectionError
    ):
        return TransientError(f"{place}: no answer in time")
    return TransientError(f"{place}: {text}")


def _first_cause(error: BaseException) -> BaseException:
    """Return what the system said first; urllib3 wraps it, and adds addresses in memory."""
    while True:
        wrapped = error.__cause__ or (error.args[-1] if error.args else None)
        if not isinstance(wrapped, BaseException):
            return error
        error = wrapped
