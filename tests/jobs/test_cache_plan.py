from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.engine.executor import Slice
from pipelines.jobs import cache
from pipelines.jobs.asked_features import expand_features
from pipelines.jobs.cache import CacheOptions, open_normalized, require_space
from pipelines.store.local import LocalObjectStore
from pipelines.store.splits import Split
from schemas.errors import IncompleteError, StorageError, UnknownNameError, UsageError
from tests.jobs import normalized_split as made


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return made.normalize(tmp_path_factory.mktemp("stills"), made.Stills())


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return made.normalize(tmp_path_factory.mktemp("clips"), made.Clips(frames=3))


def names(plan: cache.CachePlan) -> list[str]:
    return [array.feature.array_name for array in plan.arrays]


def test_stills_get_trunk_and_text(stills: Split) -> None:
    plan = made.plan(stills)
    assert names(plan) == ["image.trunk", "text.tokens", "text.mask"]
    assert [planned.stage.name for planned in plan.stages] == ["image", "text"]
    assert plan.notes == ("no memory features: the split has no tracked objects",)
    assert [len(planned.units) for planned in plan.stages] == [3, 1]


def test_clips_get_trunk_and_memory_in_one_stage(clips: Split) -> None:
    plan = made.plan(clips)
    assert [planned.stage.name for planned in plan.stages] == ["memory"]
    assert names(plan)[0] == "image.trunk"
    assert plan.notes == ("no text features: the split has no phrases",)
    assert {array.rows for array in plan.arrays} == {9, 15}


def test_what_cannot_be_had_alone_is_an_error(stills: Split) -> None:
    with pytest.raises(UsageError, match="nothing to cache for made-up/stills: no memory"):
        made.plan(stills, "memory")


def test_features_by_name_and_codec(stills: Split) -> None:
    plan = made.plan(stills, "image.trunk@bfloat16", "text.mask", "image")
    assert names(plan) == ["image.trunk", "image.trunk@bfloat16", "text.mask"]


def test_the_order_of_the_options_does_not_matter() -> None:
    assert expand_features(["text", "memory.maskmem", "image"]) == expand_features(
        ["image", "text", "memory.maskmem", "text.mask"]
    )


@pytest.mark.parametrize("name", ["imaje", "image.trnk", "image.trunk@float17"])
def test_unknown_features_are_refused(stills: Split, name: str) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean"):
        made.plan(stills, name)


def test_the_plan_knows_the_bytes(stills: Split) -> None:
    plan = made.plan(stills)
    planned = plan.bytes_left
    for stage in plan.stages:
        for unit in stage.units:
            stage.stage.run(unit)
    written = sum(map(len, made.tree(Path(stills.store.url)).values()))
    assert planned == pytest.approx(written, rel=0.01)
    assert made.plan(stills).bytes_left == 0
    assert [planned.units for planned in made.plan(stills).stages] == [(), ()]


def test_slices_keep_their_units_when_some_are_done(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, made.Stills())

    def shards(text: str) -> list[int]:
        options = CacheOptions(part=Slice.parse(text))
        (planned,) = made.plan(split, "image", options=options).stages
        return [unit.shard for unit in planned.units]

    assert (shards("0/2"), shards("1/2")) == ([0, 2], [1])
    (planned,) = made.plan(split, "image").stages
    planned.stage.run(planned.units[0])
    assert (shards("0/2"), shards("1/2")) == ([2], [1])


def test_what_is_cached_needs_no_space(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, made.Clips(count=4, frames=3), rows_per_shard=3)
    (planned,) = made.plan(split, "memory").stages
    for unit in planned.units[:3]:
        planned.stage.run(unit)
    before = sum(map(len, made.tree(tmp_path).values()))
    left = made.plan(split, "memory")
    assert {array.shards_left for array in left.arrays} == {1}
    planned.stage.run(planned.units[3])
    written = sum(map(len, made.tree(tmp_path).values())) - before
    assert left.bytes_left == pytest.approx(written, rel=0.02)


class NoCommits(LocalObjectStore):
    """Refuses to read the commit records of normalized shards, of which there may be 100,000."""

    def get(self, key: str) -> bytes:
        assert not key.startswith("normalized/made-up/stills/commits"), key
        return super().get(key)


def test_resuming_reads_no_commits_of_the_split(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, made.Stills())
    wanted = ("image", "text", "prompts")
    first = made.plan(split, *wanted)
    with pytest.raises(AssertionError):
        made.plan(Split.open(NoCommits(tmp_path), "made-up", "stills"), *wanted)
    first.stages[0].stage.run(first.stages[0].units[0])
    again = made.plan(Split.open(NoCommits(tmp_path), "made-up", "stills"), *wanted)
    assert [array.record for stage in again.stages for array in stage.stage.arrays] == [
        array.record for stage in first.stages for array in stage.stage.arrays
    ]
    assert again.bytes_left < first.bytes_left


def test_space_is_checked(clips: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = made.plan(clips)
    require_space(clips.store, [plan])
    monkeypatch.setattr(cache, "free_bytes", lambda _folder: plan.bytes_left - 1)
    with pytest.raises(StorageError, match="--force"):
        require_space(clips.store, [plan])


def test_all_normalized_splits_by_default(tmp_path: Path) -> None:
    made.normalize(tmp_path, made.Stills(count=1))
    made.normalize(tmp_path, made.Clips(count=1))
    store = LocalObjectStore(tmp_path)
    assert [split.name for split in open_normalized(store, "made-up", [])] == [
        "made-up/clips",
        "made-up/stills",
    ]
    with pytest.raises(UnknownNameError, match="Did you mean stills"):
        open_normalized(store, "made-up", ["still"])
    with pytest.raises(UnknownNameError, match="Did you mean made-up"):
        open_normalized(store, "mad-up", [])
    with pytest.raises(IncompleteError, match="samdistill normalize coco"):
        open_normalized(store, "coco", [])
    with pytest.raises(IncompleteError, match="samdistill normalize coco --split val2017"):
        open_normalized(store, "coco", ["val2017"])
