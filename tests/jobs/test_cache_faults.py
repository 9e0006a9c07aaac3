"""Samples and batches that cannot be computed: found, recorded with a reason, and counted."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from pipelines.engine.executor import run_unit
from pipelines.engine.work import Failure, UnitReport
from pipelines.jobs.cache import CacheOptions
from pipelines.jobs.encode_images import ShardImages
from pipelines.jobs.finish_split import Budget
from pipelines.jobs.overlap import BusyTime
from pipelines.store.arrays import FeatureArray
from pipelines.store.splits import Split
from pipelines.store.tables import read_table
from schemas.errors import DataError
from schemas.tables import FEATURE_ROWS
from tests.jobs import normalized_split as made
from tests.jobs.misbehaving_teacher import Fault, MisbehavingTeacher

FIVE = made.Stills(count=5, phrases=5)


def no_fault(batch: torch.Tensor) -> None:
    """Leave the batch alone."""


def run(
    split: Split,
    *wanted: str,
    fault: Fault = no_fault,
    nan_in: int | None = None,
    budget: Budget | None = None,
) -> tuple[UnitReport | Failure, dict[str, FeatureArray]]:
    plan = made.plan(
        split,
        *wanted,
        load=partial(MisbehavingTeacher, fault, nan_in),
        options=CacheOptions(batch=4, budget=budget or Budget()),
    )
    (planned,) = plan.stages
    arrays = {array.feature.name: array for array in planned.stage.arrays}
    return run_unit(planned.stage, planned.units[0]), arrays


def reasons(array: FeatureArray) -> list[str | None]:
    table = read_table(array.store, f"{array.folder}/rows-00000.parquet", FEATURE_ROWS)
    found: list[str | None] = table.column("quarantine").to_pylist()
    return found


def test_a_picture_damaged_since(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, FIVE, rows_per_shard=5)
    made.damage_image(split, 0, 2)
    report, arrays = run(split, "image")
    assert isinstance(report, UnitReport)
    assert report.quarantined == 1
    reason = reasons(arrays["image.trunk"])[2]
    assert reason is not None
    assert reason.startswith("unsupported: no image format")
    assert arrays["image.trunk"].reader(0).present.tolist() == [True, True, False, True, True]


@pytest.mark.parametrize("source", [FIVE, made.Clips(count=1, frames=5)])
def test_a_picture_that_rots_in_the_root_fails_the_unit(
    tmp_path: Path, source: made.Stills | made.Clips
) -> None:
    split = made.normalize(tmp_path, source, rows_per_shard=5)
    made.rot_image(split, 0, 2)
    wanted = ["image", "memory"] if split.record.media == "video" else ["image"]
    outcome, _ = run(split, *wanted, budget=Budget(rows=99))
    assert isinstance(outcome, Failure)
    assert outcome.kind == "data"
    assert f"image of {split.samples(0)[2].key} in normalized/" in outcome.error
    assert "is damaged" in outcome.error
    assert not any("/c/" in key for key in made.tree(tmp_path))


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, FIVE, rows_per_shard=5)
    report, arrays = run(split, "image", nan_in=3)
    assert isinstance(report, UnitReport)
    found = reasons(arrays["image.trunk"])
    assert [row for row, reason in enumerate(found) if reason] == [3]
    assert str(found[3]).startswith("unstorable: row 3: not storable as float16")


def brightness(row: int, split: Split) -> float:
    images = ShardImages(split=split, shard=0, size=224, busy=BusyTime())
    return float(images.read(split.samples(0)[row]).float().mean())


def test_the_picture_that_breaks_a_batch_is_found(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, FIVE, rows_per_shard=5)
    poison = brightness(1, split)

    def fault(batch: torch.Tensor) -> None:
        if any(float(image.float().mean()) == poison for image in batch):
            raise RuntimeError("shape mismatch\nand more")

    report, arrays = run(split, "image", fault=fault)
    assert isinstance(report, UnitReport)
    assert reasons(arrays["image.trunk"]) == [
        None,
        "forward: RuntimeError: shape mismatch",
        None,
        None,
        None,
    ]


def test_the_phrase_that_breaks_a_batch_is_found(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, FIVE, rows_per_shard=5)
    report, arrays = run(split, "text")
    assert isinstance(report, UnitReport)
    for array in arrays.values():
        assert reasons(array) == [None, None, "forward: RuntimeError: no such thing", None, None]


def test_an_error_that_does_not_come_again_costs_no_picture(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, FIVE, rows_per_shard=5)
    sizes: list[int] = []

    def fault(batch: torch.Tensor) -> None:
        sizes.append(len(batch))
        if len(sizes) <= 3:
            raise RuntimeError("no workspace")

    report, arrays = run(split, "image", fault=fault)
    assert isinstance(report, UnitReport)
    assert (report.quarantined, sizes) == (0, [4, 2, 1, 1, 1, 2, 1])
    assert arrays["image.trunk"].reader(0).present.all()


FULL = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: not enough memory"),
    RuntimeError("can't allocate memory: you tried to allocate 8 bytes"),
]


@pytest.mark.parametrize("error", FULL)
def test_full_memory_halves_the_batch_for_good(tmp_path: Path, error: RuntimeError) -> None:
    split = made.normalize(tmp_path, made.Stills(count=4, phrases=0), rows_per_shard=4)
    sizes: list[int] = []

    def fault(batch: torch.Tensor) -> None:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise error

    report, arrays = run(split, "image", fault=fault)
    assert isinstance(report, UnitReport)
    assert (report.quarantined, sizes) == (0, [4, 2, 2])
    assert arrays["image.trunk"].reader(0).present.all()


@pytest.mark.parametrize("error", FULL)
def test_no_room_for_one_picture_fails_the_unit(tmp_path: Path, error: RuntimeError) -> None:
    split = made.normalize(tmp_path, FIVE, rows_per_shard=5)

    def fault(_batch: torch.Tensor) -> None:
        raise error

    outcome, _ = run(split, "image", fault=fault)
    assert isinstance(outcome, Failure)
    assert outcome.kind == "code"
    assert str(error) in outcome.error
    assert not any("/c/" in key for key in made.tree(tmp_path))


def test_a_lost_device_blames_no_picture(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, FIVE, rows_per_shard=5)
    calls: list[int] = []

    def fault(batch: torch.Tensor) -> None:
        calls.append(len(batch))
        raise torch.AcceleratorError("illegal memory access")

    outcome, _ = run(split, "image", fault=fault)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, calls) == ("code", [4])


@pytest.mark.parametrize(
    ("budget", "done"),
    [(Budget(share=0.01), False), (Budget(share=0.4), True), (Budget(rows=2), True)],
)
def test_past_the_budget_the_unit_fails(tmp_path: Path, budget: Budget, done: bool) -> None:
    split = made.normalize(tmp_path, FIVE, rows_per_shard=5)
    made.damage_image(split, 0, 1)
    made.damage_image(split, 0, 2)
    outcome, _ = run(split, "image", budget=budget)
    assert isinstance(outcome, UnitReport) == done
    if isinstance(outcome, Failure):
        assert outcome.kind == "data"
        assert "2 of 5 rows of one shard (sample) failed" in outcome.error
        assert not any("/c/" in key for key in made.tree(tmp_path))


def test_a_budget_of_nothing_allows_nothing(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, FIVE, rows_per_shard=5)
    made.damage_image(split, 0, 1)
    for budget in (Budget(share=0), Budget(rows=0)):
        outcome, _ = run(split, "image", budget=budget)
        assert isinstance(outcome, Failure)


def test_a_clip_with_a_damaged_frame_keeps_the_other_frames(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, made.Clips(count=2), rows_per_shard=8)
    made.damage_image(split, 0, 6)
    # Each object-frame of the clip counts.
    refused, _ = run(split, "image", "memory", budget=Budget(rows=6))
    assert isinstance(refused, Failure)
    assert "7 of 14 rows of one shard (object_frame) failed" in refused.error
    outcome, arrays = run(split, "image", "memory", budget=Budget(rows=7))
    assert isinstance(outcome, UnitReport), outcome
    assert arrays["image.trunk"].reader(0).present.tolist() == [True] * 6 + [False, True]
    pointer = arrays["memory.object_pointer"]
    # Object 1 has frames 0 to 3 and object 2 frames 1 to 3; the first batch of frames never ends.
    assert pointer.reader(0).present[:14].tolist() == [True] * 7 + [False] * 7
    assert all(
        str(reason).startswith("untracked: clip-1.00002: unsupported")
        for reason in reasons(pointer)[7:]
    )


def test_a_clip_that_cannot_be_tracked_on_keeps_what_it_has(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, made.Clips(count=1), rows_per_shard=4)

    def fault(frame: torch.Tensor) -> None:
        if frame.ndim == 0 and int(frame) == 2:
            raise DataError("no such prompt")

    outcome, arrays = run(split, "image", "memory", fault=fault, budget=Budget(rows=4))
    assert isinstance(outcome, UnitReport), outcome
    assert arrays["image.trunk"].reader(0).present.all()
    found = reasons(arrays["memory.maskmem"])
    assert [reason is None for reason in found] == [True, True, False, False, True, False, False]
    assert found[2] == "untracked: no such prompt"


@pytest.mark.parametrize("text", ["DefaultCPUAllocator: can't allocate memory", "tracker broke"])
def test_a_tracker_that_breaks_blames_no_clip(tmp_path: Path, text: str) -> None:
    split = made.normalize(tmp_path, made.Clips(count=1), rows_per_shard=4)

    def fault(frame: torch.Tensor) -> None:
        if frame.ndim == 0 and int(frame) == 2:
            raise RuntimeError(text)

    outcome, _ = run(split, "image", "memory", fault=fault, budget=Budget(rows=99))
    assert isinstance(outcome, Failure)
    assert outcome.kind == "code"
    assert text in outcome.error
    assert not any("/c/" in key for key in made.tree(tmp_path))
