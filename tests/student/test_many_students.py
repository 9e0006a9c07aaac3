"""Several students on one pass over the data: each comes to what it would come to alone."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from pipelines.store.local import LocalObjectStore
from pipelines.student.checkpoint import load_checkpoint
from pipelines.student.config import RunOptions, TrainConfig
from pipelines.student.metrics import StepMetrics
from pipelines.student.student_run import StudentRun
from pipelines.student.trainer import Trainer, open_training_stream
from schemas.errors import DataError, SamdistillError, StorageError, TrainingError, UsageError
from tests.stream.published_root import RootPlan, build_root

CONFIG = TrainConfig(
    student="efficientvit_b0", image_size=64, steps=4, batch_size=3, warmup_steps=2, seed=3
)
A, B, SHORT, RANDOM = "a", "b", "short", "random"
CHANGES: dict[str, dict[str, Any]] = {
    A: {},
    B: {"learning_rate": 3e-3},
    SHORT: {"steps": 1},
    # It draws random numbers in each step: which paths to drop.
    RANDOM: {"student": "tiny_vit_11m"},
}


def make_trainer(
    store: LocalObjectStore, root: Path, *students: str, **changes: Any
) -> tuple[Trainer, dict[str, StudentRun]]:
    config = msgspec.structs.replace(CONFIG, **changes)
    stream = open_training_stream(store, "tiny", config, threads=2)
    runs = {
        name: StudentRun(
            stream,
            msgspec.structs.replace(config, **CHANGES[name]),
            RunOptions(folder=root / name, checkpoint_every=2),
        )
        for name in students
    }
    return Trainer(stream, list(runs.values())), runs


def ignore(_run: StudentRun, _step: StepMetrics) -> None:
    pass


def train(
    store: LocalObjectStore, root: Path, *students: str, stop_after: int | None = None
) -> None:
    trainer, _ = make_trainer(store, root, *students)
    assert trainer.run(ignore, stop_after=stop_after) == {}


def checkpoint(root: Path, student: str) -> bytes:
    return (root / student / "checkpoint.pt").read_bytes()


def contents(root: Path, student: str) -> Any:
    """Return the checkpoint with the bytes of each tensor in its place."""

    def plain(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
        if isinstance(value, dict):
            return {name: plain(item) for name, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list) else value

    return plain(torch.load(root / student / "checkpoint.pt", weights_only=True))


def require_as_alone(store: LocalObjectStore, tmp_path: Path, *students: str) -> None:
    """Compare ``tmp_path / "together"`` with unbroken runs of one student each."""
    for student in students:
        train(store, tmp_path / "alone", student)
        together, alone = (contents(tmp_path / folder, student) for folder in ("together", "alone"))
        assert together == alone


def break_at(run: StudentRun, step: int, fault: Callable[[StudentRun], None]) -> None:
    """Let ``fault`` happen in the forward pass of that step."""

    def hook(*_: Any) -> None:
        if run.step + 1 == step:
            fault(run)

    run.student.register_forward_pre_hook(hook)


def diverge(run: StudentRun) -> None:
    with torch.no_grad():
        run.student.head.out.bias.fill_(float("inf"))  # type: ignore[union-attr]


def exhaust_memory(_run: StudentRun) -> None:
    torch.empty(2**60, dtype=torch.uint8)


def test_each_checkpoint_is_that_of_the_student_alone(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    train(store, tmp_path / "together", A, RANDOM)
    for student in (RANDOM, A):
        train(store, tmp_path / "alone", student)
        assert checkpoint(tmp_path / "together", student) == checkpoint(tmp_path / "alone", student)


class CountingStore(LocalObjectStore):
    """Counts the bytes that are read of which files."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read: list[tuple[str, int]] = []

    def read_into(self, key: str, offset: int, *buffers: memoryview) -> int:
        count = super().read_into(key, offset, *buffers)
        self.read.append((key, count))
        return count

    def read_blocks(self, key: str, offset: int, *buffers: memoryview) -> Iterator[memoryview]:
        for block in super().read_blocks(key, offset, *buffers):
            self.read.append((key, len(block)))
            yield block

    def bytes_of(self, part: str) -> int:
        return sum(count for key, count in self.read if part in key)


def test_a_sample_is_read_once_for_all(store: LocalObjectStore, tmp_path: Path) -> None:
    """Up to what was read ahead when the last step was done."""
    one, two = CountingStore(store.root), CountingStore(store.root)
    for counting, students in ((one, [A]), (two, [A, B])):
        trainer, _ = make_trainer(counting, tmp_path / str(len(students)), *students, steps=16)
        trainer.run(ignore)
    for part in ("/media-", "/image.trunk/c/"):
        assert 0 < two.bytes_of(part) < 1.4 * one.bytes_of(part)


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (diverge, DataError, r"step 3 of .*/b is not finite, on samples train-"),
        (exhaust_memory, TrainingError, r"step 3 of .*/b failed: .*memory"),
    ],
)
def test_a_student_that_fails_is_stopped_and_the_others_go_on(
    store: LocalObjectStore,
    tmp_path: Path,
    fault: Callable[[StudentRun], None],
    kind: type[SamdistillError],
    said: str,
) -> None:
    trainer, runs = make_trainer(store, tmp_path / "together", B, A)
    break_at(runs[B], 3, fault)
    told: list[tuple[StudentRun, SamdistillError]] = []
    failures = trainer.run(ignore, lambda run, error: told.append((run, error)))
    assert told == [(runs[B], failures[runs[B]])]
    with pytest.raises(kind, match=said):
        raise told[0][1]
    assert load_checkpoint(tmp_path / "together" / B / "checkpoint.pt").step == 2
    train(store, tmp_path / "together", B)
    require_as_alone(store, tmp_path, B, A)


