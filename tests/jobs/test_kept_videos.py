"""SA-V train with its videos kept: from normalize to training."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.engine.executor import LocalExecutor
from pipelines.exchange.export import Export
from pipelines.jobs.audit import audit
from pipelines.jobs.audit_amount import Amount
from pipelines.jobs.finish_split import Budget
from pipelines.jobs.normalize import NormalizeJob
from pipelines.jobs.publish import publish, select
from pipelines.jobs.shard_normalized import NormalizeStage
from pipelines.media.preprocess import resize_to_square
from pipelines.media.video import open_video
from pipelines.normalize.base import LayoutOptions
from pipelines.normalize.sav import sa_v
from pipelines.normalize.sources import local_files
from pipelines.report.page import render_page
from pipelines.store import layout
from pipelines.store.local import LocalObjectStore
from pipelines.store.published import PublishedManifest
from pipelines.store.splits import Split
from pipelines.store.verify import verify_manifest
from pipelines.stream.feature_stream import FeatureStream
from schemas.errors import ConflictError, UsageError
from tests.engine.stages import Heard
from tests.jobs import normalized_split as made
from tests.normalize.sav_source import SavTrain

CLIPS = ("sav_000001", "sav_000002")


def normalize(root: Path, source: Path, **options: Any) -> Split:
    normalizer = sa_v(local_files(source, "sa-v", "train"), "train", LayoutOptions(**options))
    store = LocalObjectStore(root)
    stage = NormalizeStage(store, normalizer, rows_per_shard=8, threads=2)
    NormalizeJob(stage, Budget()).run(LocalExecutor(), Heard())
    return Split.open(store, "sa-v", "train")


def cache(split: Split) -> PublishedManifest:
    for planned in made.plan(split).stages:
        report = LocalExecutor().run(planned.stage, list(planned.units), Heard())
        assert not report.failures
    return publish(split.store, "all", select(split.store, []))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SavTrain().write(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Split:
    return normalize(tmp_path_factory.mktemp("root"), source, keep_video=True)


@pytest.fixture(scope="module")
def published(split: Split) -> PublishedManifest:
    return cache(split)


def frames_of(mp4: bytes) -> list[np.ndarray[Any, Any]]:
    with open_video(mp4, "clip") as video:
        return [frame.image_HWC for frame in video.frames()]


def video_of(clip: str, source: Path) -> bytes:
    with tarfile.open(source / "sav_000.tar") as tar:
        member = tar.extractfile(f"sav_train/sav_000/{clip}.mp4")
        assert member is not None
        return member.read()


def test_a_shard_holds_each_video_once(split: Split, source: Path) -> None:
    media = Path(split.store.url, layout.media_key("sa-v", "train", 0))
    with tarfile.open(media) as tar:
        assert tar.getnames() == [f"{clip}.mp4" for clip in CLIPS]
    samples = split.samples(0)
    assert [sample.key.partition(".")[2] for sample in samples] == [
        *("00000", "00004", "00008"),
        "00000",
    ]
    for sample in samples:
        assert split.read_image(0, sample) == video_of(str(sample.clip), source)
    assert set(split.samples_table(0)["extension"].to_pylist()) == {"mp4"}


def test_annotations_are_those_of_the_stored_frames(
    tmp_path: Path, split: Split, source: Path
) -> None:
    pictures = normalize(tmp_path, source)
    assert split.annotations_table(0).equals(pictures.annotations_table(0))


def test_verify_accepts_it_and_finds_damage_once(
    tmp_path: Path, source: Path, split: Split, published: PublishedManifest
) -> None:
    assert verify_manifest(split.store, published, deep=True).findings == ()
    damaged = normalize(tmp_path, source, keep_video=True)
    manifest = publish(damaged.store, "all", select(damaged.store, []))
    made.rot_image(damaged, 0, 0)
    problems = [
        finding.problem for finding in verify_manifest(damaged.store, manifest, deep=True).findings
    ]
    assert sum("sav_000001.00000" in problem for problem in problems) == 1
    assert not any("sav_000001.00004" in problem for problem in problems)


def test_training_sees_the_frames_of_the_video(
    split: Split, source: Path, published: PublishedManifest
) -> None:
    stream = FeatureStream(split.store, "all", image_size=64, batch_size=2, epochs=1)
    found: dict[str, Any] = {}
    for batch in stream:
        assert batch.images_BCHW is not None
        found.update(zip(batch.keys, batch.images_BCHW.numpy().copy(), strict=True))
    assert len(found) == 4
    for key, image_CHW in found.items():
        clip, _, number = key.partition(".")
        frame = frames_of(video_of(clip, source))[int(number)]
        assert np.array_equal(image_CHW, resize_to_square(frame, 64).numpy())


def test_features_are_those_of_the_frames(
    split: Split, source: Path, published: PublishedManifest
) -> None:
    """Recomputed from the shard, and, without any of its readers, from the published video."""
    load = made.load_tiny
    found = audit(split.store, published, lambda _: load(), Amount.parse("100%"))
    assert found.findings == []
    assert {item.compared for item in found.arrays if item.array == "image.trunk"} == {4}
    teacher = load()
    stream = FeatureStream(split.store, "all", image_size=None, batch_size=1, epochs=1)
    for batch in stream:
        clip, _, number = batch.keys[0].partition(".")
        frame = frames_of(video_of(clip, source))[int(number)]
        square = resize_to_square(frame, teacher.spec.preprocess.image_size)
        live = np.asarray(teacher.encode_images(square[None], ("image.trunk",))["image.trunk"][0])
        assert np.allclose(batch.values("image.trunk")[0].float().numpy(), live, atol=2e-2)


def test_the_page_shows_its_frames(split: Split, published: PublishedManifest) -> None:
    assert "frames of sav_000001" in render_page(split.store, published)


def test_no_export_has_its_frames(split: Split, published: PublishedManifest) -> None:
    with pytest.raises(UsageError, match="sa-v/train keeps the videos of its clips"):
        Export(split.store, published, "webdataset")


@pytest.mark.parametrize("kept", [False, True])
def test_the_two_ways_are_not_mixed_in_one_split(tmp_path: Path, source: Path, kept: bool) -> None:
    normalize(tmp_path, source, keep_video=kept)
    normalize(tmp_path, source, keep_video=kept)
    with pytest.raises(ConflictError, match=r"with other options.*--keep-video=True"):
        normalize(tmp_path, source, keep_video=not kept)
