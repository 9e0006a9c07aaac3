"""A Ray cluster of three nodes: actors, nodes and drivers are killed while shards are computed."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.chaos.commands import Command
from tests.chaos.kill_points import DEATHS, NOTES, written
from tests.chaos.local_kills import remove_leftovers
from tests.chaos.pipeline import Tree, require_same, tree
from tests.chaos.tally import Tally
from tests.jobs import normalized_split as made

PROJECT = Path(__file__).parents[2]
_MARK = "CHAOS_MARK"
_WORKERS = 2
_OVERLAP = 2
_KINDS = ("actor", "actor", "actor", "node", "driver")
_STEP_SHARE = 0.4
"""Share of the kills that actors do to themselves, within a write or around a link."""
_CACHE = ("cache", "made-up", "--teacher", "tiny", "--device", "cpu", "--features", "image")


@dataclass(slots=True, kw_only=True)
class RayKills:
    """Makes the features of one split on a cluster, again and again."""

    folder: Path
    source: random.Random
    tally: Tally
    pictures: int = 120
    _deaths_seen: int = field(default=0, init=False)

    def run(self, kills: int) -> None:
        work = self.folder / "ray"
        (work / "deaths").mkdir(parents=True)
        expected = self._uninterrupted(work / "uninterrupted")
        steps = round(kills * _STEP_SHARE)
        environment = {
            _MARK: secrets.token_hex(8),
            NOTES: str(work / "notes"),
            DEATHS: f"{self.source.randrange(1 << 30)}:{steps}:{work / 'deaths'}",
            "PYTHONPATH": f"{PROJECT / 'tests/chaos/inject'}:{PROJECT}",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        }
        end = self.tally.killed + kills
        with three_nodes(environment) as nodes:
            while self.tally.killed < end:
                self._make_root(work, nodes, environment[_MARK], expected, end)

    def _uninterrupted(self, root: Path) -> Tree:
        made.normalize(root, made.Stills(count=self.pictures))
        log = root.with_suffix(".log")
        assert not Command(arguments=[*_CACHE, "--root", str(root)], log=log).run()
        return tree(root)

    def _make_root(self, work: Path, nodes: Nodes, mark: str, expected: Tree, end: int) -> None:
        root = work / f"root-{self.tally.roots}"
        made.normalize(root, made.Stills(count=self.pictures))
        (work / "notes").unlink(missing_ok=True)
        before = self.tally.killed
        command = Command(
            arguments=[
                *(*_CACHE, "--root", str(root), "--executor", "ray", "--address", nodes.address),
                *("--workers", str(_WORKERS), "--threads", "1", "--overlap", str(_OVERLAP)),
            ],
            log=work / "driver.log",
            environment=nodes.environment,
        )
        while not self._drive(command, nodes, mark, end):
            pass
        self._count_deaths(work / "deaths")
        remove_leftovers(root, self.tally)
        require_same(tree(root), expected)
        sums = written(work / "notes")
        lost = sum(count / len(expected[f"{shard}/0/0/0"]) - 1 for shard, count in sums.items())
        self.tally.end_root(lost, self.tally.killed - before, _OVERLAP * _WORKERS)

    def _drive(self, command: Command, nodes: Nodes, mark: str, end: int) -> bool:
        """Run a driver, killing what is there at random times; say whether it came to the end."""
        process = command.start()
        while process.is_alive():
            process.join(self.source.uniform(1.0, 6.0))
            if process.is_alive() and self.tally.killed < end:
                self._kill_something(process, nodes, mark)
        if command.was_killed(process):
            self.tally.kills["Ray driver"] += 1
            return False
        return True

    def _kill_something(self, driver: BaseProcess, nodes: Nodes, mark: str) -> None:
        kind = self.source.choice(_KINDS)
        if kind == "driver":
            driver.kill()
        elif kind == "node":
            nodes.replace(self.source)
            self.tally.kills["Ray node"] += 1
        elif workers := actors(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.source.choice(workers), 9)
                self.tally.kills["Ray actor, any time"] += 1

    def _count_deaths(self, folder: Path) -> None:
        """Count the actors that have killed themselves at a step; some have not come to it."""
        seen = sum(1 for path in folder.iterdir() if path.suffix == ".dead")
        self.tally.kills["Ray actor, at a step"] += seen - self._deaths_seen
        self._deaths_seen = seen


class Nodes:
    """A head without work, and two nodes with a place for one actor each."""

    def __init__(self, cluster: Any, environment: dict[str, str]) -> None:
        self._cluster, self.environment = cluster, environment
        self._nodes = [self._add() for _ in range(_WORKERS)]

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def replace(self, source: random.Random) -> None:
        """Kill all processes of a node, and add another one."""
        node = self._nodes.pop(source.randrange(len(self._nodes)))
        self._cluster.remove_node(node, allow_graceful=False)
        self._nodes.append(self._add())

    def _add(self) -> Any:
        return self._cluster.add_node(num_cpus=1, object_store_memory=80 << 20)


@contextlib.contextmanager
def three_nodes(environment: dict[str, str]) -> Iterator[Nodes]:
    """Run a cluster whose processes have this environment."""
    before = dict(os.environ)
    os.environ.update(environment)
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "object_store_memory": 80 << 20,
            "include_dashboard": False,
        },
    )
    try:
        yield Nodes(cluster, environment)
    finally:
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


def actors(mark: str) -> list[int]:
    """Return the processes of actors that belong to the marked cluster."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_actor = (process / "cmdline").read_bytes().startswith(b"ray::_Worker")
            if is_actor and f"{_MARK}={mark}".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
    return found
