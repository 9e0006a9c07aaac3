"""Drivers that run in one process: killed within a write, around a link, and at random times."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.commands import Command
from tests.chaos.kill_points import draw
from tests.chaos.pipeline import Pipeline, require_same, tree
from tests.chaos.tally import Tally

_FROM_OUTSIDE = 0.25
"""Share of the kills that come at a random time."""
_LONGEST_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalKills:
    """Makes roots by commands that are killed again and again."""

    pipeline: Pipeline
    folder: Path
    source: random.Random
    tally: Tally

    def run(self, kills: int) -> None:
        end = self.tally.killed + kills
        while self.tally.killed < end:
            self._make_root(self.folder / f"root-{self.tally.roots}", end)

    def _make_root(self, root: Path, end: int) -> None:
        overlap, hidden_files = self.source.choice((1, 2)), self.source.random() < 0.5
        notes, before = root.with_suffix(".notes"), self.tally.killed
        for arguments in self.pipeline.commands(str(root), "--overlap", str(overlap)):
            command = Command(
                arguments=arguments,
                log=root.with_suffix(".log"),
                notes=notes,
                hidden_files=hidden_files,
            )
            while self.tally.killed < end and self._kill(command):
                pass
            assert not command.run()
        remove_leftovers(root, self.tally)
        require_same(tree(root), self.pipeline.expected)
        killed = self.tally.killed - before
        self.tally.end_root(self.pipeline.lost_units(notes), killed, overlap)

    def _kill(self, command: Command) -> bool:
        """Run the command to be killed; False when it was done before that."""
        if self.source.random() < _FROM_OUTSIDE:
            kind, process = "any time", command.start()
            process.join(self.source.uniform(0.0, _LONGEST_SECONDS))
            process.kill()
        else:
            point = draw(self.source)
            kind, process = point.step, command.killed_at(point).start()
        killed = command.was_killed(process)
        if killed:
            self.tally.kills[f"driver, {kind}"] += 1
        return killed


def remove_leftovers(root: Path, tally: Tally) -> None:
    """Run gc; then no hidden file is left."""
    log = root.with_suffix(".gc")
    Command(arguments=["gc", "--older-than", "0", "--root", str(root)], log=log).run()
    tally.leftovers += sum(line.startswith("unfinished") for line in log.read_text().splitlines())
    assert [path for path in root.rglob(".*") if path.is_file()] == []
