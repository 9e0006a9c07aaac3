"""What batches hold beside images and features of samples, against the stored tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.media.images import decode_image
from pipelines.media.preprocess import resize_to_square
from pipelines.store import layout
from pipelines.store.arrays import FeatureArray
from pipelines.store.local import LocalObjectStore
from pipelines.store.rows import expected_rows
from pipelines.store.splits import Split
from pipelines.stream.batches import Batch
from pipelines.stream.feature_stream import FeatureStream
from schemas.errors import UsageError
from schemas.tables import mask_from_cell
from tests.jobs.colour_teacher import ColourTeacher
from tests.jobs.sample_root import CLIPS, STILLS
from tests.stream.rich_root import ALBUM, CAMERA, MEMORY


def stream_of(store: LocalObjectStore, *features: str, **options: Any) -> FeatureStream:
    options = {"image_size": None, "batch_size": 3, "threads": 2, "epochs": 1} | options
    return FeatureStream(store, "all", features=features, **options)


def array_of(store: LocalObjectStore, place: tuple[str, str], name: str) -> FeatureArray:
    folder = layout.array_folder(*place, ColourTeacher().spec.digest, name)
    return FeatureArray.open(store, folder)


def object_rows(store: LocalObjectStore, place: tuple[str, str], key: str) -> list[dict[str, Any]]:
    split = Split.open(store, *place)
    rows = [
        row
        for shard in range(split.record.shards)
        for row in split.annotations_table(shard).to_pylist()
    ]
    return [row for row in rows if row["key"] == key]


def test_objects_are_those_of_the_table(rich: LocalObjectStore) -> None:
    seen = 0
    for batch in stream_of(rich, "image.trunk", annotations=True):
        assert batch.objects is not None
        for key, objects in zip(batch.keys, batch.objects, strict=True):
            rows = object_rows(rich, CLIPS if "." in key else STILLS, key)
            assert [item.object_id for item in objects] == [row["object_id"] for row in rows]
            for item, row in zip(objects, rows, strict=True):
                assert item.mask == mask_from_cell(row["mask"])
                assert item.box == tuple(row["box_xyxy"])
                assert (item.category, list(item.phrases)) == (row["category"], row["phrases"])
                assert item.is_crowd == row["is_crowd"]
            seen += len(objects)
    assert seen > 12


def test_sizes_are_those_of_the_stored_images(rich: LocalObjectStore) -> None:
    batch = next(iter(stream_of(rich, annotations=True, image_size=32, splits=[ALBUM])))
    assert batch.sizes is not None
    assert batch.objects is not None
    for (width, height), objects in zip(batch.sizes.tolist(), batch.objects, strict=True):
        mask = objects[0].mask
        assert mask is not None
        assert (mask.width, mask.height) == (width, height)


def test_phrases_come_once_with_their_text_features(rich: LocalObjectStore) -> None:
    split = Split.open(rich, *STILLS)
    tokens, mask = (array_of(rich, STILLS, name) for name in ("text.tokens", "text.mask"))
    features = ("image.trunk", "text.tokens", "text.mask")
    (batch,) = stream_of(rich, *features, annotations=True, batch_size=4)
    phrases, objects = batch.phrases, batch.objects
    assert phrases is not None
    assert objects is not None
    assert len(set(phrases.texts)) == len(phrases.texts) > 3
    rows = [split.phrases.index(text) for text in phrases.texts]
    stored = torch.from_numpy(tokens.read(rows)).to(torch.float16)
    assert torch.equal(phrases.features["text.tokens"], stored)
    assert phrases.features["text.mask"].tolist() == mask.read(rows).tolist()
    assert phrases.present.all()
    for image, key in enumerate(batch.keys):
        for item, numbers in zip(objects[image], phrases.objects[image], strict=True):
            assert tuple(phrases.texts[number] for number in numbers) == item.phrases
        shards = range(split.record.shards)
        (captions,) = [
            row["captions"]
            for shard in shards
            for row in split.samples_table(shard).to_pylist()
            if row["key"] == key
        ]
        assert [phrases.texts[number] for number in phrases.captions[image]] == captions
        assert phrases.negatives[image] == ()


def test_phrases_without_features_need_no_teacher_of_text(rich: LocalObjectStore) -> None:
    for batch in stream_of(rich, "image.trunk", phrases=True):
        assert batch.phrases is not None
        assert batch.phrases.features == {}
        assert batch.objects is None


def expected_memory(
    store: LocalObjectStore, name: str, key: str
) -> list[tuple[int, np.ndarray[Any, Any]]]:
    array, split = array_of(store, CLIPS, name), Split.open(store, *CLIPS)
    rows = [
        row
        for shard in range(split.record.shards)
        for row in expected_rows(split, array.record, shard)
        if row["key"] == key
    ]
    return [(row["object_id"], array.read([row["row"]])[0]) for row in rows]


def require_memory(store: LocalObjectStore, batch: Batch) -> int:
    memory = batch.memory
    assert memory is not None
    for image, key in enumerate(batch.keys):
        mine = torch.nonzero(memory.image == image).flatten().tolist()
        for name in MEMORY:
            wanted = expected_memory(store, name, key)
            assert [object_id for object_id, _ in wanted] == memory.object_id[mine].tolist()
            for row, (_, values) in zip(mine, wanted, strict=True):
                stored = memory.features[name][row]
                assert torch.equal(stored, torch.tensor(values).to(stored.dtype))
    return len(memory.image)


def test_frames_come_with_the_memory_of_each_object(rich: LocalObjectStore) -> None:
    batches = list(stream_of(rich, "image.trunk", *MEMORY))
    assert {key for batch in batches for key in batch.keys} == set(clip_keys(rich))
    assert sum(require_memory(rich, batch) for batch in batches) > 8


def clip_keys(store: LocalObjectStore) -> list[str]:
    split = Split.open(store, *CLIPS)
    shards = range(split.record.shards)
    return [sample.key for shard in shards for sample in split.samples(shard)]


@pytest.mark.parametrize(("frames", "hop"), [(2, None), (3, 1), (4, 2)])
def test_windows_are_consecutive_frames_of_one_clip(
    rich: LocalObjectStore, frames: int, hop: int | None
) -> None:
    stream = stream_of(
        rich, "image.trunk", *MEMORY, frames=frames, hop=hop, image_size=16, batch_size=2
    )
    keys = clip_keys(rich)
    clips = {key.partition(".")[0] for key in keys}
    starts = range(0, 4 - frames + 1, hop or frames)
    assert stream.samples == len(clips) * len(starts)
    trunk, seen = array_of(rich, CLIPS, "image.trunk"), set()
    for batch in stream:
        count = len(batch.indices)
        assert batch.images_BCHW is not None
        assert batch.images_BCHW.shape == (count, frames, 3, 16, 16)
        assert batch.features["image.trunk"].shape[:2] == (count, frames)
        require_memory(rich, batch)
        for number in range(count):
            window = batch.keys[number * frames : (number + 1) * frames]
            first = keys.index(window[0])
            assert list(window) == keys[first : first + frames]
            assert len({key.partition(".")[0] for key in window}) == 1
            seen.add(window[0])
            split = Split.open(rich, *CLIPS)
            for place, key in enumerate(window):
                row = keys.index(key)
                values = torch.from_numpy(trunk.read([row])[0]).to(torch.float16)
                assert torch.equal(batch.features["image.trunk"][number, place], values)
                shard, slot = divmod(row, split.record.rows_per_shard)
                image = decode_image(split.read_image(shard, split.samples(shard)[slot]), key)
                expected = resize_to_square(image, 16)
                assert torch.equal(batch.images_BCHW[number, place], expected)
    assert len(seen) == stream.samples


def test_windows_longer_than_every_clip_are_refused(rich: LocalObjectStore) -> None:
    with pytest.raises(UsageError, match="no run of 5 frames to train on"):
        stream_of(rich, "image.trunk", frames=5)


def test_stills_have_no_windows(rich: LocalObjectStore) -> None:
    with pytest.raises(UsageError, match="no run of 1 frames"):
        stream_of(rich, "image.trunk", splits=[ALBUM], frames=1)


def places_of(keys: Sequence[str]) -> list[str]:
    return [CAMERA if "." in key else ALBUM for key in keys]


def test_a_mixture_keeps_exact_proportions_and_resumes_elastically(
    rich: LocalObjectStore,
) -> None:
    weights = {ALBUM: 2, CAMERA: 1}

    def keys(count: int, **options: Any) -> list[str]:
        stream = stream_of(
            rich, "image.trunk", weights=weights, epochs=None, batch_size=1, **options
        )
        stream.position = options.pop("position", 0)
        found: list[str] = []
        for batch in stream:
            found += batch.keys
            if len(found) == count:
                return found
        raise AssertionError

    whole = keys(60)
    for first in range(0, 60, 3):
        assert places_of(whole[first : first + 3]).count(ALBUM) == 2
    for place, count in ((ALBUM, 3), (CAMERA, 8)):
        own = [key for key in whole if places_of([key]) == [place]]
        assert sorted(own[:count]) == sorted(set(own))
    assert len(set(places_of(whole[::3]))) == 2, "a rank of three meets both"
    halves = [keys(20, rank=rank, world_size=3) for rank in range(3)]
    merged = [key for step in zip(*halves, strict=True) for key in step]
    assert merged == whole


def test_an_epoch_of_a_mixture_lasts_until_each_split_was_gone_through(
    rich: LocalObjectStore,
) -> None:
    stream = stream_of(rich, "image.trunk", weights={ALBUM: 1, CAMERA: 1})
    keys = [key for batch in stream for key in batch.keys]
    assert stream.samples == len(keys) == 16
    assert set(clip_keys(rich)) <= set(keys)
    with pytest.raises(UsageError, match=f"none for {CAMERA}"):
        stream_of(rich, "image.trunk", weights={ALBUM: 1})
    with pytest.raises(UsageError, match="at least 1"):
        stream_of(rich, "image.trunk", weights={ALBUM: 1, CAMERA: 0})


def test_a_feature_may_have_a_name_of_ones_own(rich: LocalObjectStore) -> None:
    stream = FeatureStream(rich, "all", image_size=None, features={"x": "image.trunk"}, epochs=1)
    batch = next(iter(stream))
    assert list(batch.features) == ["x"]
    assert torch.equal(batch.values("x"), batch.features["x"])
