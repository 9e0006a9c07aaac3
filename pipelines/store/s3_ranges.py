"""Ranges of objects, by requests that botocore signs and sends and does nothing else to.

``get_object`` takes 1.3 ms of processor time, nearly all of it in Python, where the threads of a
process take turns; to sign and send alone takes 0.5. And its body hands out bytes objects, where a
socket fills the caller's memory.
"""

from __future__ import annotations

import http.client
import re
import threading
from typing import Any, Protocol
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError, IncompleteReadError, ResponseStreamingError

from pipelines.store.s3_errors import is_passing

_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/]+/\d+/([^/]+)/s3/aws4_request,")
_CODE = re.compile(rb"<Code>(\w+)</Code>")
_PARTIAL, _ABSENT, _PAST_END = 206, 404, 416


class RangeBody(Protocol):
    """Bytes that arrive."""

    def readinto(self, out: memoryview) -> int:
        """Fill ``out``, or the begin of it, and return how many bytes came; 0 at the end."""

    def close(self) -> None:
        """Let go of the connection; what has not arrived is lost."""


class ClientBody:
    """The body of a ``get_object``."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self._body = answer["Body"]

    def readinto(self, out: memoryview) -> int:
        """See ``RangeBody.readinto``."""
        piece = self._body.read(len(out))
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


class DirectGets:
    """GETs of ranges in the way of a client, once it has sent one itself.

    Where the bucket is, how it is addressed, in which region requests are signed: all that is taken
    from a request that the client has sent and that was answered. What is answered otherwise than
    expected is left to the client for good.
    """

    def __init__(self, client: Any, credentials: Any) -> None:  # noqa: ANN401  made at run time
        self._credentials = credentials
        self._session: Any = getattr(getattr(client, "_endpoint", None), "http_session", None)
        self._base, self._region = "", ""
        self._sent = threading.local()
        self._given_up = self._session is None or credentials is None
        client.meta.events.register("before-send.s3.GetObject", self._see)

    def _see(self, request: Any, **_: object) -> None:  # noqa: ANN401  AWSPreparedRequest
        self._sent.request = request

    def learn(self, key: str) -> None:
        """Take over how the client has just sent a request for ``key`` in this thread."""
        request = getattr(self._sent, "request", None)
        if self._base or self._given_up or request is None:
            return
        signed = request.headers.get("Authorization", "")
        signed = signed.decode() if isinstance(signed, bytes) else signed
        found, path = _CREDENTIAL.match(signed), _quoted(key)
        if found is None or not request.url.endswith(f"/{path}"):
            self._given_up = True
            return
        self._region, self._base = found[1], request.url.removesuffix(path)

    def get(self, key: str, span: str) -> SocketBody | None:
        """Return a range of an object; None when the client must be asked.

        Raises
        ------
        ClientError
            There is no such object or range, or the service is busy.
        BotoCoreError
            The network failed.
        """
        if self._given_up or not self._base:
            return None
        request = AWSRequest("GET", self._base + _quoted(key), {"Range": span}, stream_output=True)
        frozen = self._credentials.get_frozen_credentials()
        S3SigV4Auth(frozen, "s3", self._region).add_auth(request)
        answer = self._session.send(request.prepare())
        if answer.status_code == _PARTIAL and "Content-Length" in answer.headers:
            return SocketBody(answer.raw)
        error = _error(answer)
        if answer.status_code in (_ABSENT, _PAST_END) or is_passing(error):
            raise error
        self._given_up = True
        return None


def _error(answer: Any) -> ClientError:  # noqa: ANN401  AWSResponse
    code = _CODE.search(answer.content)
    name = code[1].decode() if code else str(answer.status_code)
    metadata = {"HTTPStatusCode": answer.status_code}
    return ClientError({"Error": {"Code": name}, "ResponseMetadata": metadata}, "GetObject")


def _quoted(key: str) -> str:
    return quote(key, safe="/~-._")
