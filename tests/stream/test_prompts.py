"""Prompts in batches, against the arrays, the objects and the teacher itself."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.jobs.encode_prompts import prompts_of
from pipelines.jobs.publish import publish, select
from pipelines.store.arrays import FeatureArray
from pipelines.store.local import LocalObjectStore
from pipelines.store.splits import Split
from pipelines.stream.feature_stream import FeatureStream
from schemas.errors import IntegrityError, UsageError
from schemas.samples import Annotation, Group, Sample
from tests.jobs import normalized_split as made
from tests.jobs.planted import Rows, Table, replant
from tests.stream.test_feature_stream import flip

PROMPTS = ("prompts.points", "prompts.boxes", "prompts.mask_logits", "prompts.iou")
DOCUMENT = Path(__file__).parents[2] / "docs/teacher.md"


@dataclass(frozen=True)
class Crowded(made.Stills):
    """Each picture shows a crowd, the object of ``Stills``, one with a box only, and another."""

    def read(self, group: Group) -> Iterator[Sample]:
        for sample in super().read(group):
            (first,) = sample.annotations
            assert first.mask is not None
            crowd = Annotation(object_id=500, mask=first.mask, is_crowd=True)
            boxed = Annotation(object_id=501, box=(1, 2, 9, 8))
            last = Annotation(object_id=502, mask=first.mask)
            yield replace(sample, annotations=(crowd, first, boxed, last))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalObjectStore:
    """Seven pictures, of which the sixth is missing, by the tiny teacher, published as ``all``."""
    split = made.normalize(tmp_path_factory.mktemp("root"), Crowded(count=7))
    (planned,) = made.plan(split, "image", "prompts").stages
    for unit in planned.units:
        planned.stage.run(unit)
    store = LocalObjectStore(split.store.url)
    publish(store, "all", select(store, []))
    return store


def stream_of(store: LocalObjectStore, *features: str, **options: Any) -> FeatureStream:
    options = {"image_size": 64, "batch_size": 4, "threads": 2, "epochs": 1} | options
    return FeatureStream(store, "all", features=features, **options)


def array_of(store: LocalObjectStore, name: str) -> FeatureArray:
    teacher = made.load_tiny().spec.digest
    return FeatureArray.open(store, f"features/made-up/stills/{teacher}/{name}")


def test_each_prompt_is_a_row_beside_its_object(store: LocalObjectStore) -> None:
    split, seen = Split.open(store, "made-up", "stills"), 0
    stored = {item.key: item for shard in (0, 1) for item in split.samples(shard)}
    for batch in stream_of(store, "image.trunk", *PROMPTS, annotations=True):
        prompts = batch.prompts
        assert prompts is not None
        assert batch.objects is not None
        assert batch.sizes is not None
        asked = prompts.asked(batch.sizes)
        for image, key in enumerate(batch.keys):
            mine = torch.nonzero(prompts.image == image).flatten().tolist()
            number = int(key.partition("-")[2])
            assert prompts.object_id[mine].tolist() == [number, number, 502, 502]
            assert [prompts.kinds[row] for row in mine] == ["point", "box"] * 2
            objects = [batch.objects[image][place] for place in prompts.object[mine].tolist()]
            assert [item.object_id for item in objects] == [number, number, 502, 502]
            shard = number // 4
            sound = [item for item in split.objects(shard) if item.key == key and item.mask]
            assert asked[image] == [prompt for item in sound for prompt in prompts_of(item)]
            # Beside two objects with masks there is one without, whose rows the arrays lack.
            first = 6 * stored[key].row if shard == 0 else 6 * (stored[key].row - (number > 5))
            for name in PROMPTS:
                array = array_of(store, name)
                start = shard * array.record.rows_per_shard + first
                rows = array.read([start, start + 1, start + 4, start + 5])
                np.testing.assert_array_equal(batch.values(name, torch.float32)[mine], rows)
            seen += 1
        moved = batch.to("cpu").prompts
        assert moved is not None
        assert torch.equal(moved.object, prompts.object)
    assert seen == 6


def test_rows_follow_the_order_of_any_batch(store: LocalObjectStore) -> None:
    def answers(**options: Any) -> dict[tuple[str, int, str], float]:
        found: dict[tuple[str, int, str], float] = {}
        for batch in stream_of(store, "image.trunk", "prompts.iou", **options):
            assert batch.prompts is not None
            assert batch.objects is None
            images = batch.prompts.image.tolist()
            ids, kinds = batch.prompts.object_id.tolist(), batch.prompts.kinds
            values = batch.values("prompts.iou").tolist()
            for image, object_id, kind, value in zip(images, ids, kinds, values, strict=True):
                found[batch.keys[image], object_id, kind] = value
        return found

    expected = answers()
    assert len(expected) == 6 * 4
    assert answers(batch_size=1, seed=3) == expected
    assert answers(batch_size=3, locality="shard", window=1) == expected


def test_coordinates_must_be_asked_for(store: LocalObjectStore) -> None:
    batch = next(iter(stream_of(store, "image.trunk", "prompts.points", "prompts.iou")))
    assert batch.prompts is not None
    assert batch.sizes is not None
    with pytest.raises(UsageError, match=r"no prompts\.boxes"):
        batch.prompts.asked(batch.sizes)


def test_the_example_of_the_documentation_learns(store: LocalObjectStore) -> None:
    (example,) = re.findall(
        r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL
    )
    for shown, here in (("demo-root", store.url), ('"demo"', '"all"'), ("facebook/sam3", "tiny")):
        assert shown in example
        example = example.replace(shown, here)
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    exec(example, names)
    losses = names["losses"]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    assert all(parameter.grad is not None for parameter in names["student"].parameters())


@pytest.fixture
def own(store: LocalObjectStore, tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(Path(shutil.copytree(store.root, tmp_path / "root")))


def test_a_damaged_prompt_is_reported_with_key_and_path(own: LocalObjectStore) -> None:
    array = array_of(own, "prompts.mask_logits")
    flip(own.root / array.shard_key(0), 17)
    with pytest.raises(IntegrityError, match=r"sample still-000: .*prompts\.mask_logits.*damaged"):
        list(stream_of(own, "image.trunk", *PROMPTS))


def test_a_prompt_that_one_feature_lacks_has_no_row(own: LocalObjectStore) -> None:
    def leave_out(rows: Rows, table: Table) -> None:
        rows[0], table[0]["quarantine"] = None, "unstorable: made up"

    replant(array_of(own, "prompts.iou"), 0, leave_out)
    publish(own, "all", select(own, []))
    for names, count in ((PROMPTS, 3), (("prompts.mask_logits",), 4)):
        (found,) = (
            [
                kind
                for kind, image in zip(batch.prompts.kinds, batch.prompts.image, strict=True)
                if image == place
            ]
            for batch in stream_of(own, "image.trunk", *names)
            for place, key in enumerate(batch.keys)
            if key == "still-000" and batch.prompts is not None
        )
        assert found == ["point", "box", "point", "box"][-count:]


@dataclass(frozen=True)
class Others(made.Stills):
    split = "others"

    def groups(self) -> Sequence[Group]:
        return [Group(key=f"still-{20 + index:03d}", rows=1) for index in range(self.count)]


def test_prompts_of_two_splits_in_one_batch(tmp_path: Path) -> None:
    store, seen = LocalObjectStore(tmp_path), 0
    for source in (made.Stills(count=4), Others(count=4)):
        (planned,) = made.plan(made.normalize(tmp_path, source), "image.trunk", "prompts").stages
        for unit in planned.units:
            planned.stage.run(unit)
    publish(store, "all", select(store, []))
    teacher = made.load_tiny().spec.digest
    for batch in stream_of(store, "image.trunk", "prompts.points", "prompts.iou", batch_size=8):
        prompts = batch.prompts
        assert prompts is not None
        for row, image in enumerate(prompts.image.tolist()):
            number = int(batch.keys[image].partition("-")[2])
            split = "others" if number >= 20 else "stills"
            place = 2 * (number % 20) + (prompts.kinds[row] == "box")
            for name in ("prompts.points", "prompts.iou"):
                array = FeatureArray.open(store, f"features/made-up/{split}/{teacher}/{name}")
                expected = array.read([place])[0]
                np.testing.assert_array_equal(batch.values(name, torch.float32)[row], expected)
            seen += 1
    assert seen == 16
