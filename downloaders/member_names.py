"""Which names of archive members are safe to use as relative paths."""

from __future__ import annotations

import re
from collections.abc import Iterable

from schemas.errors import ArchiveError

_DRIVE = re.compile(r"[A-Za-z]:")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")


def check_member_name(archive: object, name: str) -> str:
    """Return ``name`` when it is a plain relative POSIX path; ``archive`` is for the message.

    Raises
    ------
    ArchiveError
        Joined to a folder it could point outside, or it reads differently elsewhere.
    """
    if (
        _UNSAFE.search(name)
        or _DRIVE.match(name)
        or any(part in ("", ".", "..") for part in name.split("/"))
    ):
        raise ArchiveError(
            f"{archive} has a member with the unsafe name {name!r}",
            expected="relative paths with forward slashes and without '..'",
            fix="Do not use this archive; download it from its publisher.",
        )
    return name


def check_unique(archive: object, names: Iterable[str]) -> None:
    """Raise ``ArchiveError`` when a name appears twice: readers would disagree which one counts."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ArchiveError(f"{archive} has two members named {name!r}")
        seen.add(name)


def no_member(archive: object, name: str) -> ArchiveError:
    """Return the error for a member that is not there."""
    return ArchiveError(
        f"{archive} has no member {name!r}",
        fix="It is incomplete, or is not the file that its name says.",
    )
