"""Makes this process kill itself at its n-th step in writing a root, and note what it writes.

The steps are those of the operating system, so nothing of the project has to take part.
"""

from __future__ import annotations

import os
import random
import re
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Step = Literal["write", "link", "linked"]
"""Half of a buffer is written; a file is whole and has no name; it has its name and no more."""
STEPS: tuple[Step, ...] = ("write", "link", "linked")

NOTES = "CHAOS_NOTES"
"""Environment: the file to which each write of features is noted, as ``key bytes``."""
DEATHS = "CHAOS_DEATHS"
"""Environment: ``seed:count:folder``; the first ``count`` processes that come to a step die."""

_FEATURES = re.compile(r"(features/.+/c/\d+)(?:/0)*/[^/]+")


@dataclass(frozen=True, slots=True)
class KillPoint:
    step: Step
    number: int
    """From 1."""


def draw(source: random.Random, longest: int = 12) -> KillPoint:
    return KillPoint(source.choice(STEPS), source.randint(1, longest))


def install(point: KillPoint | None, notes: str | None = None) -> None:
    """Watch the steps of this process from now on."""
    _Watch(lambda: point, lambda: None, notes).install()


def install_from_environment(environment: Mapping[str, str]) -> None:
    """The same for processes that others start, such as the workers of Ray."""
    if DEATHS in environment:
        deaths = _Deaths(environment[DEATHS])
        _Watch(deaths.take, deaths.note, environment.get(NOTES)).install()


class _Deaths:
    """So many deaths for all processes together; ``folder/N.dead`` says that one has come."""

    def __init__(self, text: str) -> None:
        self._seed, self._count, self._folder = text.split(":", maxsplit=2)
        self._taken: Path | None = None

    def take(self) -> KillPoint | None:
        """Return where this process has to die, if a death is left for it."""
        for number in range(int(self._count)):
            place = Path(self._folder, str(number))
            try:
                place.touch(exist_ok=False)
            except FileExistsError:
                continue
            self._taken = place
            return draw(random.Random(f"{self._seed} {number}"))
        return None

    def note(self) -> None:
        if self._taken is not None:
            self._taken.with_suffix(".dead").touch()


class _Watch:
    def __init__(
        self, take: Callable[[], KillPoint | None], dying: Callable[[], None], notes: str | None
    ) -> None:
        self._take, self._dying, self._notes = take, dying, notes
        self._point: KillPoint | None = None
        self._counts = dict.fromkeys(STEPS, 0)
        self._lock = threading.Lock()
        self._writev, self._link = os.writev, os.link

    def install(self) -> None:
        os.writev, os.link = self.writev, self.link  # type: ignore[assignment]

    def writev(self, descriptor: int, buffers: Sequence[Any]) -> int:
        if self._is_time("write"):
            body = b"".join(bytes(buffer) for buffer in buffers)
            os.write(descriptor, body[: len(body) // 2])
            self._note(descriptor, len(body) // 2)
            self._die()
        count = self._writev(descriptor, buffers)
        self._note(descriptor, count)
        return count

    def link(self, *arguments: Any, **named: Any) -> None:
        if self._is_time("link"):
            self._die()
        self._link(*arguments, **named)
        if self._is_time("linked"):
            self._die()

    def _is_time(self, step: Step) -> bool:
        with self._lock:
            if not any(self._counts.values()):
                self._point = self._take()
            self._counts[step] += 1
            return self._point == KillPoint(step, self._counts[step])

    def _die(self) -> None:
        self._dying()
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()

    def _note(self, descriptor: int, count: int) -> None:
        if self._notes is None:
            return
        if found := _FEATURES.search(os.readlink(f"/proc/self/fd/{descriptor}")):
            with open(self._notes, "a") as file:
                file.write(f"{found[1]} {count}\n")


def written(notes: Path) -> dict[str, int]:
    """Return the bytes of features that were written, by shard."""
    sums: dict[str, int] = {}
    for line in notes.read_text().splitlines() if notes.exists() else ():
        key, _, count = line.rpartition(" ")
        sums[key] = sums.get(key, 0) + int(count)
    return sums
