"""A run goes on from its own checkpoint only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.student.checkpoint import RunIdentity
from pipelines.student.config import TrainConfig
from schemas.errors import IdentityError
from schemas.features import FeatureSpec
from schemas.ids import canonical_json, parse_json
from tests.schemas.mutations import Mutation, leaves, mutations
from tests.stream.published_root import TEACHER

RUN = RunIdentity(
    manifest="0" * 64,
    manifest_reference="tiny@1",
    config=TrainConfig(student="efficientvit_b0", image_size=64),
    feature=FeatureSpec(name="image.trunk", rows="sample", item_shape=(8, 4, 4), codec="float16"),
    teacher=TEACHER,
)


def test_all_leaves_are_mutated() -> None:
    paths = {mutation.path.partition(".another")[0] for mutation in mutations(RUN)}
    assert paths >= leaves(RunIdentity)
    assert {"config.learning_rate", "feature.codec", "teacher.preprocess.mean"} <= paths


@pytest.mark.parametrize("other", mutations(RUN), ids=lambda mutation: mutation.path)
def test_any_single_change_is_refused_by_name(other: Mutation) -> None:
    with pytest.raises(IdentityError) as refused:
        RUN.require_same(other.record, Path("runs/a/checkpoint.pt"))
    assert f"asked for != found: {other.text}" in str(refused.value)


def test_the_same_run_goes_on() -> None:
    RUN.require_same(parse_json(canonical_json(RUN), RunIdentity, "x"), Path("checkpoint.pt"))


def test_a_run_of_before_there_were_views_goes_on() -> None:
    before = json.loads(canonical_json(RUN))
    del before["config"]["views"]
    found = parse_json(json.dumps(before).encode(), RunIdentity, "x")
    RUN.require_same(found, Path("checkpoint.pt"))
