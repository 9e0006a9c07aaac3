"""Ranges of objects, by requests that botocore signs and sends and does nothing else to.

``get_object`` takes 1.3 ms of processor time, nearly all of it in Python, where the threads of a
process take turns; to sign and send alone takes 0.5. And its body hands out bytes objects, where a
socket fills the caller's memory.
"""

from __future__ import annotations

import http.client
import re
import threading
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError, IncompleteReadError, ResponseStreamingError
from urllib3.exceptions import HTTPError

from pipelines.store.s3_errors import is_passing

_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/]+/\d+/([^/]+)/s3/aws4_request,")
_CODE = re.compile(rb"<Code>(\w+)</Code>")
_ABSENT, _PAST_END = 404, 416
_PIECE_BYTES = 1 << 20


class RangeBody(Protocol):
    """Bytes that arrive."""

    def readinto(self, out: memoryview) -> int:
        """Fill ``out`` or its beginning, and return how many bytes came; 0 at the end."""

    def close(self) -> None:
        """Let go of the connection; what has not arrived is lost."""


class ClientBody:
    """The body of a ``get_object``."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self._body = answer["Body"]

    def readinto(self, out: memoryview) -> int:
        """See ``RangeBody.readinto``."""
        piece = self._body.read(min(len(out), _PIECE_BYTES))
        out[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        """See ``RangeBody.close``."""
        self._body.close()


class SocketBody:
    """The body of a direct request."""

    def __init__(self, raw: Any) -> None:  # noqa: ANN401  urllib3's response
        self._raw, self._response = raw, raw._fp
        self._left = self._total = int(raw.headers["Content-Length"])

    def readinto(self, out: memoryview) -> int:
        """See ``RangeBody.readinto``."""
        if not self._left:
            return 0
        try:
            count: int = self._response.readinto(out[: self._left])
        except (OSError, http.client.HTTPException) as error:
            raise ResponseStreamingError(error=error) from error
        if not count:
            raise IncompleteReadError(
                actual_bytes=self._total - self._left, expected_bytes=self._total
            )
        self._left -= count
        return count

    def close(self) -> None:
        """See ``RangeBody.close``: a connection on which nothing is left is used again."""
        if self._left:
            self._raw.close()
        else:
            self._raw.release_conn()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """How a client has asked for an object."""

    base: str
    """What comes before the key."""
    region: str
    user_agent: str


class DirectGets:
    """GETs of ranges in the way of a client, once it has sent one itself.

    Where the bucket is, how it is addressed, in which region requests are signed: all that is taken
    from a request that the client has sent and that was answered.
    """

    def __init__(self, client: Any, credentials: Any) -> None:  # noqa: ANN401  made at run time
        self._credentials = credentials
        self._session: Any = getattr(getattr(client, "_endpoint", None), "http_session", None)
        self._way: _Way | None = None
        self._sent = threading.local()
        self.given_up = self._session is None
        """All ranges are left to the client, for good."""
        client.meta.events.register("before-send.s3.GetObject", self._see)

    def _see(self, request: Any, **_: object) -> None:  # noqa: ANN401  AWSPreparedRequest
        if self._way is None:
            self._sent.request = request

    def learn(self, key: str, answer: dict[str, Any]) -> None:
        """Take over how the client has just asked for ``key`` in this thread."""
        request = getattr(self._sent, "request", None)
        if self._way is not None or self.given_up or request is None:
            return
        signed = _CREDENTIAL.match(_header(request, "Authorization"))
        path = _quoted(key)
        # A hook may have answered in the network's place.
        raw = getattr(answer["Body"], "_raw_stream", None)
        from_network = hasattr(getattr(raw, "_fp", None), "readinto")
        if signed is None or not from_network or not request.url.endswith(f"/{path}"):
            self.given_up = True
            return
        user_agent = _header(request, "User-Agent")
        base = request.url.removesuffix(path)
        self._way = _Way(base=base, region=signed[1], user_agent=user_agent)

    @property
    def ready(self) -> bool:
        """Whether it knows how to ask."""
        return self._way is not None and not self.given_up

    def get(self, key: str, offset: int, count: int) -> SocketBody | None:
        """Return a range of an object; None when the client must be asked. Only when ``ready``.

        Raises
        ------
        ClientError
            There is no such object or range, or the service is busy.
        BotoCoreError
            The network failed.
        """
        way = self._way
        assert way is not None
        headers = {"Range": f"bytes={offset}-{offset + count - 1}", "User-Agent": way.user_agent}
        request = AWSRequest("GET", way.base + _quoted(key), headers, stream_output=True)
        credentials = self._credentials.get_frozen_credentials()
        S3SigV4Auth(credentials, "s3", way.region).add_auth(request)
        answer = self._session.send(request.prepare())
        if _is_range(answer, offset):
            return SocketBody(answer.raw)
        if answer.status_code < http.client.MULTIPLE_CHOICES:
            # Perhaps the whole object: not to be read.
            answer.raw.close()
            return None
        error = _error(answer)
        if answer.status_code in (_ABSENT, _PAST_END) or is_passing(error):
            raise error
        return None


def _header(request: Any, name: str) -> str:  # noqa: ANN401  AWSPreparedRequest
    value = request.headers.get(name, "")
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _is_range(answer: Any, offset: int) -> bool:  # noqa: ANN401  AWSResponse
    headers = answer.headers
    return (
        answer.status_code == http.client.PARTIAL_CONTENT
        and headers.get("Content-Length", "").isdigit()
        and headers.get("Content-Range", "").startswith(f"bytes {offset}-")
        and "Transfer-Encoding" not in headers
    )


def _error(answer: Any) -> ClientError:  # noqa: ANN401  AWSResponse
    try:
        code = _CODE.search(answer.content)
    except (OSError, HTTPError) as error:
        raise ResponseStreamingError(error=error) from error
    name = code[1].decode() if code else str(answer.status_code)
    metadata = {"HTTPStatusCode": answer.status_code}
    return ClientError({"Error": {"Code": name}, "ResponseMetadata": metadata}, "GetObject")


def _quoted(key: str) -> str:
    return quote(key, safe="/~-._")
