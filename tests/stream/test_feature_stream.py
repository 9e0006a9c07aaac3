from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.media.images import decode_image
from pipelines.media.preprocess import resize_to_square
from pipelines.store import layout
from pipelines.store.local import LocalObjectStore
from pipelines.stream import buffers
from pipelines.stream.batches import Batch
from pipelines.stream.feature_stream import FeatureStream
from schemas.errors import IdentityError, IncompleteError, IntegrityError, UsageError
from tests.stream.published_root import (
    TEACHER,
    RootPlan,
    all_keys,
    build_root,
    feature_of,
    jpeg_of,
)

PLAN = RootPlan()
COUNT = PLAN.splits["train"]


def make_stream(store: LocalObjectStore | str, **options: Any) -> FeatureStream:
    options = {"image_size": 32, "batch_size": 4, "threads": 3, "epochs": 1} | options
    return FeatureStream(store, "tiny", **options)


def keys_of(stream: FeatureStream) -> list[str]:
    return [key for batch in stream for key in batch.keys]


def test_an_epoch_has_every_sample_once_with_its_own_data(store: LocalObjectStore) -> None:
    seen: list[str] = []
    for batch in make_stream(store, threads=4):
        assert batch.images_BCHW is not None
        assert batch.images_BCHW.dtype == torch.uint8
        trunk = batch.features["image.trunk"]
        assert trunk.dtype == torch.float16
        assert trunk.shape == (len(batch.keys), *PLAN.item_shape)
        for place, key in enumerate(batch.keys):
            expected = feature_of(key, PLAN).astype(np.float16)
            assert np.array_equal(trunk[place].numpy(), expected)
            image = resize_to_square(decode_image(jpeg_of(key), key), 32)
            assert torch.equal(batch.images_BCHW[place], image)
        seen += batch.keys
    assert sorted(seen) == sorted(all_keys(PLAN))
    assert seen != all_keys(PLAN)


def test_batches_may_be_kept(store: LocalObjectStore) -> None:
    """Memory that is used again is never memory that somebody holds."""
    stream = make_stream(store, epochs=4, prefetch=1)
    kept = [(batch.keys, batch.features["image.trunk"][-1]) for batch in stream]
    for keys, last in kept:
        assert np.array_equal(last.numpy(), feature_of(keys[-1], PLAN).astype(np.float16))


