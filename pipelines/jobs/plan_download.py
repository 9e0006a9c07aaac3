"""What is to be downloaded before a plan can begin, and for how long its links last."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from downloaders.base import DownloadContext
from downloaders.expiry import link_expiry
from downloaders.registry import DATASETS, find_dataset


class PlannedDownload(msgspec.Struct, frozen=True, kw_only=True):
    """The archives of the planned splits."""

    files: int
    bytes: int
    """Of those whose size is published."""
    unknown_sizes: int
    present_bytes: int
    """Of those that lie in the raw folder with the published size; their bytes are not read."""
    links_end: str | None
    """When the first signed link ends; None when no link says so."""
    needed_mb_s: float | None
    """1e6 bytes a second that bring the rest in time; None without signed links."""


def plan_download(
    dataset: str,
    splits: Sequence[str],
    raw: Path,
    links: Path | None,
    now: datetime | None = None,
) -> PlannedDownload | None:
    """Return the download of these splits; None when the data set is not of the registry.

    Parameters
    ----------
    raw
        The folder of all raw data.
    links
        The user's list of signed links.
    """
    if dataset not in DATASETS:
        return None
    downloader, folder = find_dataset(dataset), raw / dataset
    known = {facts.name for facts in downloader.entry.splits}
    wanted = [split for split in splits if split in known]
    if not wanted:
        return None
    planned = downloader.plan(wanted, DownloadContext(folder=folder, links=links))
    ends = [end for file in planned.files for end in map(link_expiry, file.urls) if end]
    present = sum(
        file.bytes or 0 for file in planned.files if _is_whole(folder / file.name, file.bytes)
    )
    left = planned.total_bytes - present
    rate = None
    if ends:
        seconds = (min(ends) - (now or datetime.now(UTC))).total_seconds()
        rate = left / seconds / 1e6 if seconds > 0 else float("inf")
    return PlannedDownload(
        files=len(planned.files),
        bytes=planned.total_bytes,
        unknown_sizes=planned.unknown_sizes,
        present_bytes=present,
        links_end=min(ends).isoformat() if ends else None,
        needed_mb_s=rate,
    )


def _is_whole(path: Path, size: int | None) -> bool:
    return path.is_file() and path.stat().st_size == size
