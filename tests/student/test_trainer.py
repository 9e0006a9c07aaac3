from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from pipelines.store.local import LocalObjectStore
from pipelines.student.checkpoint import load_checkpoint, load_student
from pipelines.student.config import RunOptions, TrainConfig
from pipelines.student.metrics import StepMetrics, TrainReport
from pipelines.student.student_run import StudentRun
from pipelines.student.trainer import Trainer, open_training_stream
from schemas.errors import DataError, IdentityError, StorageError
from tests.stream.published_root import TEACHER, RootPlan, build_root

CONFIG = TrainConfig(
    student="efficientvit_b0", image_size=64, steps=8, batch_size=3, warmup_steps=2, seed=3
)


def make_trainer(
    store: LocalObjectStore, folder: Path, checkpoint_every: int = 100, **changes: Any
) -> Trainer:
    config = msgspec.structs.replace(CONFIG, **changes)
    stream = open_training_stream(store, "tiny", config, threads=2)
    options = RunOptions(folder=folder, checkpoint_every=checkpoint_every)
    return Trainer(stream, [StudentRun(stream, config, options)])


def only(trainer: Trainer) -> StudentRun:
    (one,) = trainer.runs
    return one


def run(trainer: Trainer, stop_after: int | None = None) -> tuple[list[StepMetrics], TrainReport]:
    steps: list[StepMetrics] = []
    trainer.run(lambda _run, step: steps.append(step), stop_after=stop_after)
    return steps, only(trainer).report()


def numbers(steps: list[StepMetrics]) -> list[tuple[float, ...]]:
    return [(s.step, s.loss, s.mse, s.cosine, s.learning_rate, s.gradient_norm) for s in steps]


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return only(trainer).student.state_dict()


def require_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert different == []


@pytest.mark.parametrize("student", ["repvit_m0_9", "tiny_vit_11m"])
def test_a_resumed_run_is_bit_equal_to_an_unbroken_one(
    store: LocalObjectStore, tmp_path: Path, student: str
) -> None:
    """8 steps of 3 over 11 samples: the break is inside the second epoch."""
    straight = make_trainer(store, tmp_path / "straight", student=student)
    expected, report = run(straight)
    first_trainer = make_trainer(store, tmp_path / "broken", student=student)
    drawn = only(first_trainer)._random_states["torch"].clone()
    first, _ = run(first_trainer, stop_after=4)
    draws = not torch.equal(drawn, only(first_trainer)._random_states["torch"])
    assert draws == (student == "tiny_vit_11m")
    torch.manual_seed(99)
    second_trainer = make_trainer(store, tmp_path / "broken", student=student)
    second, resumed_report = run(second_trainer)
    assert numbers(first + second) == numbers(expected)
    require_equal(weights(straight), weights(second_trainer))
    assert (report.new_steps, resumed_report.new_steps) == (8, 4)
    assert report.last_loss == resumed_report.last_loss


