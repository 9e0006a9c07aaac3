"""The cluster file passes Ray's own check, and its example uses options that exist."""

from __future__ import annotations

import copy
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from jsonschema.exceptions import ValidationError  # type: ignore[import-untyped]
from ray.autoscaler._private.util import prepare_config, validate_config

from pipelines.cli import cache

FILE = Path(__file__).parents[1] / "ray_cluster.yaml"

pytestmark = pytest.mark.ray


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


def test_ray_accepts_it(config: dict[str, Any]) -> None:
    validate_config(prepare_config(copy.deepcopy(config)))


def test_ray_would_refuse_a_slip(config: dict[str, Any]) -> None:
    config["available_node_types"]["gpu"]["max_worker"] = 1
    with pytest.raises(ValidationError):
        validate_config(prepare_config(config))


def test_units_run_on_gpu_nodes_only(config: dict[str, Any]) -> None:
    nodes = config["available_node_types"]
    assert nodes[config["head_node_type"]]["resources"] == {"CPU": 0}
    assert nodes["gpu"]["min_workers"] == 0
    assert config["max_workers"] >= nodes["gpu"]["max_workers"]


def test_every_node_starts_ray_with_the_token(config: dict[str, Any]) -> None:
    assert "~/.ray/auth_token" in config["file_mounts"]
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        (start,) = (line for line in config[name] if "ray start" in line)
        assert "RAY_AUTH_MODE=token" in start


def test_its_example_uses_options_that_exist() -> None:
    text = FILE.read_text()
    example = text[text.index("samdistill cache") : text.index("ray down")]
    options = set(re.findall(r"--([a-z-]+)", example))
    assert {"root", "address", "device"} <= options
    assert options <= inspect.signature(cache.cache).parameters.keys()
