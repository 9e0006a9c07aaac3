from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from pipelines.teachers.base import TeacherOptions
from pipelines.teachers.load import identify_teacher, load_teacher
from schemas.errors import DataError, UnknownNameError, UsageError


def test_loads_the_tiny_teacher_by_name_and_by_folder(tiny_folder: Path) -> None:
    options = TeacherOptions(text_context=16)
    by_name = load_teacher("tiny", options, cache=tiny_folder.parent)
    by_folder = load_teacher(str(tiny_folder), options)
    assert by_name.spec == by_folder.spec
    assert by_name.spec.tokenize is not None
    assert by_name.spec.tokenize.context == 16


@pytest.mark.parametrize("precision", ["float32", "bfloat16-autocast"])
def test_the_identity_is_that_of_the_loaded_teacher(
    tiny_folder: Path, precision: Literal["float32", "bfloat16-autocast"]
) -> None:
    options = TeacherOptions(text_context=16, precision=precision)
    teacher = load_teacher(str(tiny_folder), options)
    identity = identify_teacher("tiny", options, cache=tiny_folder.parent)
    assert identity.spec == teacher.spec
    for name in ("image.trunk", "text.tokens", "memory.maskmem", "prompts.iou"):
        assert identity.feature(name, "float16") == teacher.feature(name, "float16")


def test_an_identity_needs_the_same_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a config\.json"):
        identify_teacher(str(tmp_path))
    with pytest.raises(UsageError, match="2 to 32 tokens"):
        identify_teacher("tiny", TeacherOptions(text_context=99))


def test_an_unknown_short_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean tiny"):
        load_teacher("tinny", cache=tmp_path)
    with pytest.raises(UnknownNameError, match="facebook/sam3"):
        load_teacher("sam3", cache=tmp_path)


@pytest.mark.parametrize("name", ["/no/such", "./absent", "~absent/x", "a/b/c"])
def test_a_path_that_is_not_there_is_no_name_on_the_hub(name: str) -> None:
    with pytest.raises(UsageError, match="no folder"):
        load_teacher(name)
