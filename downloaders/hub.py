"""The transport for ``hf://datasets/OWNER/NAME@REVISION/path``, and listings of such repositories.

Bytes come by our own HTTP from the hub's ``resolve`` address: so they have the same parts, stall
detection, progress and ledger as all others, and lie once on the disk, not also in a cache.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

from huggingface_hub import HfApi, get_token, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]
from huggingface_hub.hf_api import RepoFile

from downloaders.http import HttpTransport, read_body, refuse, resume_headers
from downloaders.transport import Body, Policy
from schemas.errors import DownloadError, UsageError

_PLACE = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?(?:/(.+))?")
_CLIENT_LOG = logging.getLogger("huggingface_hub.utils._http")
_NOT_LISTED = "Run the same command again when the hub can be reached, or give a folder by --from."
_YES = {"1", "true", "yes", "on"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HubPlace:
    """A dataset repository at one revision, and a path in it."""

    repo: str
    revision: str
    path: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Return the parts of ``url``.

        Raises
        ------
        UsageError
            It is not of the form of this module's first line.
        """
        match = _PLACE.fullmatch(url)
        if match is None:
            raise UsageError(
                f"{url!r} is no file on the Hugging Face hub",
                expected="hf://datasets/OWNER/NAME@REVISION/path",
            )
        return cls(repo=match[1], revision=match[2] or "main", path=match[3] or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """One file of a repository, as the hub lists it."""

    path: str
    bytes: int
    checksum: str | None
    """``sha256:…``; None for files that are kept in git itself."""


class HubTransport:
    """See ``Transport``. The token is ``HF_TOKEN`` or that of ``hf auth login``."""

    def __init__(self, policy: Policy) -> None:
        self._http = HttpTransport(policy)

    def close(self) -> None:
        """See ``Transport.close``."""
        self._http.close()

    @contextlib.contextmanager
    def open(
        self, url: str, start: int, validator: str | None, stop: int | None = None
    ) -> Iterator[Body | None]:
        """See ``Transport.open``."""
        place = HubPlace.parse(url)
        address = hf_hub_url(
            place.repo,
            place.path,
            repo_type="dataset",
            revision=place.revision,
            endpoint=_endpoint(url),
        )
        headers = resume_headers(start, validator, stop)
        token = get_token()
        if token is not None:
            # urllib3 drops it when the hub redirects to another host.
            headers["Authorization"] = f"Bearer {token}"
        with self._http.request(address, headers) as response:
            if response.status in _DENIED:
                error_code = response.headers.get("X-Error-Code")
                refuse(url, response, _explain(place, response.status, error_code, token))
            yield read_body(url, response, start, validator)


def list_hub_files(url: str) -> list[HubFile]:
    """Return the files below ``hf://datasets/OWNER/NAME@REVISION[/folder]``, sorted by path.

    Raises
    ------
    DownloadError
        The hub refuses, or cannot be reached.
    """
    place, endpoint, token = HubPlace.parse(url), _endpoint(url), get_token()
    # The library would print a line for each of its retries.
    _CLIENT_LOG.setLevel(logging.ERROR)
    try:
        entries = list(
            HfApi(endpoint=endpoint, token=token).list_repo_tree(
                place.repo,
                place.path or None,
                recursive=True,
                repo_type="dataset",
                revision=place.revision,
            )
        )
    except HfHubHTTPError as cause:
        answer = cause.response
        reason = _explain(place, answer.status_code, answer.headers.get("X-Error-Code"), token)
        raise DownloadError(f"{url} cannot be listed: {reason}") from cause
    except HTTPError as cause:  # of whichever client the hub's library uses
        raise DownloadError(f"{url} cannot be listed: {cause}", fix=_NOT_LISTED) from cause
    files = [entry for entry in entries if isinstance(entry, RepoFile)]
    return sorted(map(_hub_file, files), key=lambda file: file.path)


def _hub_file(entry: RepoFile) -> HubFile:
    checksum = None if entry.lfs is None else f"sha256:{entry.lfs.sha256}"
    return HubFile(path=entry.path, bytes=entry.size, checksum=checksum)


_DENIED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}


def _endpoint(url: str) -> str | None:
    """Return ``HF_ENDPOINT`` as it is now; huggingface_hub itself reads it once, on import."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in _YES:
        raise DownloadError(
            f"{url} is on the network, and HF_HUB_OFFLINE is set",
            fix="Unset it, or give a folder that has the file by --from.",
        )
    return os.environ.get("HF_ENDPOINT") or None


def _explain(place: HubPlace, status: int, code: str | None, token: str | None) -> str:
    page = f"https://huggingface.co/datasets/{place.repo}"
    if code == "EntryNotFound":
        return f"{place.repo} has no file {place.path}"
    if code == "RevisionNotFound":
        return f"{place.repo} has no revision {place.revision}"
    if status == HTTPStatus.UNAUTHORIZED and token is not None and code is None:
        return "the token is not valid; set HF_TOKEN to another, or run `hf auth login`"
    if code == "GatedRepo" or status == HTTPStatus.FORBIDDEN:
        login = "" if token is not None else ", then set HF_TOKEN or run `hf auth login`"
        return f"access must be granted; accept the terms at {page}{login}"
    login = "" if token is not None else " or is private: then set HF_TOKEN"
    return f"the hub has no data set {place.repo}{login}"
