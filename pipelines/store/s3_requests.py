"""Requests to one bucket: repeated while the service is busy, errors in our terms."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from pipelines.store.request_budget import UNLIMITED, RequestBudget, RequestLimits
from pipelines.store.s3_errors import RangeError, is_passing, translated
from pipelines.store.s3_ranges import ClientBody, DirectGets, RangeBody

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Connection:
    """What one process sends requests by."""

    owner: int
    """The process."""
    client: Any
    direct: DirectGets


def _connect() -> _Connection:
    # A session of its own, because boto3's default one is not for threads.
    session = boto3.Session()
    config = Config(
        retries={"total_max_attempts": 1},
        max_pool_connections=_MOST_CONNECTIONS,
        connect_timeout=10,
    )
    client = session.client("s3", config=config)
    direct = DirectGets(client, session.get_credentials())
    return _Connection(owner=os.getpid(), client=client, direct=direct)


class S3Requests:
    """Sends requests to ``bucket``; endpoint and credentials as boto3 finds them.

    Repeating is done here and not by botocore, whose threads share a quota of retries, and which
    does not read a broken body again.
    """

    def __init__(self, bucket: str, limits: RequestLimits = UNLIMITED) -> None:
        self.bucket = bucket
        self.budget = RequestBudget(limits, f"s3://{bucket}")
        self._answered = False
        self._connection: _Connection | None = None

    @property
    def client(self) -> Any:  # noqa: ANN401  boto3 makes its classes at run time
        """The boto3 client, safe to share between threads; a forked process makes its own."""
        return self._connected().client

    def _connected(self) -> _Connection:
        # Two processes that wrote to one connection would read each other's answers. No lock, which
        # a fork might find held.
        if self._connection is None or self._connection.owner != os.getpid():
            self._connection = _connect()
        return self._connection

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
            connection = self._connected()
            answer = connection.client.get_object(Bucket=self.bucket, Key=key)
            connection.direct.learn(key, answer)
            return bytes(answer["Body"].read())

        return self.repeat(read_body, f"read {self._name(key)}")

    def open_range(self, key: str, offset: int, count: int) -> RangeBody | None:
        """Ask for a range of an object; None when it lies past the end.

        Raises
        ------
        FileNotFoundError, StorageError
            See ``send``.
        """
        action = f"read {self._name(key)}"
        try:
            return self.repeat(lambda: self._ask(key, offset, count, action), action)
        except RangeError:
            return None

    def _ask(self, key: str, offset: int, count: int, action: str) -> RangeBody:
        connection = self._connected()
        direct, refused = connection.direct, False
        if direct.ready:
            body = direct.get(key, offset, count)
            if body is not None:
                return body
            refused = True
            self.budget.spend(action)
        span = f"bytes={offset}-{offset + count - 1}"
        answer = connection.client.get_object(Bucket=self.bucket, Key=key, Range=span)
        if refused:
            direct.given_up = True
        elif "ContentRange" in answer:
            direct.learn(key, answer)
        return ClientBody(answer)

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
            except (ClientError, BotoCoreError, HTTPError) as error:
                self._answered |= isinstance(error, ClientError)
                pause = next(pauses, None) if is_passing(error) else None
                if pause is None:
                    raise translated(error, action, repeated=repeated) from error
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
