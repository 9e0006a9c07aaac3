"""Lists of signed links, as the publisher of SA-1B and SA-V hands them out to a person."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from schemas.ids import digest_bytes

_EXPIRES = 0xF4865700
"""First second of the year 2100; links carry it in hex."""


def write_links(path: Path, base_url: str, names: Iterable[str]) -> Path:
    """Write the tab-separated list of links to the files ``names`` at ``base_url``.

    They expire in 2100. As in a real list, rows are not sorted and the last one has no newline.
    An older list is replaced: the demo's server has another address at each start.
    """
    rows = ["file_name\tcdn_link"]
    for name in sorted(names, key=lambda name: digest_bytes(name.encode())):
        signature = digest_bytes(name.encode())[:24]
        link = f"{base_url.rstrip('/')}/{name}?ccb=10-5&oh=00_{signature}&oe={_EXPIRES:X}"
        rows.append(f"{name}\t{link}&_nc_sid=0")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_text("\n".join(rows))
    return unfinished.replace(path)
