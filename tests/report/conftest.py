from __future__ import annotations

import pytest

from pipelines.jobs.publish import publish, select
from pipelines.store.local import LocalObjectStore
from pipelines.store.published import PublishedManifest
from tests.jobs.colour_teacher import ColourTeacher
from tests.jobs.sample_root import build_root


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalObjectStore:
    store = LocalObjectStore(tmp_path_factory.mktemp("report") / "root")
    build_root(store, ColourTeacher())
    return store


@pytest.fixture(scope="session")
def published(store: LocalObjectStore) -> PublishedManifest:
    return publish(store, "all", select(store, []))
