"""Looks at a machine before it is used: what is missing is said in seconds, not after an hour."""

from __future__ import annotations

import os
import re
import resource
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from time import monotonic
from typing import Literal

from downloaders.disk import existing_folder, free_bytes
from pipelines.engine.scratch import scratch_path
from pipelines.store.local import LocalObjectStore
from pipelines.store.objects import ObjectStore
from pipelines.store.open import open_store
from schemas.errors import SamdistillError

State = Literal["ok", "note", "bad"]

_SHOWN = ("torch", "transformers", "ray", "zarr")
_SOCKET_PATH = 107
_RAY_PATH = len("/session_2026-11-25_10-31-28_123456_1234567/sockets/plasma_store")
_OPEN_FILES = 4096
"""Connections of a download, shards of a stream and Ray's own come to more than the usual 1024."""
_SHARED_BYTES = 200 << 20
"""Twice Ray's object store, which holds units and reports only."""
_ROOM_BYTES = 20 << 30
_SECONDS = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One thing that was looked at."""

    what: str
    state: State
    """``note``: most things work without it."""
    found: str
    advice: str = ""


def examine(root: str) -> Iterator[Diagnosis]:
    """Yield what this machine has, and whether ``root`` takes and keeps files.

    Nothing stays in the root: a file of a few bytes is made there and removed.
    """
    # A file system or a bucket that hangs must not keep the rest from being said.
    reached = _Answer(lambda: _root(root))
    is_folder = not root.startswith("s3://")
    room = _Answer(lambda: _room(Path(root), f"disk of {root}")) if is_folder else None
    for check in (_packages, _gpu, _memory, _shared, _open_files, _ray_folder, _token):
        yield check()
    yield _room(Path(tempfile.gettempdir()), "temporary files")
    if room is not None and (found := room.within(_SECONDS)):
        yield found
    yield reached.within(_SECONDS) or Diagnosis(
        what=f"root {root}",
        state="bad",
        found=f"no answer within {_SECONDS:.0f} s",
        advice="Look at the network, the endpoint (AWS_ENDPOINT_URL) and the mount.",
    )


class _Answer:
    """A check in a thread that may never end."""

    def __init__(self, check: Callable[[], Diagnosis]) -> None:
        self._found: list[Diagnosis] = []
        self._begun = monotonic()
        self._thread = threading.Thread(
            target=lambda: self._found.append(check()), daemon=True, name="doctor"
        )
        self._thread.start()

    def within(self, seconds: float) -> Diagnosis | None:
        """Return the answer, at the latest so long after the check has begun."""
        self._thread.join(max(0.0, self._begun + seconds - monotonic()))
        return self._found[0] if self._found else None


def _packages() -> Diagnosis:
    python = ".".join(map(str, sys.version_info[:3]))
    stated = [text for text in requires("samdistill") or () if "extra ==" not in text]
    names = [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in stated]
    missing = [name for name in names if _version(name) is None]
    shown = ", ".join(f"{name} {_version(name)}" for name in _SHOWN)
    return Diagnosis(
        what="packages",
        state="bad" if missing else "ok",
        found=f"Python {python}, {shown}",
        advice=f"Install {', '.join(missing)}." if missing else "",
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gpu() -> Diagnosis:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        kinds = {torch.cuda.get_device_name(number) for number in range(count)}
        memory = torch.cuda.get_device_properties(0).total_memory
        found = f"{count}: {', '.join(sorted(kinds))}, {_gib(memory)} each"
        return Diagnosis(what="GPU", state="ok", found=found)
    advice = "On a few cores SAM3 takes about a minute per image; --teacher tiny does without."
    if shutil.which("nvidia-smi"):
        built = torch.version.cuda or "no CUDA"
        advice = f"There is a driver: torch was built for {built}. " + advice
    return Diagnosis(what="GPU", state="note", found="none", advice=advice)


def _memory() -> Diagnosis:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = f"{len(os.sched_getaffinity(0))} cores, {_gib(size)} of memory"
    few = size < 8 << 30
    advice = "The official SAM3 alone takes 3.4 GB." if few else ""
    return Diagnosis(what="machine", state="note" if few else "ok", found=found, advice=advice)


def _shared() -> Diagnosis:
    folder = Path("/dev/shm")
    free = free_bytes(folder) if folder.is_dir() else 0
    small = free < _SHARED_BYTES
    return Diagnosis(
        what="/dev/shm",
        state="bad" if small else "ok",
        found=f"{_gib(free)} free",
        advice="Ray needs 200 MB: docker run --shm-size 1g; or --executor local." if small else "",
    )


def _open_files() -> Diagnosis:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = soft != resource.RLIM_INFINITY and soft < _OPEN_FILES
    most = "unlimited" if hard == resource.RLIM_INFINITY else hard
    return Diagnosis(
        what="open files",
        state="note" if few else "ok",
        found=f"up to {soft}, {most} on request",
        advice=f"Run `ulimit -n {_OPEN_FILES}` before large downloads and Ray." if few else "",
    )


def _ray_folder() -> Diagnosis:
    folder = os.environ.get("RAY_TMPDIR") or str(scratch_path("ray", short=True))
    long = len(folder) + _RAY_PATH > _SOCKET_PATH
    return Diagnosis(
        what="Ray's folder",
        state="bad" if long else "ok",
        found=f"{folder}, {len(folder)} characters",
        advice=f"Set RAY_TMPDIR to at most {_SOCKET_PATH - _RAY_PATH}, as /tmp/r: paths of sockets "
        f"end at {_SOCKET_PATH}."
        if long
        else "",
    )


def _token() -> Diagnosis:
    from huggingface_hub import get_token

    if get_token() is not None:
        return Diagnosis(what="Hugging Face token", state="ok", found="there is one")
    return Diagnosis(
        what="Hugging Face token",
        state="note",
        found="none",
        advice="facebook/sam3 and some data sets are gated: set HF_TOKEN, or run `hf auth login`.",
    )


def _room(folder: Path, what: str) -> Diagnosis:
    free = free_bytes(folder.absolute())
    little = free < _ROOM_BYTES
    advice = "`samdistill plan` says what a run needs." if little else ""
    return Diagnosis(
        what=what, state="note" if little else "ok", found=f"{_gib(free)} free", advice=advice
    )


def _root(root: str) -> Diagnosis:
    """Make a file twice, of which the second must be refused, and remove it."""
    what, key = f"root {root}", f"doctor-{secrets.token_hex(8)}"
    begun = monotonic()
    try:
        store = _open(root)
        first = store.put_if_absent(key, b"doctor")
        try:
            second, kept = store.put_if_absent(key, b"other"), store.get(key)
        finally:
            store.delete(key)
    except (SamdistillError, OSError) as error:
        return Diagnosis(
            what=what,
            state="bad",
            found=" ".join(str(error).split()),
            advice="Name a folder that you may write, or a bucket with your keys (AWS_…).",
        )
    if (first, second, kept) != (True, False, b"doctor"):
        return Diagnosis(
            what=what,
            state="bad",
            found="a file that exists is replaced by a second one",
            advice="Use a file system with hard links, or a service that knows If-None-Match.",
        )
    took = f"takes and keeps files, {monotonic() - begun:.2f} s for four requests"
    return Diagnosis(what=what, state="ok", found=took)


def _open(root: str) -> ObjectStore:
    """Open the root, or the nearest folder above that is there."""
    if root.startswith("s3://"):
        return open_store(root)
    return LocalObjectStore(existing_folder(Path(root).absolute()))


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
