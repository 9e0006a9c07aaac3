"""Runs scripts in turn and notes which samples they learn from.

    NOTES=FOLDER python noted_batches.py [--ray] SCRIPT…

A batch counts as learned from when its values are asked for; each process writes into a file of
its own. While the folder has a file ``stop-after``, a process fails after that many batches; it is
removed before the last of several scripts.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.stream.batches import Batch


class StoppedError(Exception):
    """Not a fault of the script."""


def read_notes(folder: Path) -> list[str]:
    """Return the keys that all ranks together learned from, in the order of the stream."""
    lines = [line for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    turns = [json.loads(line) for line in lines]
    order: list[str] = []
    for position in sorted({turn["position"] for turn in turns}):
        ranks = sorted(
            (turn["rank"], turn["keys"]) for turn in turns if turn["position"] == position
        )
        for place in range(max(len(keys) for _, keys in ranks)):
            order += [keys[place] for _, keys in ranks if place < len(keys)]
    return order


def install() -> None:
    """Note from now on what is learned from in this process."""
    folder = Path(os.environ["NOTES"])
    Batch.values = _noting(Batch.values, folder)  # type: ignore[method-assign]


def _noting(values: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    path, stop = folder / f"{os.getpid()}.jsonl", folder / "stop-after"

    def noted(batch: Batch, *arguments: Any) -> Any:
        from torch import distributed

        rank = distributed.get_rank() if distributed.is_initialized() else 0
        done = len(path.read_text().splitlines()) if path.exists() else 0
        if stop.exists() and done == int(stop.read_text()):
            raise StoppedError
        with path.open("a") as file:
            turn = {"position": batch.position, "rank": rank, "keys": batch.keys}
            file.write(json.dumps(turn) + "\n")
        return values(batch, *arguments)

    return noted


def _install_in_ray_train() -> None:
    """Start a Ray of this machine, in which only those workers note that train."""
    import ray
    from ray.train import torch

    start = torch.TorchTrainer

    def noting(train: Callable[[Any], None], **options: Any) -> Any:
        def noted(config: Any) -> None:
            install()
            train(config)

        return start(noted, **options)

    torch.TorchTrainer = noting
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)


if __name__ == "__main__":
    _install_in_ray_train() if "--ray" in sys.argv else install()
    *stopping, last = [name for name in sys.argv[1:] if name != "--ray"]
    for script in stopping:
        with contextlib.suppress(Exception):
            runpy.run_path(script, run_name="__main__")
        (Path(os.environ["NOTES"]) / "stop-after").unlink()
    runpy.run_path(last, run_name="__main__")
