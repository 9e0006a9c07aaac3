"""Streams of mirrored images: what they show, and that everything in a batch is of it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.jobs.asked_features import expand_features
from pipelines.jobs.cache import CacheOptions, PlannedStage, plan_cache
from pipelines.jobs.publish import publish, select
from pipelines.media.images import decode_image
from pipelines.media.preprocess import resize_to_square
from pipelines.store import layout
from pipelines.store.arrays import FeatureArray
from pipelines.store.local import LocalObjectStore
from pipelines.store.splits import Split
from pipelines.stream.batches import Batch
from pipelines.stream.feature_stream import FeatureStream
from pipelines.stream.loader import StreamLoader
from pipelines.stream.shown_views import shown_views
from schemas.errors import IdentityError, UnknownNameError, UsageError
from schemas.features import View
from tests.jobs.colour_teacher import SIZE, ColourTeacher
from tests.jobs.planted import Rows, Table, replant
from tests.jobs.sample_root import CLIPS, STILLS, clips, normalize, stills

BOTH: tuple[View, ...] = ("identity", "hflip")
WEIGHTS = {"album/val": 2, "camera/val": 1}


def cached(
    split: Split, *features: str, views: tuple[View, ...] = BOTH
) -> tuple[PlannedStage, ...]:
    wanted = expand_features(features, views)
    plan = plan_cache(split, ColourTeacher(), ColourTeacher, wanted, CacheOptions())
    for planned in plan.stages:
        for unit in planned.units:
            planned.stage.run(unit)
    return plan.stages


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalObjectStore:
    """Photographs in both views, clips of which one is cached in both and memory in one."""
    store = LocalObjectStore(tmp_path_factory.mktemp("views"))
    photographs = stills()
    album = normalize(store, STILLS, [photographs[:3], photographs[3:]])
    camera = normalize(store, CLIPS, clips(2, 4), "video")
    cached(album, "image.trunk", "text")
    cached(camera, "image.trunk", "memory.maskmem")
    publish(store, "all", select(store, []))
    return store


def stream_of(store: LocalObjectStore, *features: str, **options: Any) -> FeatureStream:
    usual: dict[str, Any] = {"image_size": 64, "batch_size": 3, "threads": 2, "epochs": 1}
    options = usual | {"views": BOTH} | options
    return FeatureStream(store, "all", features=features or ("image.trunk",), **options)


class Stored:
    """What is stored of each image, read without the stream."""

    def __init__(self, store: LocalObjectStore) -> None:
        self.images: dict[str, tuple[np.ndarray[Any, Any], dict[str, np.ndarray[Any, Any]]]] = {}
        self.objects: dict[str, list[dict[str, Any]]] = {}
        for place in (STILLS, CLIPS):
            self._read(store, Split.open(store, *place), place)

    def _read(self, store: LocalObjectStore, split: Split, place: tuple[str, str]) -> None:
        teacher = ColourTeacher().spec.digest
        arrays = {
            view: FeatureArray.open(store, layout.array_folder(*place, teacher, name))
            for view, name in (("identity", "image.trunk"), ("hflip", "image.trunk~hflip"))
        }
        for shard in range(split.record.shards):
            for row in split.annotations_table(shard).to_pylist():
                self.objects.setdefault(row["key"], []).append(row)
            for sample in split.samples(shard):
                if sample.quarantine is None:
                    image = decode_image(split.read_image(shard, sample), sample.key)
                    number = shard * split.record.rows_per_shard + sample.row
                    features = {view: array.read([number])[0] for view, array in arrays.items()}
                    self.images[sample.key] = image, features


@pytest.fixture(scope="module")
def stored(store: LocalObjectStore) -> Stored:
    return Stored(store)


def require_shown(batch: Batch, stored: Stored) -> None:
    """Require that pixels and features are of the view that the batch names."""
    assert batch.images_BCHW is not None
    pixels = batch.images_BCHW.reshape(-1, 3, 64, 64)
    features = batch.values("image.trunk").reshape(len(batch.keys), -1)
    for place, (key, view) in enumerate(zip(batch.keys, batch.views, strict=True)):
        image_HWC, of_view = stored.images[key]
        shown = image_HWC if view == "identity" else image_HWC[:, ::-1].copy()
        assert torch.equal(pixels[place], resize_to_square(shown, 64))
        expected = torch.from_numpy(of_view[view].astype(np.float16)).reshape(-1)
        assert torch.equal(features[place], expected)


def test_pixels_and_features_are_of_the_view_that_is_named(
    store: LocalObjectStore, stored: Stored
) -> None:
    seen: dict[str, set[str]] = {}
    for batch in stream_of(store, epochs=6):
        require_shown(batch, stored)
        for key, view in zip(batch.keys, batch.views, strict=True):
            seen.setdefault(key, set()).add(view)
    assert seen.keys() == stored.images.keys()
    assert sum(len(views) for views in seen.values()) > 1.5 * len(seen)


def test_mirrored_features_are_what_the_teacher_sees_in_the_mirrored_pixels(
    store: LocalObjectStore,
) -> None:
    batch = next(iter(stream_of(store, views=("hflip",), image_size=SIZE)))
    assert set(batch.views) == {"hflip"}
    assert batch.images_BCHW is not None
    live = torch.from_numpy(ColourTeacher().encode_images(batch.images_BCHW)["image.trunk"])
    assert torch.allclose(batch.values("image.trunk", torch.float32), live, atol=5e-3)


def test_objects_are_mirrored_with_their_image(store: LocalObjectStore, stored: Stored) -> None:
    mirrored = 0
    for batch in stream_of(store, annotations=True, epochs=3):
        assert batch.objects is not None
        assert batch.sizes is not None
        images = zip(batch.keys, batch.views, batch.objects, batch.sizes.tolist(), strict=True)
        for key, view, objects, (width, _) in images:
            for item, row in zip(objects, stored.objects.get(key, []), strict=True):
                cell, (x0, y0, x1, y1) = row["mask"], row["box_xyxy"]
                assert item.mask is not None
                assert (item.object_id, item.mask.width) == (row["object_id"], width)
                if view == "identity":
                    assert item.mask.counts == cell["counts"]
                    assert item.box == (x0, y0, x1, y1)
                else:
                    assert item.box == (width - x1, y0, width - x0, y1)
                    assert item.mask.mirrored().counts == cell["counts"]
                    assert not item.mask.area or item.mask.box == item.box
                    mirrored += 1
    assert mirrored > 10


def test_all_frames_of_a_window_show_the_same_view(store: LocalObjectStore, stored: Stored) -> None:
    shown = set()
    for batch in stream_of(store, frames=2, batch_size=2, epochs=4):
        require_shown(batch, stored)
        pairs = list(zip(batch.views[::2], batch.views[1::2], strict=True))
        assert all(first == second for first, second in pairs)
        shown |= set(pairs)
    assert len(shown) == 2


def order(stream: FeatureStream) -> list[tuple[str, str]]:
    return [pair for batch in stream for pair in zip(batch.keys, batch.views, strict=True)]


def test_the_view_depends_on_seed_and_position_alone(store: LocalObjectStore) -> None:
    whole = order(stream_of(store, epochs=2))
    assert whole == order(stream_of(store, epochs=2, batch_size=2, threads=5, image_size=None))
    assert whole == order(pickle.loads(pickle.dumps(stream_of(store, epochs=2))))
    assert [view for _, view in whole] != [
        view for _, view in order(stream_of(store, epochs=2, seed=1))
    ]
    ranks = [order(stream_of(store, epochs=2, rank=rank, world_size=3)) for rank in range(3)]
    assert [ranks[place % 3][place // 3] for place in range(len(whole))] == whole


def test_a_stopped_stream_goes_on_with_the_same_views(store: LocalObjectStore) -> None:
    whole = order(stream_of(store, epochs=2))
    stream = stream_of(store, epochs=2)
    batches = iter(stream)
    first = [next(batches) for _ in range(2)]
    state = stream.state_dict()
    batches.close()
    assert state["views"] == "identity,hflip"
    rest = stream_of(store, epochs=2, batch_size=1)
    rest.load_state_dict(state)
    begun = [pair for batch in first for pair in zip(batch.keys, batch.views, strict=True)]
    assert begun + order(rest) == whole


def test_a_state_of_other_views_is_refused(store: LocalObjectStore) -> None:
    plain = stream_of(store, views=("identity",))
    assert "views" not in plain.state_dict()
    with pytest.raises(IdentityError, match="views: None != identity,hflip"):
        plain.load_state_dict(stream_of(store).state_dict())


def test_each_view_is_as_likely() -> None:
    shown = shown_views(BOTH, 3, np.arange(2000))
    assert 900 < shown.count("hflip") < 1100
    assert shown_views(("hflip",), 3, np.arange(3)) == ("hflip",) * 3


def test_which_view_comes_is_part_of_the_order_and_never_changes() -> None:
    letters = "".join(view[0] for view in shown_views(BOTH, 0, np.arange(24)))
    assert letters == "hihiiihiihiiihihhhiihiii"
    assert shown_views(BOTH, -1, np.arange(9)) == shown_views(BOTH, 2**64 - 1, np.arange(9))


def test_a_view_that_was_not_cached_is_an_error(
    store: LocalObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    del store
    other = LocalObjectStore(tmp_path_factory.mktemp("one"))
    split = normalize(other, STILLS, [stills()])
    cached(split, "image.trunk", views=("identity",))
    publish(other, "all", select(other, []))
    assert len(stream_of(other, views=("identity",)).index) > 0
    missing = "no split of manifest all has all of image.trunk, image.trunk~hflip"
    with pytest.raises(UsageError, match=missing):
        stream_of(other)
    with pytest.raises(UsageError, match=r"split album/val .* has no image.trunk~hflip"):
        stream_of(other, splits=["album/val"])


@pytest.mark.parametrize("views", [(), ("hflip", "hflip")])
def test_views_are_named_once_each(store: LocalObjectStore, views: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="one or more, each once"):
        stream_of(store, views=views)
    with pytest.raises(UnknownNameError, match="Did you mean hflip"):
        stream_of(store, views=("hflop",))


def test_views_are_a_set(store: LocalObjectStore) -> None:
    turned = stream_of(store, views=("hflip", "identity"), epochs=2)
    assert turned.state_dict() == stream_of(store).state_dict()
    assert turned.features["image.trunk"].view == "identity"
    assert order(turned) == order(stream_of(store, epochs=2))


@pytest.mark.parametrize("more", [{"locality": "shard", "window": 1}, {"weights": WEIGHTS}])
def test_views_in_other_orders(store: LocalObjectStore, stored: Stored, more: Any) -> None:
    shown = set()
    for batch in stream_of(store, epochs=2, **more):
        require_shown(batch, stored)
        shown |= set(batch.views)
    assert shown == set(BOTH)


def test_worker_processes_show_the_same(store: LocalObjectStore) -> None:
    whole = order(stream_of(store, epochs=2))
    batches = list(StreamLoader(stream_of(store, epochs=2), num_workers=2))
    pairs = [pair for batch in batches for pair in zip(batch.keys, batch.views, strict=True)]
    assert pairs == whole


def test_a_sample_that_one_view_lacks_is_left_out(own_root: Path) -> None:
    store = LocalObjectStore(own_root)
    split = normalize(store, STILLS, [stills()])
    stages = cached(split, "image.trunk")

    def lose(rows: Rows, table: Table) -> None:
        rows[0], table[0]["quarantine"] = None, "forward: it failed"

    replant(stages[1].stage.arrays[0], 0, lose)
    publish(store, "all", select(store, []))
    lost = split.samples(0)[0].key
    assert lost in {key for key, _ in order(stream_of(store, views=("identity",)))}
    assert lost not in {key for key, _ in order(stream_of(store))}


def test_what_has_no_views_is_not_shown_beside_mirrored_images(store: LocalObjectStore) -> None:
    with pytest.raises(UsageError, match=r"feature memory.maskmem is of images as they are"):
        stream_of(store, "image.trunk", "memory.maskmem")
    with pytest.raises(UsageError, match=r"Name image.trunk, and hflip among the views"):
        stream_of(store, "image.trunk~hflip", views=("identity",))


def test_text_and_images_alone_need_no_cached_view(store: LocalObjectStore) -> None:
    batch = next(iter(stream_of(store, "text.tokens", splits=["album/val"])))
    assert batch.phrases is not None
    assert batch.phrases.present.all()
