"""The pause of a run whose signed links have ended, until its list is replaced by a fresh one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from downloaders.base import RemoteFile
from downloaders.links import is_dead, read_links
from pipelines.jobs.link_watch import Warn
from schemas.errors import SamdistillError

_LOOK_SECONDS = 1.0


def wait_for_links(
    path: Path,
    files: Sequence[RemoteFile],
    warn: Warn,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[RemoteFile, ...]:
    """Return those of ``files`` for which the list at ``path`` has another link, one that lives.

    Waits until there is at least one. A list that cannot be read is reported, once for each state
    in which it is found: it may be half written.

    Parameters
    ----------
    files
        With the links that have ended.
    """
    ended = f"the link of {files[0].name} has ended"
    if len(files) > 1:
        ended = f"the links of {len(files)} files have ended, first {files[0].name}"
    warn(
        f"paused: {ended}. Save a fresh list as {path}, and this goes on; Ctrl-C ends it, and the "
        "same command goes on later"
    )
    seen = None
    while True:
        state = _state(path)
        if state is not None and state != seen:
            seen = state
            fresh = _fresh(path, files, warn)
            if fresh:
                warn(f"a fresh list: going on with {len(fresh)} of {len(files)} files")
                return fresh
        sleep(_LOOK_SECONDS)


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:  # it is being replaced
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _fresh(path: Path, files: Sequence[RemoteFile], warn: Warn) -> tuple[RemoteFile, ...]:
    try:
        links = read_links(path)
    except SamdistillError as error:
        warn(str(error))
        return ()
    now = datetime.now(UTC)
    renewed = [
        replace(file, urls=(links[file.name],))
        for file in files
        if file.name in links and links[file.name] not in file.urls
    ]
    return tuple(file for file in renewed if not is_dead(file, now))
