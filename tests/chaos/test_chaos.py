"""The short form of ``make chaos``: a few kills of each kind, without Ray."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.commands import Command
from tests.chaos.fault_proxy import fault_proxy
from tests.chaos.full_disk import fill_disk
from tests.chaos.kill_points import KillPoint, Step
from tests.chaos.local_kills import LocalKills, remove_leftovers
from tests.chaos.pipeline import Pipeline, require_same, tree
from tests.chaos.s3_kills import S3Kills
from tests.chaos.s3_server import UTCNOW, s3_server
from tests.chaos.tally import Tally

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings(UTCNOW)]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return Pipeline.prepare(tmp_path_factory.mktemp("chaos"))


def test_killed_drivers(pipeline: Pipeline, tmp_path: Path) -> None:
    tally = Tally()
    LocalKills(pipeline=pipeline, folder=tmp_path, source=random.Random(1), tally=tally).run(4)
    assert tally.killed == 4


def test_a_disk_that_fills_up(pipeline: Pipeline, tmp_path: Path) -> None:
    tally = Tally()
    fill_disk(pipeline.only("davis"), tmp_path, random.Random(1), tally)
    assert tally.faults["disk full"] > 1


def test_a_bucket_behind_a_failing_network(pipeline: Pipeline, tmp_path: Path) -> None:
    """What a killed and disturbed pipeline leaves in a bucket is what is in a local root."""
    tally = Tally()
    with s3_server() as endpoint, fault_proxy(endpoint) as (proxy, faults):
        S3Kills(
            pipeline=pipeline,
            folder=tmp_path,
            source=random.Random(1),
            tally=tally,
            endpoint=endpoint,
            proxy=proxy,
            faults=faults,
        ).run(1)
    assert tally.killed == 1
    assert tally.faults.total() > 10


@pytest.mark.parametrize("step", ["write", "link", "linked"])
def test_kill_points_kill(pipeline: Pipeline, tmp_path: Path, step: Step) -> None:
    """The tests above would pass if nothing were killed: here it is seen what is left."""
    root = tmp_path / "root"
    first = pipeline.commands(str(root))[0]
    command = Command(arguments=first, log=tmp_path / "log", hidden_files=True)
    assert command.was_killed(command.killed_at(KillPoint(step, 1)).start())
    hidden = [path for path in root.rglob(".*") if path.is_file()]
    assert len(hidden) == 1
    assert len(tree(root)) == (2 if step == "linked" else 1)
    tally = Tally()
    remove_leftovers(root, tally)
    assert tally.leftovers == 1
    for _ in range(2):
        assert not command.run()
    with pytest.raises(AssertionError):
        require_same(tree(root), pipeline.expected)
