"""Commands of `samdistill` in processes of their own, which may be killed at any time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.chaos.kill_points import KillPoint, install

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.chaos.preloaded"])
_PART_BYTES = 20_000
"""Also small shards are uploaded in several parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    arguments: Sequence[str]
    log: Path
    kill: KillPoint | None = None
    notes: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    hidden_files: bool = False
    """Write as on NFS: files that are not finished have names."""

    def start(self) -> BaseProcess:
        process = _FORKS.Process(target=_run, args=(self,))
        process.start()
        return process

    def run(self) -> bool:
        """Run to the end; say whether it was killed.

        Raises
        ------
        AssertionError
            It failed.
        """
        return self.was_killed(self.start())

    def killed_at(self, point: KillPoint) -> Command:
        return replace(self, kill=point)

    def was_killed(self, process: BaseProcess) -> bool:
        process.join()
        assert process.exitcode in {0, -signal.SIGKILL}, self.failure(process)
        return bool(process.exitcode)

    def failure(self, process: BaseProcess) -> str:
        said = self.log.read_text()[-3000:]
        return f"exit code {process.exitcode} of {' '.join(self.arguments)}\n{said}"


def _run(command: Command) -> None:
    os.environ.update(command.environment)
    with command.log.open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    install(command.kill, str(command.notes) if command.notes else None)
    from pipelines.cli import main
    from pipelines.store import local, s3_upload

    if command.hidden_files:
        local._open_nameless = lambda folder: None
    s3_upload.PART_BYTES = _PART_BYTES
    sys.argv = ["samdistill", *command.arguments]
    main.main()
