"""The transport for ``s3://bucket/key`` as a source: boto3, unsigned without credentials."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import NameResolutionError

from downloaders.transport import Body, Policy, TransientError, UnknownHostError, range_header
from schemas.errors import DownloadError, UsageError

_PLACE = re.compile(r"s3://([^/]+)/(.+)")
_BLOCK = 1 << 18
_MEANING = {
    "403": "access is denied; set AWS credentials that may read it",
    "404": "there is no such object",
    "NoSuchBucket": "there is no such bucket",
    "NoSuchKey": "there is no such object",
}
_OTHER_FILE = "412"
_PAST_END = "416"
_FIRST_TRANSIENT = 500
_THROTTLED = 429


class S3Transport:
    """See ``Transport``. Endpoint, region and credentials are as boto3 finds them."""

    def __init__(self, policy: Policy) -> None:
        session = boto3.Session()
        signed = session.get_credentials() is not None
        self._client: Any = session.client(
            "s3",
            config=Config(
                signature_version=None if signed else UNSIGNED,
                connect_timeout=policy.connect_timeout,
                read_timeout=policy.read_timeout,
                # Our fetcher retries: it also keeps the bytes that came before.
                retries={"total_max_attempts": 1},
                max_pool_connections=32,
            ),
        )

    def close(self) -> None:
        """See ``Transport.close``."""
        self._client.close()

    @contextlib.contextmanager
    def open(
        self, url: str, start: int, validator: str | None, stop: int | None = None
    ) -> Iterator[Body | None]:
        """See ``Transport.open``."""
        place = _PLACE.fullmatch(url)
        if place is None:
            raise UsageError(f"{url!r} is no object", expected="s3://bucket/key")
        name = {"Bucket": place[1], "Key": place[2]}
        if start:
            name["Range"] = range_header(start, stop)
            name |= {} if validator is None else {"IfMatch": validator}
        try:
            answer = self._client.get_object(**name)
        except (ClientError, BotoCoreError) as cause:
            if start and _status(cause) in (_OTHER_FILE, _PAST_END):
                yield None
                return
            _refuse(url, cause)
        with contextlib.closing(answer["Body"]):
            yield Body(
                start=start,
                total=_total(answer),
                validator=answer["ETag"],
                ranges=True,
                chunks=_chunks(url, answer["Body"]),
            )


def _total(answer: dict[str, Any]) -> int:
    stated = answer.get("ContentRange")
    return int(stated.rpartition("/")[2]) if stated else int(answer["ContentLength"])


def _chunks(url: str, body: Any) -> Iterator[bytes]:  # noqa: ANN401  a class made at run time
    try:
        while chunk := body.read(_BLOCK):
            yield chunk
    except (BotoCoreError, OSError) as cause:
        raise TransientError(f"{url}: the connection broke: {cause}") from cause


def _status(error: Exception) -> str:
    if not isinstance(error, ClientError):
        return ""
    return str(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _refuse(url: str, cause: Exception) -> NoReturn:
    if isinstance(cause, ClientError):
        code, status = cause.response["Error"].get("Code", ""), int(_status(cause))
        text = f"{url}: {_MEANING.get(code) or _MEANING.get(str(status)) or cause}"
        passing = status >= _FIRST_TRANSIENT or status == _THROTTLED
    else:
        text, passing = f"{url}: {cause}", True
        if isinstance(getattr(cause, "kwargs", {}).get("error"), NameResolutionError):
            raise UnknownHostError(text) from cause
    raise (TransientError if passing else DownloadError)(text) from cause