def test_killed_between_checkpoints_it_repeats_the_lost_steps(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    expected, _ = run(make_trainer(store, tmp_path / "straight"))

    def die(_run: StudentRun, step: StepMetrics) -> None:
        if step.step == 6:
            raise SystemExit

    trainer = make_trainer(store, tmp_path / "killed", checkpoint_every=4)
    with pytest.raises(SystemExit):
        trainer.run(die)
    resumed = make_trainer(store, tmp_path / "killed")
    assert only(resumed).step == 4
    again, _ = run(resumed)
    assert numbers(again) == numbers(expected[4:])
    lines = (tmp_path / "killed" / "metrics.jsonl").read_bytes().splitlines()
    logged = [msgspec.json.decode(line, type=StepMetrics) for line in lines]
    assert numbers(logged) == numbers(expected)


def press_ctrl_c(_step: StepMetrics) -> None:
    signal.raise_signal(signal.SIGINT)


def interrupt(_step: StepMetrics) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("stop", [press_ctrl_c, interrupt])
def test_interrupted_it_goes_on_at_the_next_step(
    store: LocalObjectStore, tmp_path: Path, stop: Callable[[StepMetrics], None]
) -> None:
    straight = make_trainer(store, tmp_path / "straight")
    expected, _ = run(straight)
    steps: list[StepMetrics] = []

    def listen(_run: StudentRun, step: StepMetrics) -> None:
        steps.append(step)
        if step.step == 5:
            stop(step)

    with pytest.raises(KeyboardInterrupt):
        make_trainer(store, tmp_path / "broken").run(listen)
    torch.manual_seed(99)
    resumed = make_trainer(store, tmp_path / "broken")
    assert only(resumed).step == 5
    again, _ = run(resumed)
    assert numbers(steps + again) == numbers(expected)
    require_equal(weights(straight), weights(resumed))


def test_an_interrupt_while_waiting_for_data_loses_no_batch(
    store: LocalObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes when the stream counts a batch that no step has used."""
    expected, _ = run(make_trainer(store, tmp_path / "straight"))
    trainer = make_trainer(store, tmp_path / "broken")
    take = trainer.stream._next

    def take_and_stop(*arguments: Any) -> Any:
        batch = take(*arguments)
        if only(trainer).step == 3:
            raise KeyboardInterrupt
        return batch

    monkeypatch.setattr(trainer.stream, "_next", take_and_stop)
    with pytest.raises(KeyboardInterrupt):
        run(trainer)
    resumed = make_trainer(store, tmp_path / "broken")
    assert only(resumed).step == 3
    assert numbers(run(resumed)[0]) == numbers(expected[3:])


def test_a_half_done_step_is_not_saved(
    store: LocalObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(store, tmp_path, checkpoint_every=2)
    update = only(trainer)._optimizer.step

    def interrupted(*arguments: Any) -> None:
        update(*arguments)
        if only(trainer).step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(only(trainer)._optimizer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(trainer)
    assert load_checkpoint(tmp_path / "checkpoint.pt").step == 2


def test_time_alone_makes_a_checkpoint_due(store: LocalObjectStore, tmp_path: Path) -> None:
    stream = open_training_stream(store, "tiny", CONFIG, threads=2)
    options = RunOptions(folder=tmp_path, checkpoint_every=100, checkpoint_seconds=0)
    saved: list[int] = []

    def listen(_run: StudentRun, step: StepMetrics) -> None:
        if step.step > 1:
            saved.append(load_checkpoint(tmp_path / "checkpoint.pt").step)

    Trainer(stream, [StudentRun(stream, CONFIG, options)]).run(listen, stop_after=3)
    assert saved == [1, 2]


def test_a_complete_run_does_nothing(store: LocalObjectStore, tmp_path: Path) -> None:
    _, report = run(make_trainer(store, tmp_path))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    steps, again = run(make_trainer(store, tmp_path))
    assert steps == []
    assert again == replace(report, new_steps=0)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_the_loss_falls(store: LocalObjectStore, tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 40, "batch_size": 8, "learning_rate": 3e-3}
    _, report = run(make_trainer(store, tmp_path, **options))
    assert report.last_loss < 0.5 * report.first_loss
    assert 0 <= report.wait_share <= 1
    assert report.steps_per_second > 0


def test_bfloat16_trains_on_float32_weights(store: LocalObjectStore, tmp_path: Path) -> None:
    exact, _ = run(make_trainer(store, tmp_path / "fp32", steps=2))
    trainer = make_trainer(store, tmp_path / "bf16", steps=2, precision="bf16")
    rough, _ = run(trainer)
    assert rough[0].loss != exact[0].loss
    assert rough[0].loss == pytest.approx(exact[0].loss, rel=0.05)
    assert next(only(trainer).student.parameters()).dtype == torch.float32


def other_weights(root: Path) -> LocalObjectStore:
    return build_root(root, RootPlan(teacher=msgspec.structs.replace(TEACHER, weights="w1")))


@pytest.mark.parametrize(
    ("changes", "make_store", "named"),
    [
        ({"student": "efficientvit_b1"}, None, "config.student: 'efficientvit_b1' != "),
        ({"steps": 9}, None, "config.steps: 9 != 8"),
        ({}, lambda root: build_root(root, RootPlan(splits={"train": 9})), "manifest: "),
        ({}, other_weights, "teacher.weights: 'w1' != 'w0'"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    store: LocalObjectStore,
    tmp_path: Path,
    changes: dict[str, Any],
    make_store: Callable[[Path], LocalObjectStore] | None,
    named: str,
) -> None:
    run(make_trainer(store, tmp_path / "run"), stop_after=1)
    other = make_store(tmp_path / "root") if make_store else store
    with pytest.raises(IdentityError) as caught:
        make_trainer(other, tmp_path / "run", **changes)
    assert named in str(caught.value)
    assert "--out" in str(caught.value)


def test_a_failed_write_leaves_the_old_checkpoint(
    store: LocalObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(store, tmp_path)
    run(trainer, stop_after=1)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    sync = os.fsync

    def full(descriptor: int) -> None:
        if "checkpoint.pt" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"cannot write .*checkpoint.pt: No space"):
            run(trainer, stop_after=1)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["checkpoint.pt", "metrics.jsonl"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not permitted")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_line(store: LocalObjectStore, small_disk: Path) -> None:
    trainer = make_trainer(store, small_disk)
    with pytest.raises(StorageError) as caught:
        run(trainer, stop_after=1)
    message = str(caught.value)
    assert message.startswith(f"cannot write {small_disk / 'checkpoint.pt'}: ")
    assert "Free space" in message
    assert "\n" not in message
    assert os.listdir(small_disk) == ["metrics.jsonl"]


def test_full_metrics_are_one_line(store: LocalObjectStore, tmp_path: Path) -> None:
    trainer = make_trainer(store, tmp_path)
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"cannot write .*metrics.jsonl: No space .*--out"):
        run(trainer)


def test_a_folder_that_cannot_be_made_is_named(store: LocalObjectStore, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write .*file/run: "):
        make_trainer(store, tmp_path / "file" / "run")


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.999])
def test_a_cut_checkpoint_is_refused(store: LocalObjectStore, tmp_path: Path, share: float) -> None:
    run(make_trainer(store, tmp_path), stop_after=1)
    path = tmp_path / "checkpoint.pt"
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(DataError, match=r"checkpoint.pt is not a readable .*Remove it"):
        make_trainer(store, tmp_path)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"format": 1, "identity": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(DataError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "made").exists()


def test_lost_metrics_are_refused(store: LocalObjectStore, tmp_path: Path) -> None:
    run(make_trainer(store, tmp_path), stop_after=2)
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(DataError, match="does not fit the checkpoint"):
        make_trainer(store, tmp_path)


def test_loss_that_is_no_number_stops_and_keeps_the_checkpoint(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    trainer = make_trainer(store, tmp_path)
    run(trainer, stop_after=1)
    with torch.no_grad():
        only(trainer).student.head.out.bias.fill_(float("inf"))  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"step 2 .* is not finite, on samples train-"):
        run(trainer)
    assert load_checkpoint(tmp_path / "checkpoint.pt").step == 1


def test_a_students_weights_are_loaded_for_use(store: LocalObjectStore, tmp_path: Path) -> None:
    trainer = make_trainer(store, tmp_path)
    run(trainer)
    student = load_student(tmp_path / "checkpoint.pt")
    assert not student.training
    require_equal(student.state_dict(), weights(trainer))
