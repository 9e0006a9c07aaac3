from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Sam3VideoConfig, Sam3VideoModel

from pipelines.media.preprocess import resize_to_square
from pipelines.teachers.digests import digest_weights
from pipelines.teachers.sam3 import Sam3Teacher
from pipelines.teachers.tiny import default_cache, tiny_teacher_folder
from tests.contracts.teacher_contract import box_prompt, random_frames

WRITE = """
import sys
from pipelines.teachers.tiny import tiny_teacher_folder
sys.stdout.write(str(tiny_teacher_folder()))
"""


def test_processes_that_write_at_once_agree_on_the_same_bytes(
    tiny_folder: Path, tmp_path: Path
) -> None:
    environment = os.environ | {"SAMDISTILL_CACHE": str(tmp_path), "PYTHONHASHSEED": "random"}
    root = Path(__file__).parents[2]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE], cwd=root, env=environment, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    folders = {writer.communicate()[0].decode() for writer in writers}
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(folders) == 1
    folder = Path(folders.pop())
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert digest_weights(folder) == digest_weights(tiny_folder)
    assert (folder / "config.json").read_bytes() == (tiny_folder / "config.json").read_bytes()


def test_an_existing_folder_is_used_as_it_is(tmp_path: Path) -> None:
    folder = tiny_teacher_folder(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert tiny_teacher_folder(tmp_path) == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_writing_leaves_the_random_state_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tiny_teacher_folder(tmp_path)
    torch.testing.assert_close(torch.rand(3), expected)


def test_it_is_the_real_model_but_smaller(tiny_folder: Path) -> None:
    """Every kind of parameter of the official configuration is there, and no other."""

    def kinds(model: Any) -> set[str]:
        return {re.sub(r"\d+", "N", name) for name, _ in model.named_parameters()}

    with torch.device("meta"):
        official = Sam3VideoModel(Sam3VideoConfig())
    tiny = Sam3VideoModel.from_pretrained(tiny_folder)
    assert kinds(tiny) == kinds(official)
    assert sum(parameter.numel() for parameter in tiny.parameters()) < 8e6


def test_its_features_follow_the_image(tiny_teacher: Sam3Teacher) -> None:
    """Patches that look alike have features that are alike."""
    image = np.zeros((224, 224, 3), np.uint8)
    image[:, :112] = (200, 40, 40)
    image[:, 112:] = (40, 90, 220)
    batch = resize_to_square(image, 224)[None]
    trunk = tiny_teacher.encode_images(batch)["image.trunk"][0]
    red, blue = trunk[:, :, :7].reshape(64, -1), trunk[:, :, 9:].reshape(64, -1)
    between = np.linalg.norm(red.mean(1) - blue.mean(1))
    assert between > 3 * np.linalg.norm(red.std(1))
    assert between > 3 * np.linalg.norm(blue.std(1))


def test_objects_are_visible_and_logits_differ_over_the_image(tiny_teacher: Sam3Teacher) -> None:
    for frame in tiny_teacher.track(random_frames(224, 4), 4, [box_prompt(1, 0)]):
        features = frame.objects[0].features
        assert features["memory.object_score"] > 0
        assert features["memory.mask_logits"].std() > 0.1


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SAMDISTILL_CACHE": "/c"}, "/c"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/samdistill"),
        ({"SAMDISTILL_CACHE": "/c", "XDG_CACHE_HOME": "/x"}, "/c"),
        ({"HOME": "/h"}, "/h/.cache/samdistill"),
    ],
)
def test_cache_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name in ("SAMDISTILL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert default_cache() == Path(expected)
