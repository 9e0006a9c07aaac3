"""The transport for ``gdrive://FILE_ID``: a file on Google Drive.

Drive answers 200 with a web page when it wants a confirmation, and also when it refuses. gdown
knows these pages too, but keeps parts and names of its own, and resumes without a validator.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import urlencode

from urllib3 import BaseHTTPResponse

from downloaders.drive_pages import confirmed_address, is_page
from downloaders.http import HttpTransport, read_body, refuse, resume_headers
from downloaders.transport import Body, Policy
from schemas.errors import DownloadError, UsageError

_BASE = "https://drive.usercontent.google.com"
_ID = re.compile(r"gdrive://([\w-]+)")
_FORMS = 2


class DriveTransport:
    """See ``Transport``.

    Parameters
    ----------
    base
        Where files are served; tests put a server of their own here.
    """

    def __init__(self, policy: Policy, base: str = _BASE) -> None:
        self._http, self._base = HttpTransport(policy), base

    def close(self) -> None:
        """See ``Transport.close``."""
        self._http.close()

    @contextlib.contextmanager
    def open(
        self, url: str, start: int, validator: str | None, stop: int | None = None
    ) -> Iterator[Body | None]:
        """See ``Transport.open``."""
        query = {"id": _file_id(url), "export": "download", "confirm": "t"}
        address = f"{self._base}/download?{urlencode(query)}"
        headers = resume_headers(start, validator, stop)
        for _ in range(1 + _FORMS):
            with self._http.request(address, headers) as response:
                if not is_page(response):
                    yield _body(url, response, start, validator)
                    return
                address = confirmed_address(url, address, response)
        raise DownloadError(f"{url}: Google Drive asks for a confirmation again and again")


def _body(url: str, response: BaseHTTPResponse, start: int, validator: str | None) -> Body | None:
    if response.status == HTTPStatus.NOT_FOUND:
        refuse(url, response, "Google Drive has no such file, or it is not shared with everyone")
    return read_body(url, response, start, validator)


def _file_id(url: str) -> str:
    match = _ID.fullmatch(url)
    if match is None:
        raise UsageError(f"{url!r} is no file on Google Drive", expected="gdrive://FILE_ID")
    return match[1]
