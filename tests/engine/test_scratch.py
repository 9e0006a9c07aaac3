from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.engine.scratch import ScratchFolder, abandoned_folders, remove_folder

KILLED = """
import os, signal
from pipelines.engine.scratch import ScratchFolder
print(ScratchFolder("test").path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def make_old(path: Path) -> None:
    os.utime(path, (0, 0))


def test_it_is_gone_after_the_block(tmp_path: Path) -> None:
    with ScratchFolder("test") as scratch:
        (scratch.path / "a").mkdir()
        assert scratch.path.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_that_of_a_killed_process_is_found(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", KILLED], env=environment, stdout=subprocess.PIPE, check=False
    )
    path = Path(ended.stdout.decode().strip())
    assert path not in abandoned_folders()
    make_old(path)
    assert path in abandoned_folders()
    remove_folder(path)
    assert list(tmp_path.iterdir()) == []


def test_that_of_a_living_process_is_not() -> None:
    with ScratchFolder("test") as scratch:
        make_old(scratch.path)
        assert scratch.path not in abandoned_folders()


def test_only_folders_with_our_lock_are_ours(tmp_path: Path) -> None:
    for name in ("samdistill-notes", "ray"):
        (tmp_path / name).mkdir()
        make_old(tmp_path / name)
    assert not [path for path in abandoned_folders() if path.parent == tmp_path]
