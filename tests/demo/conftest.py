"""The archives of the demo, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.demo.origin import write_origin


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("origin")
    write_origin(folder)
    return folder
