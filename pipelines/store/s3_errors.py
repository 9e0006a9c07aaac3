"""What goes wrong with S3: what passes, and what is what in our terms."""

from __future__ import annotations

from botocore import exceptions as boto
from botocore.exceptions import ClientError
from urllib3.exceptions import HTTPError

from schemas.errors import StorageError

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
# Refused, reset, timed out, name not found, cut short; urllib3's own where botocore reads an error.
_NETWORK_ERRORS = (
    boto.HTTPClientError,
    boto.IncompleteReadError,
    boto.FlexibleChecksumError,
    HTTPError,
)
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


def is_passing(error: Exception) -> bool:
    """Say whether the same request may succeed later."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return _code(error) in _BUSY_CODES or status in _BUSY_STATUS
    return isinstance(error, _NETWORK_ERRORS) and not isinstance(error, _WRONG_SETTINGS)


def translated(error: Exception, action: str, *, repeated: bool) -> Exception:
    """Return an error of botocore in our terms.

    Parameters
    ----------
    action
        As ``read s3://bucket/key``.
    repeated
        It was not the first attempt.
    """
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


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
