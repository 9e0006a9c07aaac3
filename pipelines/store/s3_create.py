"""Exclusive creation on S3, also where an answer is lost and a request is sent twice."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from pipelines.store.s3_errors import PresentError, WriteConflictError
from pipelines.store.s3_requests import S3Requests
from schemas.errors import StorageError

_CONFLICT_WAITS = (0.1, 0.3, 1.0, 3.0)
"""Seconds between attempts."""
_WRITER = "writer"


class Creation:
    """Creates one object, and knows its own work again by a number that no other attempt has."""

    def __init__(self, requests: S3Requests, key: str) -> None:
        self._requests, self._key = requests, key
        self.metadata = {_WRITER: uuid.uuid4().hex}
        """Goes with the request that begins the object."""

    def settle(self, attempt: Callable[[], bool]) -> bool:
        """Attempt again, whole, while another conditional write of the key goes on."""
        for wait in _CONFLICT_WAITS:
            try:
                return attempt()
            except WriteConflictError:
                time.sleep(wait)
        try:
            return attempt()
        except WriteConflictError as cause:
            raise StorageError(
                f"cannot write {cause}: other writes of it do not end",
                fix="Run the same command again.",
            ) from cause

    def create(self, operation: str, **arguments: object) -> bool:
        """Send the request that makes the object visible; False when another made it first."""
        try:
            self._requests.send(operation, "write", self._key, IfNoneMatch="*", **arguments)
        except PresentError as present:
            return present.repeated and self._is_ours()
        except WriteConflictError:
            # An attempt whose answer was lost has ended its upload too.
            if self._is_ours():
                return True
            raise
        return True

    def _is_ours(self) -> bool:
        try:
            answer = self._requests.send("head_object", "read", self._key)
        except FileNotFoundError:
            return False
        metadata: dict[str, str] = answer.get("Metadata", {})
        return metadata.get(_WRITER) == self.metadata[_WRITER]
