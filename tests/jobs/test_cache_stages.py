from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from pipelines.engine.executor import run_unit
from pipelines.engine.work import Failure, Stage, WorkUnit
from pipelines.jobs.cache import CacheOptions
from pipelines.jobs.feature_stage import teacher_loader
from pipelines.media.images import decode_image
from pipelines.media.preprocess import resize_to_square
from pipelines.store.arrays import FeatureArray
from pipelines.store.local import LocalObjectStore
from pipelines.store.splits import Split
from pipelines.store.tables import read_table
from pipelines.teachers.base import TeacherOptions
from schemas.tables import FEATURE_ROWS
from tests.contracts.stage_contract import StageContract
from tests.jobs import normalized_split as made


def first_unit(store: LocalObjectStore, split: str, group: str) -> tuple[Stage, WorkUnit]:
    (planned,) = made.plan(Split.open(store, "made-up", split), *group.split()).stages
    return planned.stage, planned.stage.units[0]


class TestImageStage(StageContract):
    def prepare(self, root: Path) -> None:
        made.normalize(root, made.Stills())

    def make_stage(self, store: LocalObjectStore) -> tuple[Stage, WorkUnit]:
        return first_unit(store, "stills", "image image.trunk@bfloat16")


class TestTextStage(StageContract):
    def prepare(self, root: Path) -> None:
        made.normalize(root, made.Stills())

    def make_stage(self, store: LocalObjectStore) -> tuple[Stage, WorkUnit]:
        return first_unit(store, "stills", "text")


class TestMemoryStage(StageContract):
    def prepare(self, root: Path) -> None:
        made.normalize(root, made.Clips(count=1, frames=2))

    def make_stage(self, store: LocalObjectStore) -> tuple[Stage, WorkUnit]:
        return first_unit(store, "clips", "image memory.maskmem memory.object_score")


def cached(root: Path, source: made.Stills | made.Clips, *wanted: str) -> list[FeatureArray]:
    """Normalize, cache on this process, and return the arrays."""
    plan = made.plan(made.normalize(root, source), *wanted)
    arrays: list[FeatureArray] = []
    for planned in plan.stages:
        for unit in planned.units:
            planned.stage.run(unit)
        arrays += planned.stage.arrays
    return arrays


def rows_of(array: FeatureArray, shard: int) -> list[dict[str, object]]:
    table = read_table(array.store, f"{array.folder}/rows-{shard:05d}.parquet", FEATURE_ROWS)
    rows: list[dict[str, object]] = table.to_pylist()
    return rows


def test_rows_hold_the_features_of_their_pictures(tmp_path: Path) -> None:
    (array,) = cached(tmp_path, made.Stills(), "image")
    split = Split.open(array.store, "made-up", "stills")
    opened = zarr.open_array(tmp_path / array.folder, mode="r")
    teacher = made.load_tiny()
    for shard, row in ((0, 0), (1, 3), (2, 1)):
        sample = split.samples(shard)[row]
        image = resize_to_square(decode_image(split.read_image(shard, sample), sample.key), 224)
        expected = teacher.encode_images(torch.stack([image]))["image.trunk"][0]
        stored = np.asarray(opened[shard * 4 + row])
        np.testing.assert_allclose(stored, expected, atol=2e-3)
        assert np.abs(expected).max() > 0.1
        described = rows_of(array, shard)[row]
        assert described["row"] == shard * 4 + row
        assert described["key"] == sample.key
        assert described["minimum"] == stored.min()
        assert described["maximum"] == stored.max()


def test_a_row_that_was_quarantined_before_stays_empty(tmp_path: Path) -> None:
    (array,) = cached(tmp_path, made.Stills(), "image")
    row = rows_of(array, 1)[1]
    assert row["quarantine"] == "missing: not in the archive"
    assert row["minimum"] is None
    assert array.reader(1).present.tolist() == [True, False, True, True]


def test_text_rows_follow_the_phrases(tmp_path: Path) -> None:
    mask, tokens = sorted(
        cached(tmp_path, made.Stills(), "text"), key=lambda array: array.feature.name
    )
    split = Split.open(tokens.store, "made-up", "stills")
    expected = made.load_tiny().encode_text([split.phrases[2]])
    np.testing.assert_allclose(tokens.read([2])[0], expected["text.tokens"][0], atol=2e-3)
    np.testing.assert_array_equal(mask.read([2])[0], expected["text.mask"][0])
    assert [row["phrase"] for row in rows_of(tokens, 0)] == split.phrases


def test_later_text_shards_hold_their_own_phrases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.jobs.cache.PHRASES_PER_SHARD", 3)
    arrays = cached(tmp_path, made.Stills(), "text")
    (tokens,) = (array for array in arrays if array.feature.name == "text.tokens")
    split = Split.open(tokens.store, "made-up", "stills")
    expected = made.load_tiny().encode_text(split.phrases)["text.tokens"]
    assert (tokens.record.shards, len(expected)) == (2, 6)
    assert np.abs(expected[3:] - expected[:3]).max() > 0.02
    np.testing.assert_allclose(tokens.read(range(6)), expected, atol=2e-3)
    assert [row["phrase"] for row in rows_of(tokens, 1)] == split.phrases[3:]


