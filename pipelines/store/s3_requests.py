"""Requests to one bucket: repeated while the service is busy, errors in our terms."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import boto3
from botocore import exceptions as boto
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from pipelines.store.request_budget import UNLIMITED, RequestBudget, RequestLimits
from schemas.errors import StorageError

Answer = dict[str, Any]
Result = TypeVar("Result")

PATIENCE_SECONDS = 300.0
"""How long a service that has answered before may be busy or out of reach; partitions of S3 that
split answer 503 for minutes."""
_FIRST_PATIENCE_SECONDS = 10.0
"""The same before its first answer: a wrong address should be told soon."""
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 20.0

_MOST_CONNECTIONS = 128
"""That are kept for reuse: each thread that reads has one."""

_BUSY_CODES = {
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
}
_BUSY_STATUS = {429, 500, 502, 503, 504}
# HTTPClientError: refused, reset, timed out, name not found, cut short.
_NETWORK_ERRORS = (boto.HTTPClientError, boto.IncompleteReadError, boto.FlexibleChecksumError)
_WRONG_SETTINGS = (boto.SSLError, boto.ProxyConnectionError, boto.InvalidProxiesConfigError)


class PresentError(FileExistsError):
    """The key exists. ``repeated``: an earlier attempt of this request may have created it."""

    def __init__(self, name: str, *, repeated: bool) -> None:
        super().__init__(name)
        self.repeated = repeated


class WriteConflictError(Exception):
    """Another conditional write of the key goes on and may yet fail, or the upload is gone."""


class RangeError(Exception):
    """The offset lies past the end of the object."""


class S3Requests:
    """Sends requests to ``bucket``; endpoint and credentials as boto3 finds them.

    Repeating is done here and not by botocore, whose threads share a quota of retries, and which
    does not read a broken body again.
    """

    def __init__(self, bucket: str, limits: RequestLimits = UNLIMITED) -> None:
        self.bucket = bucket
        self.budget = RequestBudget(limits, f"s3://{bucket}")
        self._answered = False
        self._client: Any = None
        self._owner = 0

    @property
    def client(self) -> Any:  # noqa: ANN401  boto3 makes its classes at run time
        """The boto3 client, safe to share between threads; a forked process makes its own.

        Two processes that wrote to one connection would read each other's answers.
        """
        if self._owner != os.getpid():
            config = Config(
                retries={"total_max_attempts": 1},
                max_pool_connections=_MOST_CONNECTIONS,
                connect_timeout=10,
            )
            # A session of its own, because boto3's default one is not for threads; and no lock,
            # which a fork might find held.
            self._client = boto3.Session().client("s3", config=config)
            self._owner = os.getpid()
        return self._client

    def send(self, operation: str, action: str, key: str, **arguments: object) -> Answer:
        """Send a request about the object ``key`` and return the answer.

        Raises
        ------
        FileNotFoundError
            There is no such object.
        PresentError, WriteConflictError, RangeError
            See there.
        StorageError
            Anything else, and a service that stays busy.
        """
        call: Callable[..., Answer] = getattr(self.client, operation)
        return self.repeat(
            lambda: call(Bucket=self.bucket, Key=key, **arguments), f"{action} {self._name(key)}"
        )

    def read(self, key: str) -> bytes:
        """Return a whole object."""

        def read_body() -> bytes:
            answer = self.client.get_object(Bucket=self.bucket, Key=key)
            return bytes(answer["Body"].read())

        return self.repeat(read_body, f"read {self._name(key)}")

    def pages(self, operation: str, prefix: str, **arguments: str) -> Iterator[Answer]:
        """Yield the pages of a listing below ``prefix``."""
        call: Callable[..., Answer] = getattr(self.client, operation)
        marks = {
            "list_objects_v2": {"ContinuationToken": "NextContinuationToken"},
            "list_multipart_uploads": {
                "KeyMarker": "NextKeyMarker",
                "UploadIdMarker": "NextUploadIdMarker",
            },
        }[operation]
        place: dict[str, Any] = {}
        while True:
            page = self.repeat(
                lambda: call(Bucket=self.bucket, Prefix=prefix, **arguments, **place),  # noqa: B023
                f"list {self._name(prefix)}",
            )
            yield page
            if not page.get("IsTruncated"):
                return
            place = {mark: page[following] for mark, following in marks.items()}

    def repeat(self, call: Callable[[], Result], action: str) -> Result:
        """Return what ``call`` returns, after as many attempts as it takes while S3 is busy."""
        pauses, repeated = self.pauses(), False
        while True:
            self.budget.spend(action)
            try:
                result = call()
            except (ClientError, BotoCoreError) as error:
                self._answered |= isinstance(error, ClientError)
                pause = next(pauses, None) if is_passing(error) else None
                if pause is None:
                    raise _translated(error, action, repeated=repeated) from error
                time.sleep(pause)
                repeated = True
            else:
                self._answered = True
                return result

    def pauses(self) -> Iterator[float]:
        """Yield seconds to wait before each next attempt: doubling, by chance, to an end."""
        end = time.monotonic() + (
            PATIENCE_SECONDS if self._answered else min(PATIENCE_SECONDS, _FIRST_PATIENCE_SECONDS)
        )
        pause = _FIRST_PAUSE_SECONDS
        while time.monotonic() < end:
            yield pause * random.uniform(0.5, 1.0)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _name(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"


def is_passing(error: Exception) -> bool:
    """Say whether the same request may succeed later."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return _code(error) in _BUSY_CODES or status in _BUSY_STATUS
    return isinstance(error, _NETWORK_ERRORS) and not isinstance(error, _WRONG_SETTINGS)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _translated(error: Exception, action: str, *, repeated: bool) -> Exception:
    code = _code(error) if isinstance(error, ClientError) else ""
    name = action.partition(" ")[2]
    if code in {"NoSuchKey", "404", "NotFound"}:
        return FileNotFoundError(name)
    if code in {"PreconditionFailed", "412"}:
        return PresentError(name, repeated=repeated)
    if code in {"ConditionalRequestConflict", "409", "NoSuchUpload"}:
        return WriteConflictError(name)
    if code in {"InvalidRange", "416"}:
        return RangeError(name)
    if code and not is_passing(error):
        fix = "Check the bucket's name, its policy and your credentials."
    else:
        fix = "Check the network, AWS_ENDPOINT_URL and your credentials; then run it again."
    said = f"{code} {error}".strip().rstrip(".")
    return StorageError(f"cannot {action}: {said}", fix=fix)
