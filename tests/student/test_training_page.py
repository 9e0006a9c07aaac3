"""The example of docs/training.md runs as it stands, but for its number of steps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.stream.published_root import RootPlan, build_root

PAGE = Path(__file__).parents[2] / "docs/training.md"


def test_two_learning_rates_share_a_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_root(tmp_path / "demo-root", RootPlan(name="demo"))
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    found: dict[str, object] = {}
    exec(compile(example.replace("steps=200", "steps=2"), str(PAGE), "exec"), found)
    assert found["failures"] == {}
    for rate in ("0.001", "0.003"):
        assert (tmp_path / f"runs/rate-{rate}/checkpoint.pt").exists()
