"""The unfinished file: ``NAME.part``, beside it ``NAME.part.json`` with what its bytes belong to.

The process may die anywhere. A complete file gets its final name by ``link(2)``, in one step.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from downloaders.digests import Digests, digest_file
from downloaders.disk import disk_errors, require_space
from downloaders.group_commit import GroupCommit
from schemas.errors import ConflictError, DownloadError

_NOTED_BYTES = 1 << 18
_LITTLE_BYTES = 1 << 20
"""Not worth asking whether they fit; a full disk is noticed when they are written."""
_STEP_BYTES = 16 << 20
"""So often append starts writing back, and asks whether the rest fits: others fill the disk too."""


class PartState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which version of which URL the first bytes came from."""

    url: str
    validator: str | None
    total: int | None


class PartFile:
    """The bytes of one file so far. Locked, so that two processes never write the same part.

    Before there is a byte to write, there is no part on disk: waiting for a server leaves nothing.

    Attributes
    ----------
    resumed_at
        How many of the bytes are from an earlier run.
    joined
        Whether the bytes come from more than one answer, so that a wrong join is possible.
    """

    def __init__(self, target: Path, checksum: str | None) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self._state_path = target.with_name(target.name + ".part.json")
        self._checksum, self._has_note = checksum, False
        if target.exists():
            # After a crash between link and unlink, the part and the target are the same file.
            raise ConflictError(f"{target} exists", fix="Delete it to fetch it again.")
        self._descriptor: int | None = None
        self._total: int | None = None
        self.size = self._step = 0
        try:
            if self.path.exists():
                self._descriptor = self._open()
                self.size = os.fstat(self._descriptor).st_size
            self.resumed_at = self.size
            self.joined = self.size > 0
            self.state = self._read_state()
            self.digests = digest_file(self.path, checksum) if self.size else Digests(checksum)
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.size == 0 and self._descriptor is not None:
            self.path.unlink(missing_ok=True)
            self._state_path.unlink(missing_ok=True)
        self._close()

    def restart(self, state: PartState | None) -> None:
        """Drop all bytes; those that follow belong to ``state``."""
        with disk_errors(self.path):
            if self.size:
                os.ftruncate(self._opened(), 0)
            elif state is not None:
                self._opened()
            self.size = self.resumed_at = self._step = 0
            self.joined = False
            self.state, self.digests = state, Digests(self._checksum)
            # To begin a small file again costs less than to keep a note of it.
            if state is not None and (state.total is None or state.total >= _NOTED_BYTES):
                self._write_state(state)
            elif self._has_note:
                self._state_path.unlink(missing_ok=True)
                self._has_note = False

    def expect(self, total: int | None) -> None:
        """State how long the file will be, if that is known.

        Raises
        ------
        StorageError
            The rest does not fit on the disk. ``append`` raises it too, when room is taken later.
        """
        self._total = total
        if total is not None and total - self.size > _LITTLE_BYTES:
            self._require_room()

    def append(self, chunk: bytes) -> None:
        """Write the next bytes and hash them; now and then, see whether the rest still fits."""
        left = memoryview(chunk)
        with disk_errors(self.path):
            descriptor = self._opened()
            while left:
                left = left[os.write(descriptor, left) :]
        self.digests.update(chunk)
        self.size += len(chunk)
        if self.size - self._step >= _STEP_BYTES:
            # The disk begins now what publish would wait for at the end: 0.5 to 0.9 s for 2 GB.
            begun = self.size - self._step
            os.posix_fadvise(descriptor, self._step, begun, os.POSIX_FADV_DONTNEED)
            self._step = self.size
            self._require_room()

    def publish(self) -> None:
        """Make the part durable and give it its final name.

        Raises
        ------
        ConflictError
            Another file has taken the name meanwhile; it stays, and so does the part.
        """
        with disk_errors(self.target):
            # Other threads sync theirs meanwhile; the file system commits them together.
            os.fsync(self._opened())
            try:
                link_new(self.path, self.target)
            except ConflictError:
                raise
            except OSError:  # a file system without links
                self.path.rename(self.target)
            self.path.unlink(missing_ok=True)
            if self._has_note:
                self._state_path.unlink(missing_ok=True)
            _FOLDERS.add(self.target.parent)

    def _require_room(self) -> None:
        # Without a total, at least what comes before the next step must fit.
        rest = _STEP_BYTES if self._total is None else self._total - self.size
        name, folder = self.target.name, self.target.parent
        if self.size == 0:
            require_space(folder, rest, name)
            return
        fix = f"Free some space, then run the same command: the {self.size} bytes so far stay."
        require_space(folder, rest, f"the rest of {name}", fix)

    def _opened(self) -> int:
        """Return the descriptor; the first call makes the part."""
        if self._descriptor is None:
            descriptor = self._open()
            if os.fstat(descriptor).st_size:
                # Somebody began it since this process looked.
                os.close(descriptor)
                raise self._taken()
            self._descriptor = descriptor
        return self._descriptor

    def _open(self) -> int:
        """Open and lock the part: from now on only this process changes it."""
        with disk_errors(self.path):
            descriptor = _open_for_appending(self.path)
        # The kernel drops the lock when the process dies, so a stale one cannot exist.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between open and lock, the process before us may have published what we opened.
            if os.stat(self.path).st_ino != os.fstat(descriptor).st_ino:
                raise BlockingIOError
        except (BlockingIOError, FileNotFoundError) as cause:
            os.close(descriptor)
            raise self._taken() from cause
        return descriptor

    def _taken(self) -> DownloadError:
        return DownloadError(
            f"{self.path} is being written by another process",
            fix="Wait until that download ends, then run the same command.",
        )

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _read_state(self) -> PartState | None:
        try:
            body = self._state_path.read_bytes()
        except FileNotFoundError:
            return None
        self._has_note = True
        try:
            return msgspec.json.decode(body, type=PartState)
        except msgspec.DecodeError:
            # Without it the bytes still count when a published checksum can judge them.
            return None

    def _write_state(self, state: PartState) -> None:
        temporary = self._state_path.with_name(self._state_path.name + ".tmp")
        temporary.write_bytes(msgspec.json.encode(state))
        temporary.replace(self._state_path)
        self._has_note = True


def _open_for_appending(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o644)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o644)


def part_bytes(target: Path) -> int:
    """Return how many bytes of ``target`` an interrupted download left."""
    part = target.with_name(target.name + ".part")
    return part.stat().st_size if part.exists() else 0


def discard_part(target: Path) -> None:
    """Remove what an interrupted download of ``target`` left, now that ``target`` is there."""
    for suffix in (".part", ".part.json"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)


def link_new(source: Path, target: Path) -> None:
    """Give ``source`` the second name ``target``, which must not exist.

    Raises
    ------
    ConflictError
        ``target`` exists.
    OSError
        The two are on different file systems, or links are not supported.
    """
    try:
        os.link(source, target)
    except FileExistsError as cause:
        raise ConflictError(
            f"{target} appeared while it was being fetched", fix="Run the same command again."
        ) from cause


def sync_folder(folder: Path) -> None:
    """Make new names in ``folder`` durable; without it a power cut may lose them."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse, and are durable
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folders(folders: Sequence[Path]) -> None:
    for folder in set(folders):
        sync_folder(folder)


_FOLDERS = GroupCommit(_sync_folders)
