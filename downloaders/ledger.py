"""``raw/<dataset>/ledger.jsonl``: where every file came from, one JSON line each, append-only."""

from __future__ import annotations

import fcntl
import io
import os
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from downloaders.disk import disk_errors
from downloaders.group_commit import GroupCommit
from schemas.errors import DataError

LEDGER_NAME = "ledger.jsonl"


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file that was brought, or one folder that stands in for it."""

    name: str
    """Name of the published file."""
    kind: Literal["file", "folder"]
    url: str
    """Where the bytes came from, without secrets; for a folder its absolute path."""
    bytes: int | None
    """None for a folder: nothing is copied, so nothing is counted."""
    sha256: str | None
    """Of the bytes as they were brought; None for a folder."""
    checksum: str | None
    """As the publisher states it; None when nobody does."""
    verified: bool
    """Whether the bytes match ``checksum``."""
    when: str
    """UTC, ISO 8601."""
    licence: str
    """The terms as they were shown."""
    licence_accepted: bool
    """Whether somebody said so, by ``--accept-licence``."""

    @property
    def digest(self) -> str:
        """``sha256:…``, or ``unverified`` for a folder."""
        return "unverified" if self.sha256 is None else f"sha256:{self.sha256}"


class Ledger:
    """The entries of one data set's raw folder. Several processes may append."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LEDGER_NAME
        self._commit: GroupCommit[LedgerEntry] = GroupCommit(self._append_all)
        self._lock = threading.Lock()
        self._latest: dict[str, LedgerEntry] = {}
        self._read = self._lines = 0

    def entries(self) -> tuple[LedgerEntry, ...]:
        """Return all entries, oldest first; a last line that a crash cut off does not count.

        Raises
        ------
        DataError
            A finished line is no entry.
        """
        lines = self._finished_lines(0)
        return tuple(self._parse(line, number) for number, line in enumerate(lines, start=1))

    def latest(self) -> dict[str, LedgerEntry]:
        """Return the newest entry of each name."""
        with self._lock:
            self._read_on()
            return dict(self._latest)

    def newest(self, name: str) -> LedgerEntry | None:
        """Return the newest entry of ``name``, None if there is none."""
        with self._lock:
            self._read_on()
            return self._latest.get(name)

    def append(self, entry: LedgerEntry) -> None:
        """Add one entry, durably; a line that a crash cut off is dropped first."""
        self._commit.add(entry)

    def _append_all(self, entries: Sequence[LedgerEntry]) -> None:
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                end = _drop_unfinished_line(file)
                lines = [msgspec.json.encode(entry) + b"\n" for entry in entries]
                file.write(b"".join(lines))
                os.fsync(file.fileno())
        with self._lock:
            if self._read == end:  # nobody else wrote between
                for entry, line in zip(entries, lines, strict=True):
                    self._note(entry, len(line))

    def _read_on(self) -> None:
        """Take in the lines that other processes have added since."""
        try:
            if self.path.stat().st_size <= self._read:
                return
        except FileNotFoundError:
            return
        for line in self._finished_lines(self._read):
            self._note(self._parse(line, self._lines + 1), len(line))

    def _note(self, entry: LedgerEntry, size: int) -> None:
        self._latest[entry.name] = entry
        self._lines += 1
        self._read += size

    def _finished_lines(self, start: int) -> list[bytes]:
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                body = file.read()
        except FileNotFoundError:
            return []
        return body[: body.rfind(b"\n") + 1].splitlines(keepends=True)

    def _parse(self, line: bytes, number: int) -> LedgerEntry:
        try:
            return msgspec.json.decode(line, type=LedgerEntry)
        except (msgspec.DecodeError, UnicodeDecodeError) as cause:
            raise DataError(
                f"line {number} of {self.path} is not a ledger entry: {cause}",
                fix="Remove the line; the file it spoke of is then checked again by download.",
            ) from cause


def utc_now() -> str:
    """Return the time of an entry."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _drop_unfinished_line(file: io.FileIO) -> int:
    """Return where the next line begins."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 1))
    if file.read() in (b"", b"\n"):
        return size
    file.seek(0)
    return file.truncate(file.read().rfind(b"\n") + 1)
