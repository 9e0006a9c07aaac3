from __future__ import annotations

import os
import re
from pathlib import Path

import boto3
import pytest
import typer
from typer.testing import CliRunner, Result

from pipelines.cli.train import register
from pipelines.store.local import LocalObjectStore
from schemas.errors import IdentityError, StorageError, TrainingError, UsageError
from tests.s3_server import serving_s3
from tests.stream.published_root import TEACHER

SMALL = ["--student", "efficientvit_b0", "--steps", "4", "--batch", "2", "--device", "cpu"]


def train(store: LocalObjectStore, out: Path, *more: str) -> str:
    return invoke(store, out, *SMALL, *more).stdout


def invoke(store: LocalObjectStore, out: Path, *more: str, catch: bool = False) -> Result:
    app = typer.Typer()
    register(app)
    arguments = ["tiny", "--root", str(store.root), "--out", str(out), *more]
    return CliRunner().invoke(app, arguments, catch_exceptions=catch)


def test_trains_then_says_that_it_is_complete(store: LocalObjectStore, tmp_path: Path) -> None:
    shown = train(store, tmp_path)
    assert f"tiny@1: 11 samples, image.trunk of teacher {TEACHER.digest}" in shown
    assert "step 1/4  loss " in shown
    assert "step 4/4  loss " in shown
    assert "data wait" in shown
    assert str(tmp_path / "checkpoint.pt") in shown
    again = train(store, tmp_path)
    assert "complete: all 4 steps were done before" in again
    assert again.splitlines()[-4:] == shown.splitlines()[-4:]


def test_the_digest_of_the_teacher_is_checked(store: LocalObjectStore, tmp_path: Path) -> None:
    assert "step 4/4" in train(store, tmp_path / "right", "--teacher", TEACHER.digest)
    with pytest.raises(IdentityError, match="no features of teacher 0123456789abcdef"):
        train(store, tmp_path / "wrong", "--teacher", "0123456789abcdef")
    assert not (tmp_path / "wrong").exists()


def test_resume_never_refuses_a_checkpoint(store: LocalObjectStore, tmp_path: Path) -> None:
    train(store, tmp_path, "--resume", "never")
    with pytest.raises(UsageError, match="holds a checkpoint"):
        train(store, tmp_path, "--resume", "never")


def test_a_bucket_is_read_through_a_folder_and_within_a_budget(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    with serving_s3():
        client = boto3.client("s3")
        for key in store.keys(""):
            client.put_object(Bucket="bucket", Key=key, Body=store.get(key))
        folder = ["--root", "s3://bucket", "--cache-folder", str(tmp_path / "cache")]
        first = train(store, tmp_path / "a", *folder, "--requests-per-second", "1000")
        assert re.search(r"requests +\d\d to s3://bucket", first)
        assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*/*")) > 1000
        # The listing of the manifests and little more: what was read is in the folder.
        train(store, tmp_path / "b", *folder, "--requests", "9")
        with pytest.raises(StorageError, match="the budget of 9 requests to s3://bucket is used"):
            train(store, tmp_path / "c", *folder[:2], "--requests", "9")


def test_a_folder_has_no_budget_of_requests(store: LocalObjectStore, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="to which no requests are sent"):
        train(store, tmp_path, "--requests", "9")


def test_a_cache_folder_never_takes_over_another_folder(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(UsageError, match="holds other files"):
        train(store, tmp_path / "out", "--cache-folder", str(tmp_path))


def test_a_device_that_is_not_there(store: LocalObjectStore, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="device 'warp' cannot be used"):
        train(store, tmp_path, "--device", "warp")


def test_out_must_be_a_folder(store: LocalObjectStore, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"--out .*/file is a file; expected a folder"):
        train(store, tmp_path / "file")


def test_several_students_learn_together(store: LocalObjectStore, tmp_path: Path) -> None:
    train(store, tmp_path / "efficientvit_b0")
    shown = train(store, tmp_path, "--student", "repvit_m0_9", "--steps", "4")
    assert "efficientvit_b0, repvit_m0_9 on cpu, tiny@1: 11 samples" in shown
    assert "repvit_m0_9: step 4/4  loss " in shown
    assert "efficientvit_b0: step" not in shown
    assert "student     efficientvit_b0\ncomplete: all 4 steps were done before" in shown
    for name in ("efficientvit_b0", "repvit_m0_9"):
        assert f"checkpoint  {tmp_path / name / 'checkpoint.pt'}" in shown
        assert (tmp_path / name / "checkpoint.pt").exists()


def test_a_failed_student_is_named_and_is_an_error(store: LocalObjectStore, tmp_path: Path) -> None:
    full = tmp_path / "efficientvit_b1" / f".checkpoint.pt.{os.getpid()}.tmp"
    full.mkdir(parents=True)
    done = invoke(store, tmp_path, *SMALL, "--student", "efficientvit_b1", catch=True)
    assert isinstance(done.exception, TrainingError)
    assert "1 of 2 students failed: efficientvit_b1" in str(done.exception)
    assert "efficientvit_b1 stopped, the others go on: cannot write " in done.stderr
    assert f"checkpoint  {tmp_path}/efficientvit_b0/checkpoint.pt" in done.stdout
    assert "student     efficientvit_b1" not in done.stdout


def test_a_student_twice_is_refused(store: LocalObjectStore, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--student efficientvit_b0 is given twice"):
        train(store, tmp_path, "--student", "efficientvit_b0")
