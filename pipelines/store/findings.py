"""What a check says: findings, each about one stored file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong."""

    key: str
    """The file."""
    problem: str
    expected: str = ""
    got: str = ""

    def __str__(self) -> str:
        text = f"{self.key}: {self.problem}"
        if self.expected:
            text += f"; expected {self.expected}"
        return f"{text}; got {self.got}" if self.got else text


class Check(Protocol):
    """A part of a verification that runs by itself, in any thread."""

    @property
    def key(self) -> str:
        """The file that a failure of the check itself is reported for."""

    @property
    def rows(self) -> int:
        """Rows whose content it reads."""

    def run(self) -> Iterator[Finding]:
        """Yield all that is wrong. May raise what reading a damaged file raises."""
