"""What a student loses by the codec of what it learns from: the same steps on the same images."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from sam3_models import PATCH, narrow_config, save_random

from pipelines.demo.album import ALBUM
from pipelines.engine.executor import LocalExecutor
from pipelines.engine.progress import Progress
from pipelines.jobs.asked_features import expand_features
from pipelines.jobs.cache import CacheOptions, plan_cache
from pipelines.jobs.cache_run import run_stage
from pipelines.jobs.feature_stage import teacher_loader
from pipelines.jobs.finish_split import Budget
from pipelines.jobs.normalize import NormalizeJob
from pipelines.jobs.publish import publish, select
from pipelines.jobs.shard_normalized import NormalizeStage
from pipelines.store.local import LocalObjectStore
from pipelines.store.run_log import RunLog
from pipelines.store.splits import Split
from pipelines.stream.feature_stream import FeatureStream
from pipelines.student.config import RunOptions, TrainConfig
from pipelines.student.losses import distill_loss
from pipelines.student.student_run import StudentRun
from pipelines.student.trainer import Trainer, open_training_stream
from pipelines.teachers.base import TeacherOptions, make_feature
from schemas.samples import Group, MediaKind, Sample, Source

GRID, LAYERS, MLP = 16, 4, 4096
_SIDE = GRID * PATCH


class Crops:
    """A split of crops of the album's photographs, each of another place."""

    dataset, split, licence, version = "bench", "crops", "none", "1"
    media: MediaKind = "image"

    def __init__(self, count: int) -> None:
        self._count = count
        self._pictures = [item.open().convert("RGB") for item in ALBUM]

    def sources(self) -> Mapping[str, str]:
        return {"album": "unverified"}

    def dropped(self) -> Mapping[str, int]:
        return {}

    def groups(self) -> Sequence[Group]:
        return [Group(key=f"crop-{index:04d}", rows=1) for index in range(self._count)]

    def read(self, group: Group) -> Iterator[Sample]:
        index = int(group.key.rpartition("-")[2])
        picture = self._pictures[index % len(self._pictures)]
        side = min(picture.size) // 2
        generator = torch.Generator().manual_seed(index)
        left, top = (
            int(torch.randint(length - side + 1, (), generator=generator))
            for length in picture.size
        )
        body = io.BytesIO()
        crop = picture.crop((left, top, left + side, top + side)).resize((_SIDE, _SIDE))
        crop.save(body, "JPEG", quality=90)
        yield Sample(
            key=group.key,
            source=Source(archive="album", member=group.key),
            width=_SIDE,
            height=_SIDE,
            encoded=body.getvalue(),
        )


def student_losses(
    folder: Path, codecs: Sequence[str], images: int, steps: int
) -> dict[str, float]:
    """Train a student on each codec; return its loss on all images against float32 features."""
    torch.set_num_threads(os.cpu_count() or 1)
    store = _cached(folder, codecs, images)
    losses = {}
    for codec in codecs:
        student = _trained(store, folder / codec, _array_name(codec), steps)
        losses[codec] = _loss(store, student)
    return losses


def _array_name(codec: str) -> str:
    return make_feature("image.trunk", {"image.trunk": ()}, codec).array_name


def _cached(folder: Path, codecs: Sequence[str], images: int) -> LocalObjectStore:
    """Normalize, cache and publish as the commands do, all codecs by one pass of the teacher."""
    store = LocalObjectStore(folder / "root")
    stage = NormalizeStage(store, Crops(images), rows_per_shard=16)
    NormalizeJob(stage, Budget()).run(LocalExecutor(), Progress(1))
    model = save_random(narrow_config(LAYERS, MLP, GRID), folder / "teacher")
    load = teacher_loader(str(model), TeacherOptions())
    wanted = [_array_name(codec) for codec in codecs]
    split = Split.open(store, Crops.dataset, Crops.split)
    for planned in plan_cache(split, load(), load, expand_features(wanted), CacheOptions()).stages:
        with RunLog(store, 1) as log:
            progress = Progress(len(planned.units))
            report = run_stage(planned, LocalExecutor(), "bench image", progress, log)
        assert not report.failures, report.failures[0]
    publish(store, "crops", select(store, []))
    return store


def _trained(store: LocalObjectStore, folder: Path, feature: str, steps: int) -> StudentRun:
    config = TrainConfig(
        student="efficientvit_b0",
        feature=feature,
        image_size=_SIDE,
        steps=steps,
        batch_size=8,
        warmup_steps=steps // 10,
    )
    stream = open_training_stream(store, "crops", config)
    run = StudentRun(stream, config, RunOptions(folder=folder))
    failures = Trainer(stream, [run]).run(lambda _run, _step: None)
    assert not failures, failures
    return run


def _loss(store: LocalObjectStore, run: StudentRun) -> float:
    """Return the training loss, weighted as in training, over all images."""
    name = _array_name("float32")
    total = 0.0
    stream = FeatureStream(store, "crops", image_size=_SIDE, features=(name,), epochs=1)
    run.student.eval()
    with torch.no_grad():
        for batch in stream:
            assert batch.images_BCHW is not None
            loss = distill_loss(
                run.student(batch.images_BCHW),
                batch.values(name, torch.float32),
                mse_weight=run.config.mse_weight,
                cosine_weight=run.config.cosine_weight,
            )
            total += len(batch.keys) * loss.total.item()
    return total / stream.samples
