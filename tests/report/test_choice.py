from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.report.choice import choose_clips, choose_samples, spread
from pipelines.store.local import LocalObjectStore
from pipelines.store.splits import Split
from tests.jobs.sample_root import CLIPS, STILLS


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 50), st.integers(1, 60))
def test_spread_keeps_order_ends_and_count(items: int, count: int) -> None:
    found = spread(range(items), count)
    assert len(found) == min(items, count)
    assert found == sorted(set(found))
    if items and count > 1:
        assert (found[0], found[-1]) == (0, items - 1)


def test_samples_are_sound_and_from_all_shards(store: LocalObjectStore) -> None:
    split = Split.open(store, *STILLS)
    names = {
        count: [sample.key for _, sample in choose_samples(split, [2, 2], count)]
        for count in (1, 2, 9)
    }
    assert names == {
        1: ["astronaut"],
        2: ["astronaut", "dahlia"],
        9: ["astronaut", "cat", "dahlia"],
    }
    for place, sample in choose_samples(split, [2, 2], 9):
        assert split.samples(place.shard)[place.row] == sample


def test_clips_are_from_all_shards(store: LocalObjectStore) -> None:
    split = Split.open(store, *CLIPS)
    assert [shard for shard, _ in choose_clips(split, 1)] == [0]
    assert [shard for shard, _ in choose_clips(split, 5)] == [0, 1]
