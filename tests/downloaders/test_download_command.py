from __future__ import annotations

import contextlib
import os
import pty
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from downloaders.coco import COCO
from downloaders.ledger import Ledger
from downloaders.registry import DATASETS, find_dataset
from pipelines.cli.download import register
from pipelines.cli.download_view import open_progress
from schemas.errors import UnknownNameError, UsageError
from tests.downloaders.conftest import make_zip
from tests.downloaders.fault_server import FaultServer, drip, status

IMAGES = make_zip({"val2017/1.jpg": random.Random(3).randbytes(400_000)})
ANNOTATIONS = make_zip({"annotations/instances_val2017.json": b"{}"})
PROGRAM = """
import signal, typer
from downloaders.registry import DATASETS, find_dataset
from pipelines.cli.download import register
signal.signal(signal.SIGINT, signal.default_int_handler)
app = typer.Typer()
register(app)
app()
"""


@pytest.fixture
def mirror(server: FaultServer) -> FaultServer:
    server.put("val2017.zip", IMAGES)
    server.put("annotations_trainval2017.zip", ANNOTATIONS)
    return server


def arguments(mirror: FaultServer, root: Path) -> list[str]:
    return [
        "download", "coco", "--split", "val2017", "--root", str(root),
        "--from", mirror.base, "--any-content",
    ]  # fmt: skip


def invoke(*args: str, columns: int = 60) -> Result:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, list(args), env={"COLUMNS": str(columns)})


def test_download_shows_the_plan_and_what_became_of_it(mirror: FaultServer, tmp_path: Path) -> None:
    result = invoke(*arguments(mirror, tmp_path))

    assert result.exit_code == 0, result.output
    assert "COCO 2017: val2017" in result.output
    assert "licence" in result.output
    assert "val2017.zip  815.6 MB" in result.output
    assert "fetched  val2017.zip  400.1 kB" in result.output
    assert (tmp_path / "raw/coco/val2017.zip").read_bytes() == IMAGES

    mirror.seen.clear()
    again = invoke(*arguments(mirror, tmp_path))
    assert again.exit_code == 0
    assert "present  val2017.zip" in again.output
    assert mirror.seen == []


def test_a_failed_file_is_one_line_and_exit_code_1(mirror: FaultServer, tmp_path: Path) -> None:
    mirror.faults["/val2017.zip"] = [status(403)]

    result = invoke(*arguments(mirror, tmp_path))

    assert result.exit_code == 1
    assert "fetched  annotations_trainval2017.zip" in result.stdout
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1
    assert lines[0].startswith("failed   val2017.zip: val2017.zip could not be fetched")
    assert "HTTP 403" in lines[0]


def test_dry_run_touches_nothing(mirror: FaultServer, tmp_path: Path) -> None:
    result = invoke(*arguments(mirror, tmp_path), "--dry-run")

    assert result.exit_code == 0
    assert "2, 1.1 GB as published" in result.output
    assert mirror.seen == []
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_needs_a_local_folder_for_archives(mirror: FaultServer, tmp_path: Path) -> None:
    refused = invoke("download", "coco", "--root", "s3://bucket/x", "--dry-run")
    assert isinstance(refused.exception, UsageError)
    assert "--raw DIR" in str(refused.exception)

    given = ["--root", "s3://bucket/x", "--raw", str(tmp_path / "archives")]
    taken = invoke(*arguments(mirror, tmp_path), *given)
    assert taken.exit_code == 0, taken.output
    assert (tmp_path / "archives/coco/val2017.zip").is_file()


def test_an_unknown_data_set_is_refused() -> None:
    assert isinstance(invoke("download", "davies").exception, UnknownNameError)
    assert isinstance(invoke("datasets", "davies").exception, UnknownNameError)


