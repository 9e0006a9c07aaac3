"""The transport for ``gdrive://FILE_ID``: Google Drive, its confirmation form, and its refusals.

Drive answers 200 with a web page when it wants a confirmation, and also when it refuses. gdown
knows these pages too, but keeps parts and names of its own, and resumes without a validator.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from http import HTTPStatus
from typing import NoReturn
from urllib.parse import urlencode, urljoin

from urllib3 import BaseHTTPResponse

from downloaders.http import (
    HttpTransport,
    final_url,
    read_body,
    read_chunks,
    refuse,
    resume_headers,
)
from downloaders.transport import Body, Policy
from schemas.errors import DownloadError, UsageError

_BASE = "https://drive.usercontent.google.com"
_ID = re.compile(r"gdrive://([\w-]+)")
_MAX_PAGE_BYTES = 1 << 20
_FORMS = 2
_QUOTA = ("too many users have viewed or downloaded", "quota exceeded", "download quota")
_LOGIN = ("accounts.google.com", "sign in to continue", "you need access", "request access")


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
                if not _is_page(response):
                    yield _body(url, response, start, validator)
                    return
                address = _next_address(url, address, response)
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


def _is_page(response: BaseHTTPResponse) -> bool:
    kind = response.headers.get("Content-Type", "")
    # A file that is itself a web page comes as an attachment.
    return kind.startswith("text/html") and "Content-Disposition" not in response.headers


def _next_address(url: str, address: str, response: BaseHTTPResponse) -> str:
    """Return where the page's confirmation form leads.

    Raises
    ------
    DownloadError
        The page is a refusal.
    """
    text = _read_page(url, response)
    form = _Form()
    form.feed(text)
    lower = " ".join(text.lower().split())
    if any(phrase in lower for phrase in _QUOTA):
        raise DownloadError(
            f"{url}: Google Drive's quota for this file is used up: too many people fetched it",
            fix="Wait up to 24 hours; or copy the file into a Drive of your own, download it in a "
            "browser, and give its folder by --from.",
        )
    if form.action is None or response.status != HTTPStatus.OK:
        _refuse_page(url, final_url(address, response), response, lower)
    return f"{urljoin(final_url(address, response), form.action)}?{urlencode(form.fields)}"


def _refuse_page(url: str, address: str, response: BaseHTTPResponse, lower: str) -> NoReturn:
    login = "//accounts.google.com/" in address or any(word in lower for word in _LOGIN)
    if login:
        raise DownloadError(
            f"{url}: Google Drive asks for a login: the file is not shared with everyone",
            fix="Download it in a browser, then give its folder by --from.",
        )
    if response.status != HTTPStatus.OK:
        refuse(url, response)
    title = re.search(r"<title[^>]*>(.*?)</title>", lower, re.DOTALL)
    raise DownloadError(
        f"{url}: Google Drive answers with a web page instead of the file",
        got=repr(title[1].strip()) if title else "a page without a title",
        fix="Download it in a browser, then give its folder by --from.",
    )


def _read_page(url: str, response: BaseHTTPResponse) -> str:
    page = b""
    for chunk in read_chunks(url, response):
        page += chunk
        if len(page) >= _MAX_PAGE_BYTES:
            break
    return page.decode("utf-8", "replace")


class _Form(HTMLParser):
    """The form ``download-form``: where it leads, with its hidden fields."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "form" and values.get("id") == "download-form":
            self.action = values.get("action") or ""
        name = values.get("name")
        if tag == "input" and self.action is not None and name:
            self.fields[name] = values.get("value") or ""