def test_what_was_kept_stays_while_and_after_others_are_read(store: LocalObjectStore) -> None:
    """A row of one batch, and images of another, over many batches and past the iterator's end."""
    stream = make_stream(store, epochs=None, prefetch=2)
    batches = iter(stream)
    first, second = next(batches), next(batches)
    assert second.images_BCHW is not None
    row, images = first.features["image.trunk"][1], second.images_BCHW[2:]
    keys = first.keys[1], second.keys[2]
    copies = row.clone(), images.clone()
    del first, second
    for _ in range(20):
        next(batches)
    batches.close()
    for _ in zip(range(10), make_stream(store, epochs=None), strict=False):
        pass
    assert torch.equal(row, copies[0])
    assert torch.equal(images, copies[1])
    assert np.array_equal(row.numpy(), feature_of(keys[0], PLAN).astype(np.float16))
    expected = resize_to_square(decode_image(jpeg_of(keys[1]), keys[1]), 32)
    assert torch.equal(images[0], expected)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of each block of memory that a stream asks for."""
    sizes: list[int] = []

    def make(size: int) -> Any:
        sizes.append(size)
        return np.empty(size, dtype=np.uint8)

    monkeypatch.setattr(buffers, "_page_aligned", make)
    return sizes


@pytest.mark.parametrize("prefetch", [1, 2])
@pytest.mark.parametrize("pause", [0, 0.01])
def test_no_more_batches_are_in_memory_than_allowed(
    store: LocalObjectStore, made: list[int], prefetch: int, pause: float
) -> None:
    """Neither for a caller who waits for the reader, nor for one whom the reader waits for."""
    for batch in make_stream(store, epochs=8, prefetch=prefetch):
        time.sleep(pause)
        del batch
    images, features = 4 * 3 * 32 * 32, 4 * 8 * 4 * 4 * 2
    assert made.count(images) <= prefetch + 1
    assert made.count(features) <= prefetch + 1


@pytest.mark.parametrize("prefetch", [1, 2])
def test_no_batch_begins_while_all_the_room_is_taken(
    store: LocalObjectStore, made: list[int], prefetch: int
) -> None:
    """The caller holds two, and those read ahead are there: one more would be one too many."""
    batches = iter(make_stream(store, epochs=8, prefetch=prefetch))
    held = [next(batches), next(batches)]
    time.sleep(0.2)
    assert made.count(4 * 3 * 32 * 32) <= prefetch + 1
    assert len(held) == 2


def test_one_who_keeps_batches_is_still_read_ahead_for(store: LocalObjectStore) -> None:
    with contextlib.closing(iter(make_stream(store, epochs=None, prefetch=1))) as batches:
        kept = [next(batches) for _ in range(20)]
        assert len({batch.position for batch in kept}) == 20


def test_batches_run_on_over_the_end_of_an_epoch(store: LocalObjectStore) -> None:
    batches = list(make_stream(store, epochs=4, batch_size=4))
    assert [len(batch.keys) for batch in batches] == [4] * 11
    keys = [key for batch in batches for key in batch.keys]
    for epoch in range(4):
        assert sorted(keys[epoch * COUNT : (epoch + 1) * COUNT]) == sorted(all_keys(PLAN))


def test_endless_without_epochs(store: LocalObjectStore) -> None:
    with contextlib.closing(iter(make_stream(store, epochs=None))) as batches:
        assert sum(len(next(batches).keys) for _ in range(12)) == 48


def test_drop_last_leaves_only_full_batches(store: LocalObjectStore) -> None:
    batches = list(make_stream(store, drop_last=True, world_size=2, batch_size=2))
    assert [len(batch.keys) for batch in batches] == [2, 2]
    with pytest.raises(UsageError, match="11 samples are too few for 4 ranks"):
        make_stream(store, drop_last=True, world_size=4, batch_size=4)


def test_drop_last_leaves_only_full_batches_after_ranks_have_changed(
    store: LocalObjectStore,
) -> None:
    """Ranks with different numbers of batches would wait for each other for ever."""
    before = make_stream(store, drop_last=True, epochs=1, batch_size=1)
    next(iter(before))
    ranks = []
    for rank in range(2):
        stream = make_stream(store, drop_last=True, epochs=1, batch_size=2, rank=rank, world_size=2)
        stream.load_state_dict(before.state_dict())
        ranks.append([len(batch.keys) for batch in stream])
    assert ranks == [[2, 2], [2, 2]]


def test_the_seed_and_not_the_threads_decide_the_order(store: LocalObjectStore) -> None:
    first = keys_of(make_stream(store, seed=5))
    assert keys_of(make_stream(store, seed=5, threads=1, prefetch=7, batch_size=3)) == first
    assert keys_of(make_stream(store, seed=6)) != first


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    before=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2)),
    after=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    seed=st.integers(0, 9),
)
def test_resuming_with_other_ranks_completes_every_epoch(
    store: LocalObjectStore,
    before: tuple[int, int, int],
    after: tuple[int, int],
    seed: int,
) -> None:
    world, size, steps = before
    keys: list[str] = []
    states = []
    for rank in range(world):
        options = {"rank": rank, "world_size": world, "batch_size": size, "seed": seed}
        stream = make_stream(store, image_size=None, epochs=2, **options)
        with contextlib.closing(iter(stream)) as batches:
            for _ in range(steps):
                keys += next(batches).keys
        states.append(stream.state_dict())
    assert all(state == states[0] for state in states)
    assert states[0]["position"] == len(keys)
    world, size = after
    for rank in range(world):
        options = {"rank": rank, "world_size": world, "batch_size": size, "seed": seed}
        stream = make_stream(store, image_size=None, epochs=2, **options)
        stream.load_state_dict(states[0])
        keys += keys_of(stream)
    assert sorted(keys) == sorted(2 * all_keys(PLAN))


def test_ranks_end_with_the_same_state(store: LocalObjectStore) -> None:
    """Also the rank for which the last step had no sample left."""
    streams = [make_stream(store, rank=rank, world_size=5, batch_size=2) for rank in range(5)]
    assert sorted(len(list(stream)) for stream in streams) == [1, 1, 1, 1, 2]
    assert {stream.position for stream in streams} == {COUNT}
    assert list(streams[0]) == []


def test_state_counts_what_was_handed_out_and_not_what_was_read_ahead(
    store: LocalObjectStore,
) -> None:
    stream = make_stream(store, prefetch=2)
    with contextlib.closing(iter(stream)) as batches:
        next(batches)
        assert stream.state_dict()["position"] == 4


@pytest.mark.parametrize(
    ("field", "other"), [("seed", 1), ("features", "image.trunk@float32"), ("order", "shard/4")]
)
def test_state_of_another_order_is_refused(
    store: LocalObjectStore, field: str, other: int | str
) -> None:
    stream = make_stream(store)
    state = stream.state_dict() | {field: other}
    with pytest.raises(IdentityError, match=f"{field}: .* != {other}"):
        stream.load_state_dict(state)


def test_state_of_another_manifest_is_refused(store: LocalObjectStore, own_root: Path) -> None:
    other = build_root(own_root, RootPlan(splits={"train": 5}))
    with pytest.raises(IdentityError, match=r"manifest: .* != .*samples: 5 != 11"):
        make_stream(other).load_state_dict(make_stream(store).state_dict())


def test_bfloat16_arrives_as_such(own_root: Path) -> None:
    plan = RootPlan(codec="bfloat16")
    store = build_root(own_root, plan)
    name = "image.trunk@bfloat16"
    batch = next(iter(make_stream(store, features=(name,), image_size=None)))
    assert batch.images_BCHW is None
    assert batch.features[name].dtype == torch.bfloat16
    expected = torch.from_numpy(feature_of(batch.keys[0], plan)).to(torch.bfloat16)
    assert torch.equal(batch.features[name][0], expected)


def test_other_teacher_is_refused(store: LocalObjectStore) -> None:
    with pytest.raises(IdentityError, match="no features of teacher 0123456789abcdef"):
        make_stream(store, teacher="0123456789abcdef")
    assert make_stream(store, teacher=TEACHER.digest).teacher == TEACHER


@pytest.mark.parametrize(
    "option", [{"batch_size": 0}, {"threads": 0}, {"prefetch": 0}, {"epochs": 0}, {"rank": 1}]
)
def test_options_that_cannot_be_right(store: LocalObjectStore, option: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(option))):
        make_stream(store, **option)


def flip(path: Path, offset: int) -> None:
    body = bytearray(path.read_bytes())
    body[offset] ^= 0x10
    path.write_bytes(bytes(body))


def feature_file(root: Path, shard: int) -> Path:
    folder = layout.array_folder("toy", "train", TEACHER.digest, "image.trunk")
    return root / layout.array_shard_key(folder, shard, 4)


def test_damaged_feature_is_reported_with_key_and_path(own_root: Path) -> None:
    store = build_root(own_root, RootPlan())
    flip(feature_file(own_root, 1), 2 * (8 * 4 * 4 * 2 + 4) + 17)
    seen: list[str] = []
    with pytest.raises(IntegrityError) as caught:
        for batch in make_stream(store):
            seen += batch.keys
    message = str(caught.value)
    assert message.startswith("sample train-6: row 2 of features/toy/train/")
    assert "c/1/0/0/0 is damaged" in message
    assert "train-6" not in seen


def test_damaged_image_is_reported_with_key_and_path(own_root: Path) -> None:
    """A flipped bit that the JPEG decoder would not notice."""
    store = build_root(own_root, RootPlan(splits={"train": 1}))
    flip(own_root / layout.media_key("toy", "train", 0), 512 + len(jpeg_of("train-0")) - 40)
    with pytest.raises(IntegrityError, match=r"sample train-0: .*media-00000.tar"):
        list(make_stream(store))


def test_missing_file_is_reported_with_the_key(own_root: Path) -> None:
    store = build_root(own_root, RootPlan())
    feature_file(own_root, 2).unlink()
    with pytest.raises(IncompleteError, match=r"sample train-(8|9|10): .*missing.*c/2/0/0/0"):
        list(make_stream(store))


def sample_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("samples")]


def test_threads_end_with_the_iterator(own_root: Path) -> None:
    store = build_root(own_root, RootPlan())
    stream = make_stream(store, epochs=None)
    for _ in stream:
        assert sample_threads()
        break
    assert sample_threads() == []
    batches = iter(stream)
    next(batches)
    batches.close()
    assert sample_threads() == []
    feature_file(own_root, 0).unlink()
    with pytest.raises(IncompleteError):
        list(make_stream(store))
    assert sample_threads() == []


def test_waiting_is_counted(store: LocalObjectStore) -> None:
    stream = make_stream(store)
    assert stream.wait_seconds == 0
    list(stream)
    assert stream.wait_seconds > 0


def _keys_in_child(stream: FeatureStream, pipe: Any) -> None:
    pipe.send([key for batch in stream for key in batch.keys])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_stream_travels_to_another_process(store: LocalObjectStore, method: str) -> None:
    stream = make_stream(store, image_size=None)
    expected = keys_of(make_stream(store, image_size=None))
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context(method)
    child = context.Process(target=_keys_in_child, args=(stream, theirs))  # type: ignore[attr-defined]
    child.start()
    assert ours.poll(60)
    assert ours.recv() == expected
    child.join()


def test_no_file_stays_open(store: LocalObjectStore) -> None:
    before = len(os.listdir("/proc/self/fd"))
    stream = make_stream(store)
    copy: FeatureStream = pickle.loads(pickle.dumps(stream))
    list(copy)
    assert len(os.listdir("/proc/self/fd")) == before


def test_importable_without_ray_teacher_and_downloaders() -> None:
    code = (
        "import sys, pipelines.stream.feature_stream, pipelines.student.trainer\n"
        "print([n for n in ('ray', 'transformers', 'downloaders', 'httpx') if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_batch_is_frozen(store: LocalObjectStore) -> None:
    batch: Batch = next(iter(make_stream(store)))
    with pytest.raises(AttributeError):
        batch.keys = ()  # type: ignore[misc]
