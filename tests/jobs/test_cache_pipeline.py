"""Shards of one worker overlap: nothing waits that need not, and what is written is the same."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import pytest
import torch

from pipelines.engine.executor import LocalExecutor
from pipelines.jobs.device import Device
from pipelines.jobs.feature_shards import FeatureShard
from pipelines.jobs.turn import Turn
from pipelines.store import layout
from pipelines.store.splits import Split
from tests.engine.stages import Heard
from tests.jobs import normalized_split as made
from tests.jobs.misbehaving_teacher import MisbehavingTeacher

SOURCE = made.Stills(count=12)


def cache(root: Path, overlap: int, source: made.Stills | made.Clips = SOURCE) -> dict[str, bytes]:
    for planned in made.plan(made.normalize(root, source)).stages:
        report = LocalExecutor(overlap=overlap).run(planned.stage, list(planned.units), Heard())
        assert not report.failures
    return made.tree(root)


@pytest.mark.parametrize("source", [SOURCE, made.Clips(count=4)])
def test_overlap_changes_no_byte(tmp_path: Path, source: made.Stills | made.Clips) -> None:
    assert cache(tmp_path / "one", 1, source) == cache(tmp_path / "three", 3, source)


def test_a_shard_computes_while_another_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishing the first shard waits for a forward pass of the second."""
    split = made.normalize(tmp_path, SOURCE)
    computed, published = threading.Event(), threading.Event()
    seen = 0

    def fault(batch: torch.Tensor) -> None:
        nonlocal seen
        seen += len(batch)
        if seen > 4:
            computed.set()

    publish = FeatureShard.publish

    def wait_and_publish(shard: FeatureShard, inputs: object) -> object:
        assert computed.wait(60)
        published.set()
        return publish(shard, inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(FeatureShard, "publish", wait_and_publish)
    (planned,) = made.plan(split, "image", load=partial(once, fault)).stages
    report = LocalExecutor(overlap=2).run(planned.stage, list(planned.units), Heard())
    assert not report.failures
    assert published.is_set()


_teachers: dict[object, MisbehavingTeacher] = {}


def once(fault: object) -> MisbehavingTeacher:
    return _teachers.setdefault(fault, MisbehavingTeacher(fault))  # type: ignore[arg-type]


def test_one_shard_computes_at_a_time(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, SOURCE)
    inside = threading.Lock()

    def fault(batch: torch.Tensor) -> None:
        assert inside.acquire(blocking=False)
        batch.float().mean()
        inside.release()

    (planned,) = made.plan(split, "image", load=partial(once, fault)).stages
    report = LocalExecutor(overlap=3).run(planned.stage, list(planned.units), Heard())
    assert (report.done, report.failures) == (3, ())
    assert 0 < report.device_busy <= 1
    assert report.total("turn") >= report.total("forward")


def test_a_shard_that_fails_gives_its_turn_away(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, SOURCE)
    calls = 0

    def fault(_batch: torch.Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise torch.AcceleratorError("illegal memory access")

    (planned,) = made.plan(split, "image", load=partial(once, fault)).stages
    report = LocalExecutor(overlap=2).run(planned.stage, list(planned.units), Heard())
    assert (report.done, report.failures) == (3, ())


def test_data_that_was_published_is_not_computed_again(tmp_path: Path) -> None:
    """As after a death between the data file and its commit record."""
    split = made.normalize(tmp_path, SOURCE)
    whole = cache_images(split)
    images = 0

    def fault(batch: torch.Tensor) -> None:
        nonlocal images
        images += len(batch)

    plan = made.plan(split, "image", load=partial(once, fault))
    (array,) = plan.stages[0].stage.arrays
    for shard in (0, 1):
        split.store.delete(layout.commit_key(array.folder, shard))
    split.store.delete(layout.rows_key(array.folder, 1))
    (planned,) = made.plan(split, "image", load=partial(once, fault)).stages
    assert len(planned.units) == 2
    report = LocalExecutor(overlap=2).run(planned.stage, list(planned.units), Heard())
    assert (report.done, images) == (2, 0)
    assert made.tree(tmp_path) == whole


def test_damaged_data_without_commit_is_computed_again(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, SOURCE)
    whole = cache_images(split)
    (planned,) = made.plan(split, "image").stages
    array = planned.stage.arrays[0]
    split.store.delete(layout.commit_key(array.folder, 0))
    with Path(tmp_path, array.shard_key(0)).open("r+b") as file:
        file.seek(100)
        file.write(b"\xff\xff")
    assert cache_images(split) == whole


def cache_images(split: Split) -> dict[str, bytes]:
    (planned,) = made.plan(split, "image").stages
    report = LocalExecutor().run(planned.stage, list(planned.units), Heard())
    assert not report.failures
    return made.tree(Path(split.store.url))


def test_a_turn_knows_how_long_nobody_had_it() -> None:
    turn = Turn()
    assert turn.take() == 0
    turn.leave()
    assert turn.take() > 0
    turn.leave()


def test_on_a_cpu_nothing_is_copied() -> None:
    told: dict[str, float] = {}
    device = Device(torch.device("cpu"), lambda step, seconds: told.update({step: seconds}))
    batch = device.upload([torch.zeros(3, 2, 2), torch.ones(3, 2, 2)])
    with device.forward():
        values = batch * 2
    rows = list(device.download(values, lambda batch: batch.half()).rows())
    assert torch.equal(torch.stack(rows), values.half())
    assert told.keys() == {"h2d", "forward"}
    assert device.take_spans() == []
