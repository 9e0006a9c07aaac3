"""A disk that is full again and again: each command goes on when there is a little more room."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

from tests.chaos.commands import Command
from tests.chaos.local_kills import remove_leftovers
from tests.chaos.pipeline import Pipeline, require_same, tree
from tests.chaos.small_disk import small_disk
from tests.chaos.tally import Tally

_PAGE, _FIRST_PAGES, _MOST_PAGES = 4096, 30, 60


def fill_disk(pipeline: Pipeline, folder: Path, source: random.Random, tally: Tally) -> None:
    """Make one root on a disk that is too small at first."""
    with small_disk(folder / f"disk-{tally.roots}", kibibytes=_FIRST_PAGES * 4) as disk:
        root, pages = disk / "root", _FIRST_PAGES
        for arguments in pipeline.commands(str(root), "--force"):
            command = Command(arguments=arguments, log=folder / "disk.log")
            while not _fits(command):
                tally.faults["disk full"] += 1
                require_part(tree(root) if root.exists() else {}, pipeline.expected)
                pages += source.randint(1, _MOST_PAGES)
                _resize(disk, pages)
        _resize(disk, 100_000)
        remove_leftovers(root, tally)
        require_same(tree(root), pipeline.expected)
        tally.roots += 1


def _fits(command: Command) -> bool:
    process = command.start()
    process.join()
    if process.exitcode == 0:
        return True
    assert process.exitcode == 1, command.failure(process)
    assert "No space left" in command.log.read_text(), command.failure(process)
    return False


def require_part(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    """Whatever is visible is whole and right."""
    leased = {key for key in found if key.startswith("leases/")}
    assert [key for key in found.keys() - leased if expected.get(key) != found[key]] == []


def _resize(disk: Path, pages: int) -> None:
    options = f"remount,size={pages * _PAGE}"
    subprocess.run(["mount", "-o", options, str(disk)], check=True)
