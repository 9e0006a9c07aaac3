"""The archives of the demo, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.demo.coco_archives import write_coco_archives
from pipelines.demo.davis_archives import write_davis_archives


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("origin")
    write_coco_archives(folder)
    write_davis_archives(folder)
    return folder