def test_the_tracker_writes_the_trunk_of_each_clip_to_its_own_rows(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, made.Clips(count=2), rows_per_shard=8)
    (planned,) = made.plan(split, "image", "memory").stages
    planned.stage.run(planned.units[0])
    trunk = planned.stage.arrays[0]
    assert trunk.feature.name == "image.trunk"
    images = [
        resize_to_square(decode_image(split.read_image(0, sample), sample.key), 224)
        for sample in split.samples(0)
    ]
    expected = made.load_tiny().encode_images(torch.stack(images))["image.trunk"]
    assert np.abs(expected[4:] - expected[:4]).max() > 0.1
    np.testing.assert_allclose(trunk.read(range(8)), expected, atol=2e-3)


def test_memory_rows_go_by_clip_object_and_frame(tmp_path: Path) -> None:
    arrays = {
        array.feature.name: array for array in cached(tmp_path, made.Clips(), "image", "memory")
    }
    pointer = arrays["memory.object_pointer"]
    names = [(row["clip"], row["object_id"], row["frame"]) for row in rows_of(pointer, 1)]
    assert names == [("clip-1", 1, frame) for frame in range(4)] + [
        ("clip-1", 2, frame) for frame in range(1, 4)
    ]
    split = Split.open(pointer.store, "made-up", "clips")
    (clip,) = split.clips(1)
    frames = [
        resize_to_square(decode_image(split.read_image(1, sample), sample.key), 224)
        for sample in clip.frames
    ]
    last = list(made.load_tiny().track(frames, 4, clip.prompts))[3]
    for place, tracked in ((3, last.objects[0]), (6, last.objects[1])):
        for name, values in tracked.features.items():
            stored = arrays[name].read([7 + place])[0]
            np.testing.assert_allclose(stored, values, rtol=1e-2, atol=2e-2, err_msg=name)
    np.testing.assert_allclose(
        arrays["image.trunk"].read([7])[0], last.features["image.trunk"], atol=2e-3
    )


@pytest.mark.parametrize("wanted", ["memory", "memory.object_score", "image"])
def test_parts_of_the_features_of_clips(tmp_path: Path, wanted: str) -> None:
    arrays = cached(tmp_path, made.Clips(count=1), wanted)
    assert arrays
    for array in arrays:
        assert array.reader(0).present.all()


def test_memory_can_follow_the_trunk_later(tmp_path: Path) -> None:
    (trunk,) = cached(tmp_path / "a", made.Clips(count=1), "image")
    before = made.tree(tmp_path / "a")
    plan = made.plan(Split.open(trunk.store, "made-up", "clips"))
    for unit in plan.stages[0].units:
        plan.stages[0].stage.run(unit)
    after = made.tree(tmp_path / "a")
    assert {key: after[key] for key in before} == before
    memory = sum(array.feature.name.startswith("memory.") for array in plan.arrays)
    assert memory > 1
    assert sum("memory." in key for key in after) == 4 * memory


def test_batches_and_threads_leave_the_tables_alone(tmp_path: Path) -> None:
    """What a commit lists is the same for another number of decoding threads."""
    trees = []
    for threads in (1, 3):
        root = tmp_path / str(threads)
        options = CacheOptions(batch=3, decode_threads=threads)
        plan = made.plan(made.normalize(root, made.Stills()), "image", options=options)
        for unit in plan.stages[0].units:
            plan.stages[0].stage.run(unit)
        trees.append(made.tree(root))
    assert trees[0] == trees[1]


def test_reports_count_rows_bytes_and_busy_time(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, made.Stills())
    (planned,) = made.plan(split, "image").stages
    report = planned.stage.run(planned.units[1])
    assert (report.rows, report.quarantined) == (4, 1)
    data = tmp_path / planned.stage.arrays[0].shard_key(1)
    assert report.bytes > data.stat().st_size
    busy = {"decode", "h2d", "forward", "encode", "write", "publish"}
    waited = {"wait_decode", "wait_write", "wait_turn", "wait_device"}
    assert report.seconds.keys() - waited == busy | {"turn", "gap", "wall"}
    assert all(report.seconds[step] > 0 for step in busy)
    assert report.seconds["forward"] <= report.seconds["turn"] <= report.seconds["wall"]


def test_another_teacher_than_planned_is_refused(tmp_path: Path) -> None:
    other = teacher_loader("tiny", TeacherOptions(text_context=16))
    split = made.normalize(tmp_path, made.Stills())
    (planned,) = made.plan(split, "text", load=other).stages
    outcome = run_unit(planned.stage, planned.units[0])
    assert isinstance(outcome, Failure)
    assert outcome.kind == "data"
    assert "tokenize.context: 32 != 16" in outcome.error
