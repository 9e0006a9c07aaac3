from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipelines.teachers.digests import digest_config, digest_weights
from schemas.errors import DataError

TENSORS = {
    "b.weight": torch.arange(6.0).reshape(2, 3),
    "a.bias": torch.ones(2),
    "c": torch.ones(()),
}


def folder_of(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    path.mkdir()
    save_file(tensors, path / "model.safetensors")
    return path


def test_how_tensors_are_spread_over_files_does_not_count(tmp_path: Path) -> None:
    whole = folder_of(tmp_path / "whole", TENSORS)
    parts = tmp_path / "parts"
    parts.mkdir()
    index = {}
    for number, name in enumerate(sorted(TENSORS, reverse=True)):
        file = f"model-{number}.safetensors"
        save_file({name: TENSORS[name]}, parts / file, metadata={"written": "today"})
        index[name] = file
    (parts / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert digest_weights(whole) == digest_weights(parts)


@pytest.mark.parametrize(
    "change",
    [
        {"a.bias": torch.tensor([1.0, 1.0000001])},
        {"a.bias": torch.ones(2, 1)},
        {"a.bias": torch.ones(2).view(torch.int32)},
        {"extra": torch.ones(1)},
    ],
    ids=["value", "shape", "dtype", "name"],
)
def test_any_change_of_a_tensor_counts(tmp_path: Path, change: dict[str, torch.Tensor]) -> None:
    before = digest_weights(folder_of(tmp_path / "before", TENSORS))
    after = digest_weights(folder_of(tmp_path / "after", TENSORS | change))
    assert before != after


def test_swapped_names_count(tmp_path: Path) -> None:
    one = folder_of(tmp_path / "one", {"a": torch.ones(1), "b": torch.zeros(1)})
    two = folder_of(tmp_path / "two", {"b": torch.ones(1), "a": torch.zeros(1)})
    assert digest_weights(one) != digest_weights(two)


@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, keep: int) -> None:
    path = folder_of(tmp_path / "cut", TENSORS) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"model\.safetensors"):
        digest_weights(path.parent)


def test_paths_dates_and_versions_do_not_count_in_a_config() -> None:
    plain = {"width": 3, "part": {"depth": 2, "dtype": None}}
    noisy = {
        "_name_or_path": "/home/me",
        "transformers_version": "6.0",
        "part": {"dtype": "float32", "_name_or_path": "x", "depth": 2},
        "width": 3,
    }
    assert digest_config(json.dumps(plain)) == digest_config(json.dumps(noisy))
    deeper = {"width": 3, "part": {"depth": 3}}
    assert digest_config(json.dumps(plain)) != digest_config(json.dumps(deeper))
