"""One tree of errors. Each is also the builtin that a caller would catch.

A message says what happened and where, what was expected, what was found, and what to do.
"""

from __future__ import annotations

from typing import Any


class SamdistillError(Exception):
    """Base of all errors that this project raises on purpose.

    Parameters
    ----------
    what
        One sentence: what is wrong, naming the file, key or option.
    expected, got
        The two sides of a failed check, when there are two.
    fix
        What the reader should do now.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        expected: object = None,
        got: object = None,
        fix: str | None = None,
    ) -> None:
        self.what, self.expected, self.got, self.fix = what, expected, got, fix
        super().__init__(what)

    def __str__(self) -> str:
        text = self.what
        if self.expected is not None:
            text += f"; expected {self.expected}"
        if self.got is not None:
            text += f"; got {self.got}"
        return f"{text}. {self.fix}" if self.fix else text

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments would be lost by the default: errors travel between processes.
        return _rebuild, (type(self), self.what, self.expected, self.got, self.fix)


def _rebuild(
    cls: type[SamdistillError], what: str, expected: object, got: object, fix: str | None
) -> SamdistillError:
    return cls(what, expected=expected, got=got, fix=fix)


class UsageError(SamdistillError, ValueError):
    """A command or call with arguments that cannot be right. Exit code 2."""

    exit_code = 2


class UnknownNameError(UsageError, KeyError):
    """A name that no registry knows; the message lists the nearest ones."""


class DataError(SamdistillError, ValueError):
    """Input that breaks its own format: a damaged image, a malformed annotation file."""


class ArchiveError(DataError, OSError):
    """An archive that is truncated, unsafe or not what its name says."""


class DownloadError(SamdistillError, OSError):
    """Bytes that could not be fetched, or that fail their size or checksum."""


class StorageError(SamdistillError, OSError):
    """The root refuses: full disk, no permission, object store down. Never a matter of one unit."""


class ConflictError(SamdistillError, FileExistsError):
    """Something exists under the same name with other content."""


class IntegrityError(SamdistillError, ValueError):
    """Stored bytes that differ from what was recorded when they were written."""


class IdentityError(SamdistillError, ValueError):
    """Features of another teacher, layer, preprocessing or split than the one asked for."""


class IncompleteError(SamdistillError, FileNotFoundError):
    """An earlier step has not finished; the message names the command that finishes it."""


class BudgetError(SamdistillError, RuntimeError):
    """More samples were quarantined than the budget allows."""


class TrainingError(SamdistillError, RuntimeError):
    """A student that cannot go on: no memory left, a loss that is not a number."""
