from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.teachers.base import TeacherOptions
from pipelines.teachers.sam3 import Sam3Teacher
from pipelines.teachers.tiny import tiny_teacher_folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_teacher_folder(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny_teacher(tiny_folder: Path) -> Sam3Teacher:
    return Sam3Teacher.load(str(tiny_folder), TeacherOptions(image_batch=4))
