from __future__ import annotations

import json
import resource
import socket
import threading
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from pipelines.cli import doctor
from pipelines.jobs.doctor import Diagnosis, examine
from pipelines.store.local import LocalObjectStore
from schemas.errors import StorageError
from tests.s3_server import serving_s3


def diagnose(root: str) -> dict[str, Diagnosis]:
    return {item.what: item for item in examine(root)}


def invoke(*arguments: str) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    doctor.register(app)
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_a_line_for_each_thing_and_nothing_left_behind(tmp_path: Path) -> None:
    shown = invoke("--root", str(tmp_path))
    lines = shown.output.splitlines()
    assert all(line[:5].strip() in {"ok", "note", "bad"} for line in lines)
    for word in ("packages: Python 3.", "torch 2.", "GPU: ", "/dev/shm: ", "open files: up to "):
        assert word in shown.output
    assert f"disk of {tmp_path}: " in shown.output
    assert f"ok   root {tmp_path}: takes and keeps files" in lines[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_to_be_made_is_tried_above(tmp_path: Path) -> None:
    root = tmp_path / "not" / "there"
    assert diagnose(str(root))[f"root {root}"].state == "ok"
    assert list(tmp_path.iterdir()) == []


def test_json_has_the_same(tmp_path: Path) -> None:
    found = json.loads(invoke("--root", str(tmp_path), "--json").stdout)
    assert found[-1]["what"] == f"root {tmp_path}"
    assert found[-1]["state"] == "ok"


def test_a_root_that_replaces_files_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def put(store: LocalObjectStore, key: str, body: bytes) -> bool:
        (store.root / key).write_bytes(body)
        return True

    monkeypatch.setattr(LocalObjectStore, "put_if_absent", put)
    shown = invoke("--root", str(tmp_path))
    assert shown.exit_code == 1
    assert "a file that exists is replaced by a second one. Use a file system with hard" in (
        shown.output
    )


def test_a_file_in_place_of_a_root_is_bad(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    found = diagnose(str(tmp_path / "file"))
    assert found[f"root {tmp_path / 'file'}"].state == "bad"


def test_a_bucket_that_answers() -> None:
    with serving_s3():
        found = diagnose("s3://bucket/some/prefix")["root s3://bucket/some/prefix"]
        assert found.state == "ok", found
        missing = diagnose("s3://nothing/x")["root s3://nothing/x"]
        assert (missing.state, "nothing" in missing.found) == ("bad", True)


def test_a_bucket_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.jobs.doctor._SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        found = diagnose("s3://bucket/x")["root s3://bucket/x"]
    assert found.state == "bad"
    assert "no answer within" in found.found


def test_a_mount_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def free_bytes(folder: Path) -> int:
        if folder == tmp_path:
            ended.wait()
        return 64 << 30

    monkeypatch.setattr("pipelines.jobs.doctor._SECONDS", 0.3)
    monkeypatch.setattr("pipelines.jobs.doctor.free_bytes", free_bytes)
    found = diagnose(str(tmp_path))
    ended.set()
    assert f"root {tmp_path}" in found
    assert f"disk of {tmp_path}" not in found


def test_what_was_made_is_removed_when_it_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(store: LocalObjectStore, key: str) -> bytes:
        raise StorageError(f"cannot read {key}")

    monkeypatch.setattr(LocalObjectStore, "get", get)
    found = diagnose(str(tmp_path))[f"root {tmp_path}"]
    assert (found.state, found.found.startswith("cannot read")) == ("bad", True)
    assert list(tmp_path.iterdir()) == []


def test_limits_are_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr("pipelines.jobs.doctor.free_bytes", lambda _: 64 << 20)
    monkeypatch.setattr("pipelines.jobs.doctor._version", lambda name: None)
    monkeypatch.setenv("RAY_TMPDIR", "/scratch/" + "x" * 60)
    monkeypatch.setenv("HF_TOKEN", "made-up")
    found = diagnose(str(tmp_path))
    assert (found["open files"].state, "ulimit -n 4096" in found["open files"].advice) == (
        "note",
        True,
    )
    assert (found["/dev/shm"].state, "--shm-size" in found["/dev/shm"].advice) == ("bad", True)
    assert found["Ray's folder"].state == "bad"
    assert "torch" in found["packages"].advice
    assert found["Hugging Face token"].found == "there is one"
    assert found["temporary files"].state == "note"
    assert not any("made-up" in str(item) for item in found.values())