@pytest.mark.parametrize("columns", [60, 80])
def test_the_list_of_data_sets_cuts_no_name(columns: int) -> None:
    result = invoke("datasets", columns=columns)

    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= columns
    assert {"832.8", *DATASETS} <= set(result.output.split())


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("name", DATASETS)
def test_the_page_of_a_data_set_cuts_no_word(name: str, columns: int) -> None:
    entry = find_dataset(name).entry

    result = invoke("datasets", name, columns=columns)

    assert result.exit_code == 0
    lines, words = result.output.splitlines(), set(result.output.split())
    # A URL may be wider than the terminal; it stays whole, for copying.
    assert all(len(line) <= columns or len(line.split()) == 1 for line in lines)
    splits = [split.name for split in entry.splits]
    texts = (entry.about, entry.licence, entry.to_do, entry.homepage, entry.cite, *splits)
    assert words.issuperset(" ".join(texts).split())
    assert words.issuperset(word for split in entry.splits for word in split.about.split())
    files = find_dataset(name).plan(splits).files
    assert words.issuperset(file.name for file in files[:10])
    assert len(files) <= 10 or f"… and {len(files) - 10} more" in result.output


@pytest.mark.parametrize("columns", [60, 80])
def test_bars_of_long_names_keep_their_numbers(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # as on a terminal
    file = replace(COCO.files[0], name="a_name_" * 7 + "merged.json", bytes=10_000_000_000)
    with open_progress(published_sizes=True) as progress:
        progress(file, 4_000_000_000)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().out)
    assert "4.0/10.0 GB" in shown
    folded = "".join(line.split(" ")[0] for line in shown.splitlines())
    assert file.name in folded


def test_a_list_of_links_for_an_open_data_set_is_refused(tmp_path: Path) -> None:
    refused = invoke("download", "coco", "--links", str(tmp_path / "list.txt"), "--dry-run")
    assert isinstance(refused.exception, UsageError)
    assert "COCO 2017 needs no list of links" in str(refused.exception)


def test_without_a_terminal_progress_is_plain_lines(mirror: FaultServer, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments(mirror, tmp_path)],
        capture_output=True,
        check=True,
    )
    assert b"\x1b" not in run.stdout
    assert b"\r" not in run.stdout


def test_on_a_terminal_a_wait_is_a_line_of_its_own_above_the_bars(
    mirror: FaultServer, tmp_path: Path
) -> None:
    mirror.faults["/annotations_trainval2017.zip"] = [status(503)]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "60", "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments(mirror, tmp_path)],
        stdout=theirs, stderr=theirs, stdin=theirs, env=environment,
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how a pseudo-terminal says that the other end is gone
            while chunk := os.read(ours, 4096):
                shown += chunk
    os.close(ours)

    assert process.returncode == 0, shown
    text = " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).split())
    assert "annotations_trainval2017.zip waits 1 s for attempt 2 of 7" in text
    assert "HTTP 503" in text


@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_the_same_command_goes_on_after(name: str, mirror: FaultServer, tmp_path: Path) -> None:
    mirror.faults["/val2017.zip"] = [drip(4000, 0.02)]
    mirror.files["/zips/val2017.zip"] = mirror.files.pop("/val2017.zip")
    mirror.faults["/zips/val2017.zip"] = mirror.faults.pop("/val2017.zip")
    folder = tmp_path / "raw" / "coco"
    part = folder / "val2017.zip.part"
    command = [sys.executable, "-c", PROGRAM, *arguments(mirror, tmp_path)]

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not (part.exists() and part.stat().st_size > 100_000):
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.01)
        process.send_signal(getattr(signal, name))
        process.communicate()
    assert process.returncode == {"SIGKILL": -signal.SIGKILL, "SIGINT": 130}[name]
    kept = part.stat().st_size
    assert 100_000 < kept < len(IMAGES)
    assert not (folder / "val2017.zip").exists()

    result = invoke(*arguments(mirror, tmp_path))

    assert result.exit_code == 0, result.output
    assert "resumed  val2017.zip" in result.output
    assert mirror.ranges()[-1] == f"bytes={kept}-"
    assert (folder / "val2017.zip").read_bytes() == IMAGES
    assert len(Ledger(folder).entries()) == 2
    assert sorted(path.name for path in folder.iterdir()) == [
        "annotations_trainval2017.zip",
        "ledger.jsonl",
        "val2017.zip",
    ]
