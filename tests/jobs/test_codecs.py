"""Every codec through the real job: cached by the tiny SAM3, published, verified, looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.jobs.publish import publish, select
from pipelines.report.page import render_page
from pipelines.store.arrays import FeatureArray
from pipelines.store.local import LocalObjectStore
from pipelines.store.verify import verify_manifest
from tests.jobs import normalized_split as made

TRUNKS = {
    "image.trunk": 3e-4,
    "image.trunk@bfloat16": 3e-3,
    "image.trunk@int8": 1e-2,
    "image.trunk@fp8_e4m3": 4e-2,
    "image.trunk@pca64": 1e-2,
}
"""Arrays, and the relative error that the codec may make; the tiny trunk has 64 channels."""
EXACT = "image.trunk@float32"


def cache(root: Path) -> dict[str, FeatureArray]:
    split = made.normalize(root, made.Stills(count=4, phrases=3))
    planned = made.plan(split, EXACT, *TRUNKS, "text.tokens@pca64", "text.mask")
    for stage in planned.stages:
        for unit in stage.units:
            stage.stage.run(unit)
    arrays = (array for stage in planned.stages for array in stage.stage.arrays)
    return {array.feature.array_name: array for array in arrays}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def arrays(root: Path) -> dict[str, FeatureArray]:
    return cache(root)


@pytest.mark.parametrize("name", TRUNKS)
def test_the_values_are_those_of_float32_up_to_the_codec(
    arrays: dict[str, FeatureArray], name: str
) -> None:
    rows = range(4)
    exact, found = arrays[EXACT].read(rows), arrays[name].read(rows)
    assert 0 < np.linalg.norm(found - exact) <= TRUNKS[name] * np.linalg.norm(exact)


def test_another_run_writes_the_same_bytes(
    root: Path, arrays: dict[str, FeatureArray], tmp_path: Path
) -> None:
    assert cache(tmp_path).keys() == arrays.keys()
    assert made.tree(tmp_path) == made.tree(root)


def test_a_deep_check_finds_nothing(root: Path, arrays: dict[str, FeatureArray]) -> None:
    store = LocalObjectStore(root)
    published = publish(store, "all", select(store, [], features=list(arrays)))
    assert list(verify_manifest(store, published, deep=True).findings) == []


@pytest.mark.parametrize("name", TRUNKS)
@pytest.mark.usefixtures("arrays")
def test_the_page_shows_maps_of_every_codec(root: Path, name: str) -> None:
    store = LocalObjectStore(root)
    page = render_page(store, publish(store, "one", select(store, [], features=[name])))
    assert name in page
    assert page.count("data:image/png") == 8, "an image and a map of each sample"
