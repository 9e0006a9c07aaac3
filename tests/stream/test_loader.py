from __future__ import annotations

import contextlib
from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from pipelines.store.local import LocalObjectStore
from pipelines.stream.feature_stream import FeatureStream
from pipelines.stream.loader import StreamLoader
from schemas.errors import IntegrityError
from tests.stream.published_root import RootPlan, build_root

# Forking with threads alive is what the test is about: no thread of a stream lives outside of
# its iterator.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes"),
]


def stream_of(store: LocalObjectStore, **options: Any) -> FeatureStream:
    options = {"image_size": 16, "batch_size": 2, "threads": 2, "epochs": 2} | options
    return FeatureStream(store, "tiny", **options)


@pytest.mark.parametrize(
    ("workers", "context"), [(0, None), (1, "fork"), (3, "fork"), (2, "spawn")]
)
def test_a_loader_yields_the_streams_batches_in_order(
    store: LocalObjectStore, workers: int, context: str | None
) -> None:
    expected = list(stream_of(store))
    loader = StreamLoader(stream_of(store), num_workers=workers, multiprocessing_context=context)
    assert len(loader) == len(expected) == 11
    found = list(loader)
    assert [batch.keys for batch in found] == [batch.keys for batch in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.images_BCHW is not None
        assert other.images_BCHW is not None
        assert torch.equal(one.images_BCHW, other.images_BCHW)
        assert torch.equal(one.features["image.trunk"], other.features["image.trunk"])
    assert loader.state_dict()["position"] == 22


@settings(deadline=None, max_examples=6, derandomize=True)
@given(
    before=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(0, 3)),
    after=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2)),
)
def test_stopped_anywhere_and_resumed_with_other_ranks_and_workers(
    store: LocalObjectStore,
    before: tuple[int, int, int, int],
    after: tuple[int, int, int],
) -> None:
    """The union over ranks is each sample once per epoch, in one order."""
    whole = [key for batch in stream_of(store, image_size=None) for key in batch.keys]
    world, size, workers, steps = before
    head, states = keys_of_ranks(store, world, size, workers, steps, {})
    assert all(state == states[0] for state in states)
    world, size, workers = after
    tail, _ = keys_of_ranks(store, world, size, workers, None, states[0])
    assert head + tail == whole


def keys_of_ranks(
    store: LocalObjectStore,
    world: int,
    size: int,
    workers: int,
    steps: int | None,
    state: dict[str, int | str],
) -> tuple[list[str], list[dict[str, int | str]]]:
    """Return what all ranks together saw, in the global order, and the state of each."""
    ranks: list[list[str]] = []
    states = []
    for rank in range(world):
        stream = stream_of(store, image_size=None, rank=rank, world_size=world, batch_size=size)
        loader = StreamLoader(
            stream, num_workers=workers, multiprocessing_context="fork" if workers else None
        )
        if state:
            loader.load_state_dict(state)
        with contextlib.closing(iter(loader)) as batches:  # type: ignore[type-var]
            ranks.append([key for batch in islice(batches, steps) for key in batch.keys])
        states.append(loader.state_dict())
    longest = max(map(len, ranks))
    merged = [rank[turn] for turn in range(longest) for rank in ranks if turn < len(rank)]
    return merged, states


def test_a_plain_loader_works_too(store: LocalObjectStore) -> None:
    loader = DataLoader(
        stream_of(store), batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    stream = stream_of(store)
    expected = [batch.keys for batch in stream]
    assert [batch.keys for batch in loader] == expected


def test_a_workers_error_names_the_sample(tmp_path: Any) -> None:
    store = build_root(tmp_path / "root", RootPlan())
    for path in (tmp_path / "root/features").rglob("c/1/0/0/0"):
        body = bytearray(path.read_bytes())
        body[17] ^= 1
        path.write_bytes(bytes(body))
    loader = StreamLoader(stream_of(store), num_workers=1, multiprocessing_context="fork")
    with pytest.raises(IntegrityError, match=r"sample train-4: row 0 of .*c/1/0/0/0 is damaged"):
        list(loader)
