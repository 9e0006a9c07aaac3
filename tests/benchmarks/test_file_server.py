"""The benchmarks' server, as our S3 store sees it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.store.s3 import S3ObjectStore
from tests.chaos.s3_server import CREDENTIALS

PROGRAM = Path(__file__).parents[2] / "benchmarks/file_server.py"
FILES = {"root/a/1": b"one", "root/a/deep/2": b"two", "root/b": b"0123456789", "other/c": b""}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3ObjectStore]:
    for key, body in FILES.items():
        path = tmp_path / "bucket" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    command = [sys.executable, str(PROGRAM), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        for name, value in {"AWS_ENDPOINT_URL": url, **CREDENTIALS}.items():
            monkeypatch.setenv(name, value)
        yield S3ObjectStore("s3://bucket/root")
        server.terminate()


def test_lists_and_reads_a_folder_as_a_bucket(store: S3ObjectStore) -> None:
    assert list(store.sizes("")) == [("a/1", 3), ("a/deep/2", 3), ("b", 10)]
    assert list(store.keys("a")) == ["a/1", "a/deep/2"]
    assert list(store.folders("")) == ["a"]
    assert list(store.folders("a")) == ["deep"]
    assert store.get("a/deep/2") == b"two"
    assert store.size("b") == 10
    assert store.size("missing") is None
    out = bytearray(6)
    assert store.read_into("b", 2, memoryview(out)[:2], memoryview(out)[2:]) == 6
    assert bytes(out) == b"234567"
    assert store.read_into("b", 8, memoryview(out)) == 2
