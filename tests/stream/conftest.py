from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.store.local import LocalObjectStore
from tests.stream.published_root import RootPlan, build_root
from tests.stream.rich_root import build_rich_root


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalObjectStore:
    """A sound root with the default plan; tests must not change it."""
    return build_root(tmp_path_factory.mktemp("root"), RootPlan())


@pytest.fixture(scope="session")
def rich(tmp_path_factory: pytest.TempPathFactory) -> LocalObjectStore:
    """Photographs and clips with every kind of feature; tests must not change it."""
    return build_rich_root(tmp_path_factory.mktemp("rich"))


@pytest.fixture
def own_root(tmp_path: Path) -> Path:
    return tmp_path / "root"
