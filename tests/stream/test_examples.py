"""The examples of docs/streaming.md run as they stand, stop in mid-epoch, and go on elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipelines.store.local import LocalObjectStore
from pipelines.stream.feature_stream import FeatureStream
from tests.stream.noted_batches import read_notes
from tests.stream.published_root import RootPlan, build_root

PROJECT = Path(__file__).parents[2]
EXAMPLES = re.findall(
    r"^```python\n(.*?)^```",
    (PROJECT / "docs/streaming.md").read_text(encoding="utf-8"),
    re.MULTILINE | re.DOTALL,
)
BASIC, PLAIN, DDP, LIGHTNING, RAY = EXAMPLES[:5]
TWO_RANKS = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    build_root(tmp_path / "demo-root", RootPlan(name="demo", splits={"train": 12}))
    return tmp_path


def order(place: Path) -> list[str]:
    store = LocalObjectStore(place / "demo-root")
    stream = FeatureStream(store, "demo", image_size=None, epochs=1)
    return [key for batch in stream for key in batch.keys]


def run(
    place: Path,
    example: str,
    *more: str,
    launcher: Sequence[str] = (),
    stop_after: int | None = None,
) -> list[str]:
    """Run the example, and whatever else, in processes of its own; return what was learned from."""
    notes = place / "notes"
    notes.mkdir(exist_ok=True)
    (notes / "stop-after").unlink(missing_ok=True)
    if stop_after is not None:
        (notes / "stop-after").write_text(str(stop_after))
    (place / "example.py").write_text(example)
    own = {"NOTES": str(notes), "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    runner = [str(PROJECT / "tests/stream/noted_batches.py"), "example.py", *more]
    command = [sys.executable, *launcher, *runner]
    done = subprocess.run(command, cwd=place, env=os.environ | own, capture_output=True, text=True)
    stopped = stop_after is not None and not more
    assert (done.returncode != 0) == stopped, done.stdout + done.stderr
    return read_notes(notes)


def test_the_first_example(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    found: dict[str, object] = {}
    exec(compile(BASIC, "docs/streaming.md", "exec"), found)
    assert found["features"].shape == (2, 8, 4, 4)  # type: ignore[attr-defined]


def test_pytorch_goes_on_where_two_ranks_of_ddp_stopped(place: Path) -> None:
    assert run(place, DDP, launcher=TWO_RANKS, stop_after=1) == order(place)[:4]
    assert run(place, PLAIN) == order(place)


def test_lightning_goes_on_with_one_device_where_two_stopped(place: Path) -> None:
    pytest.importorskip("lightning")
    often = LIGHTNING.replace("every_n_train_steps=100", "every_n_train_steps=1")
    two = often.replace("max_steps=10000", "max_steps=2")
    assert run(place, two, launcher=TWO_RANKS) == order(place)[:8]
    one = often.replace("devices=2", "devices=1").replace("max_steps=10000", "max_steps=4")
    assert run(place, one) == order(place)


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_ray_train_goes_on_with_one_worker_where_two_stopped(place: Path) -> None:
    (place / "alone.py").write_text(RAY.replace("num_workers=2", "num_workers=1"))
    assert run(place, RAY, "alone.py", "--ray", stop_after=1) == order(place)
    steps = [len(path.read_text().splitlines()) for path in (place / "notes").glob("*.jsonl")]
    assert sorted(steps) == [1, 1, 4]
