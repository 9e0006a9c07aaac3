"""The web pages that Google Drive answers with: what they say, and where their form leads."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from http import HTTPStatus
from typing import NoReturn
from urllib.parse import urlencode, urljoin

from urllib3 import BaseHTTPResponse

from downloaders.http import final_url, read_chunks, refuse
from schemas.errors import DownloadError

_MAX_PAGE_BYTES = 1 << 20
_QUOTA = ("too many users have viewed or downloaded", "quota exceeded", "download quota")
_LOGIN = ("accounts.google.com", "sign in to continue", "you need access", "request access")
_BY_HAND = "Download it in a browser, then give its folder by --from."


def is_page(response: BaseHTTPResponse) -> bool:
    """Whether the answer is a page of Drive itself, not a file."""
    kind = response.headers.get("Content-Type", "")
    # A file that is itself a web page comes as an attachment.
    return kind.startswith("text/html") and "Content-Disposition" not in response.headers


def read_page(url: str, response: BaseHTTPResponse) -> str:
    """Return the text of a page, cut where no page of Drive is so long."""
    page = b""
    for chunk in read_chunks(url, response):
        page += chunk
        if len(page) >= _MAX_PAGE_BYTES:
            break
    return page.decode("utf-8", "replace")


def confirmed_address(url: str, address: str, response: BaseHTTPResponse) -> str:
    """Return where the confirmation form of the page leads.

    Parameters
    ----------
    url
        The file, for messages.
    address
        What was asked for to get ``response``.

    Raises
    ------
    DownloadError
        The page is a refusal.
    """
    text = read_page(url, response)
    form = _Form()
    form.feed(text)
    refuse_quota(url, text)
    if form.action is None or response.status != HTTPStatus.OK:
        refuse_page(url, address, response, text)
    return f"{urljoin(final_url(address, response), form.action)}?{urlencode(form.fields)}"


def refuse_quota(url: str, text: str) -> None:
    """Raise ``DownloadError`` if the page says that the file was fetched too often."""
    lower = " ".join(text.lower().split())
    if any(phrase in lower for phrase in _QUOTA):
        raise DownloadError(
            f"{url}: Google Drive's quota for this file is used up: too many people fetched it",
            fix="Wait up to 24 hours; or copy the file into a Drive of your own, download it in a "
            "browser, and give its folder by --from.",
        )


def refuse_page(url: str, address: str, response: BaseHTTPResponse, text: str) -> NoReturn:
    """Raise what a page says that is neither the file nor a form."""
    lower = text.lower()
    if "//accounts.google.com/" in final_url(address, response) or any(
        phrase in lower for phrase in _LOGIN
    ):
        raise DownloadError(
            f"{url}: Google Drive asks for a login: this is not shared with everyone", fix=_BY_HAND
        )
    if response.status != HTTPStatus.OK:
        refuse(url, response)
    title = re.search(r"<title[^>]*>(.*?)</title>", " ".join(lower.split()))
    raise DownloadError(
        f"{url}: Google Drive answers with another web page than expected",
        got=repr(title[1].strip()) if title else "a page without a title",
        fix=_BY_HAND,
    )


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
