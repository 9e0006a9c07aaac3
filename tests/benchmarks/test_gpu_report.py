"""The report that needs a GPU, on a CPU with a tiny teacher: all of it runs but the device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_every_line_runs_without_a_gpu(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    command = [sys.executable, "benchmarks/gpu_report.py", "--device", "cpu", "--tiny"]
    command += ["--images", "8", "--shard", "4", "--batches", "2", "4", "--threads", "1"]
    command += ["--no-compile", "--folder", str(tmp_path), "--out", str(report)]
    environment = os.environ | {
        "PYTHONPATH": str(PROJECT),
        "SAMDISTILL_CACHE": str(tmp_path / "teachers"),
    }
    subprocess.run(command, cwd=PROJECT, env=environment, check=True, stdout=subprocess.DEVNULL)
    lines = report.read_text().splitlines()
    for run in ("bare loop, batch 2", "samdistill cache, batch 4", "dump loop, batch"):
        assert any(line.startswith(f"| {run}") for line in lines), run
    ratios = json.loads(lines[-1])
    assert ratios.keys() == {"pipeline_vs_bare", "vs_dump_loop", "gpu_busy"}
    assert all(value > 0 for value in ratios.values())
    assert not list(tmp_path.glob("tmp*"))
