from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.engine.work import Stage, WorkUnit
from pipelines.jobs.audit import audit
from pipelines.jobs.audit_amount import Amount
from pipelines.jobs.encode_prompts import prompts_of
from pipelines.jobs.publish import publish, select
from pipelines.media.images import decode_image
from pipelines.media.preprocess import resize_to_square
from pipelines.store.arrays import FeatureArray
from pipelines.store.local import LocalObjectStore
from pipelines.store.splits import Split
from pipelines.store.tables import read_table
from pipelines.store.verify import verify_manifest
from schemas.errors import UsageError
from schemas.prompts import STILL_PROMPTS
from schemas.tables import PROMPT_ROWS
from tests.contracts.stage_contract import StageContract
from tests.jobs import normalized_split as made


class TestPromptStage(StageContract):
    def prepare(self, root: Path) -> None:
        made.normalize(root, made.Stills())

    def make_stage(self, store: LocalObjectStore) -> tuple[Stage, WorkUnit]:
        (planned,) = made.plan(Split.open(store, "made-up", "stills"), "image", "prompts").stages
        return planned.stage, planned.stage.units[0]


def cached(root: Path, *wanted: str) -> dict[str, FeatureArray]:
    (planned,) = made.plan(made.normalize(root, made.Stills()), *wanted).stages
    for unit in planned.units:
        planned.stage.run(unit)
    return {array.feature.name: array for array in planned.stage.arrays}


def test_rows_are_each_object_in_each_way(tmp_path: Path) -> None:
    arrays = cached(tmp_path, "prompts", "image")
    split = Split.open(LocalObjectStore(tmp_path), "made-up", "stills")
    assert {array.record.rows_per_shard for name, array in arrays.items() if "prompts" in name} == {
        8
    }
    teacher = made.load_tiny()
    # Picture 5 is not there, and has no objects.
    item = split.objects(1)[1]
    assert (item.key, item.row) == ("still-006", 2)
    logits = arrays["prompts.mask_logits"]
    table = read_table(logits.store, f"{logits.folder}/rows-00001.parquet", PROMPT_ROWS).to_pylist()
    named = [(row["key"], row["object_id"], row["prompt"]) for row in table]
    assert named[2:4] == [("still-006", 6, "point"), ("still-006", 6, "box")]
    assert len(named) == 6
    image = decode_image(split.read_image(1, split.samples(1)[2]), item.key)
    square = resize_to_square(image, 224)
    prompts = prompts_of(item)
    expected = teacher.encode_prompts(torch.stack([square]), [prompts])
    for name, values in expected.items():
        np.testing.assert_allclose(arrays[name].read([10, 11]), values, atol=4e-3)
    assert item.mask is not None
    for way in range(len(STILL_PROMPTS)):
        (column, row) = arrays["prompts.points"].read([10 + way])[0]
        assert item.mask.decode()[int(row), int(column)]
        np.testing.assert_array_equal(arrays["prompts.boxes"].read([10 + way])[0], [8, 5, 19, 19])


def test_the_published_prompts_verify_and_recompute(tmp_path: Path) -> None:
    arrays = cached(tmp_path, "prompts")
    store = LocalObjectStore(tmp_path)
    published = publish(store, "all", select(store, []))
    assert verify_manifest(store, published, deep=True).findings == ()
    found = audit(store, published, lambda _: made.load_tiny(), Amount.parse("3"))
    assert {item.array for item in found.arrays if item.compared == 3} == set(arrays)
    assert found.findings == []


def test_clips_have_no_prompts_of_stills(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, made.Clips(count=1))
    with pytest.raises(UsageError, match="no stills with objects"):
        made.plan(split, "prompts")


def test_prompts_are_cached_on_request_only(tmp_path: Path) -> None:
    plan = made.plan(made.normalize(tmp_path, made.Stills()))
    assert not [array for array in plan.arrays if array.feature.rows == "prompt"]
