from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from pipelines.store.local import LocalObjectStore
from tests.stream.published_root import RootPlan, build_root


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalObjectStore:
    """A sound root with the default plan; tests must not change it."""
    return build_root(tmp_path_factory.mktemp("root"), RootPlan())


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On images this small, threads wait for each other longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