def test_the_last_one_that_fails_is_an_error(store: LocalObjectStore, tmp_path: Path) -> None:
    trainer, runs = make_trainer(store, tmp_path, B, A)
    for step, run in enumerate(runs.values(), start=1):
        break_at(run, step, exhaust_memory)
    with pytest.raises(TrainingError, match=f"step 2 of .*/{A} failed"):
        trainer.run(ignore)


def test_a_checkpoint_that_cannot_be_written_stops_one_student(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    trainer, runs = make_trainer(store, tmp_path / "together", B, A)
    (tmp_path / "together" / B / "checkpoint.pt").mkdir()
    failures = trainer.run(ignore)
    assert isinstance(failures[runs[B]], StorageError)
    require_as_alone(store, tmp_path, A)


def test_what_all_need_and_cannot_be_read_stops_all(tmp_path: Path) -> None:
    store = build_root(tmp_path / "root", RootPlan())
    for path in (tmp_path / "root/features").rglob("c/1/0/0/0"):
        path.write_bytes(bytes(path.stat().st_size))
    trainer, _ = make_trainer(store, tmp_path, A, B)
    with pytest.raises(SamdistillError, match="c/1/0/0/0"):
        trainer.run(ignore)


def test_checkpoints_of_different_steps_go_on_together(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    """One is done, one is ahead, one is new; the stream starts with the last."""
    together = tmp_path / "together"
    train(store, together, RANDOM)
    train(store, together, B, stop_after=3)
    done = checkpoint(together, RANDOM)
    trainer, _ = make_trainer(store, together, RANDOM, B, A)
    steps: list[tuple[str, int]] = []
    trainer.run(lambda run, step: steps.append((run.options.folder.name, step.step)))
    assert steps == [(A, 1), (A, 2), (A, 3), (B, 4), (A, 4)]
    assert checkpoint(together, RANDOM) == done
    require_as_alone(store, tmp_path, B, A)


@pytest.mark.parametrize("behind", [A, SHORT])
def test_those_ahead_do_not_wait_for_one_that_has_failed_or_is_done(
    store: LocalObjectStore, tmp_path: Path, behind: str
) -> None:
    whole, rest = CountingStore(store.root), CountingStore(store.root)
    trainer, _ = make_trainer(whole, tmp_path, B, steps=16)
    trainer.run(ignore, stop_after=15)
    trainer, runs = make_trainer(rest, tmp_path, B, behind, steps=16)
    if behind == A:
        break_at(runs[A], 1, diverge)
    trainer.run(ignore)
    assert [run.step for run in runs.values()] == [16, 1 if behind == SHORT else 0]
    assert 0 < rest.bytes_of("/image.trunk/c/") < 0.8 * whole.bytes_of("/image.trunk/c/")


def test_interrupted_between_two_students_both_go_on(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    trainer, runs = make_trainer(store, tmp_path / "together", B, A)

    def stop(run: StudentRun, step: StepMetrics) -> None:
        if (run, step.step) == (runs[B], 3):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trainer.run(stop)
    _, again = make_trainer(store, tmp_path / "together", B, A)
    assert {name: run.step for name, run in again.items()} == {B: 3, A: 2}
    train(store, tmp_path / "together", B, A)
    require_as_alone(store, tmp_path, B, A)


@pytest.mark.parametrize(("name", "value"), [("batch_size", 2), ("seed", 4), ("image_size", 32)])
def test_students_that_need_other_batches_are_refused(
    store: LocalObjectStore, tmp_path: Path, name: str, value: int
) -> None:
    _, runs = make_trainer(store, tmp_path, A)
    trainer, other = make_trainer(store, tmp_path, B, **{name: value})
    with pytest.raises(UsageError, match=f"{name} of .*{A}.*; expected {value}; got"):
        Trainer(trainer.stream, [*other.values(), *runs.values()])


def test_students_that_need_other_views_are_refused(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    trainer, runs = make_trainer(store, tmp_path, A)
    config = msgspec.structs.replace(CONFIG, views=("identity", "hflip"))
    other = StudentRun(trainer.stream, config, RunOptions(folder=tmp_path / B))
    with pytest.raises(UsageError, match=r"views of .*expected \('identity',\); got"):
        Trainer(trainer.stream, [runs[A], other])


def test_students_that_share_a_folder_are_refused(store: LocalObjectStore, tmp_path: Path) -> None:
    _, runs = make_trainer(store, tmp_path, A)
    trainer, others = make_trainer(store, tmp_path, A)
    with pytest.raises(UsageError, match="students share a folder"):
        Trainer(trainer.stream, [runs[A], others[A]])


@pytest.mark.parametrize("codec", ["int8", "fp8_e4m3", "bfloat16", "pca64"])
def test_a_student_learns_the_values_whatever_their_codec(
    store: LocalObjectStore, tmp_path: Path, codec: str
) -> None:
    def first_loss(root: LocalObjectStore, **changes: Any) -> float:
        losses: list[float] = []
        trainer, _ = make_trainer(root, tmp_path / codec / str(len(changes)), A, **changes)
        trainer.run(lambda _run, step: losses.append(step.loss), stop_after=1)
        return losses[0]

    coded = build_root(tmp_path / "root", RootPlan(codec=codec))
    loss = first_loss(coded, feature=f"image.trunk@{codec}")
    assert loss == pytest.approx(first_loss(store), rel=0.02)
