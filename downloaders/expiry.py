"""When a signed link ends, read from the link itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit


def link_expiry(url: str) -> datetime | None:
    """Return when a signed link ends; None when it does not say so.

    Known are ``oe`` (hexadecimal Unix time), ``X-Amz-Date`` with ``X-Amz-Expires``, and
    ``Expires`` (Unix time).
    """
    try:
        query = dict(parse_qsl(urlsplit(url).query))
        if "oe" in query:
            return datetime.fromtimestamp(int(query["oe"], 16), UTC)
        if "X-Amz-Date" in query and "X-Amz-Expires" in query:
            signed = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            return signed + timedelta(seconds=int(query["X-Amz-Expires"]))
        if "Expires" in query:
            return datetime.fromtimestamp(int(query["Expires"]), UTC)
    except (ValueError, OverflowError, OSError):
        # A parameter of that name with another meaning says nothing about the end.
        return None
    return None
