"""What a shared folder of Google Drive holds, by the page that other web sites embed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from http import HTTPStatus
from typing import Literal
from urllib.parse import urlencode

from downloaders.drive_pages import read_page, refuse_page, refuse_quota
from downloaders.http import HttpTransport
from downloaders.transport import Policy
from schemas.errors import DownloadError

BASE = "https://drive.google.com"
_LINK = re.compile(r"https://drive\.google\.com/(?:(file/d)|drive/(?:u/\d+/)?folders)/([\w-]+)")
_LISTED = 'class="flip-'
"""Part of every folder's page, also of an empty one's."""
_DEEPEST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveEntry:
    """One file, or one folder, of a folder."""

    kind: Literal["file", "folder"]
    id: str
    name: str


def list_drive_folder(folder_id: str, policy: Policy | None = None) -> list[DriveEntry]:
    """Return the files in a folder that is shared with everyone, and in the folders below it.

    Documents that Drive itself edits are no files: they have no bytes.

    Raises
    ------
    DownloadError
        It is not shared, there is no such folder, Drive refuses, or it cannot be reached.
    """
    transport = HttpTransport(policy or Policy())
    try:
        return list(_files(transport, folder_id, _DEEPEST))
    finally:
        transport.close()


def _files(transport: HttpTransport, folder_id: str, depth: int) -> Iterator[DriveEntry]:
    for entry in _read_folder(transport, folder_id):
        if entry.kind == "file":
            yield entry
        elif depth > 1:
            yield from _files(transport, entry.id, depth - 1)


def _read_folder(transport: HttpTransport, folder_id: str) -> list[DriveEntry]:
    url = f"{BASE}/drive/folders/{folder_id}"
    address = f"{BASE}/embeddedfolderview?{urlencode({'id': folder_id})}"
    with transport.request(address, {}) as response:
        if response.status == HTTPStatus.NOT_FOUND:
            raise DownloadError(
                f"{url}: Google Drive has no such folder, or it is not shared with everyone"
            )
        text = read_page(url, response)
        refuse_quota(url, text)
        if response.status != HTTPStatus.OK or _LISTED not in text:
            refuse_page(url, address, response, text)
    page = _FolderPage()
    page.feed(text)
    return page.entries


class _FolderPage(HTMLParser):
    """Each entry is one link, whose text is the name; icons have no text."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[DriveEntry] = []
        self._link: re.Match[str] | None = None
        self._name = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._link, self._name = _LINK.match(dict(attrs).get("href") or ""), ""

    def handle_data(self, data: str) -> None:
        self._name += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._link is not None:
            kind: Literal["file", "folder"] = "file" if self._link[1] else "folder"
            name = " ".join(self._name.split())
            self.entries.append(DriveEntry(kind=kind, id=self._link[2], name=name))
            self._link = None
