from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from downloaders.fetch import ResumingFetcher
from pipelines.jobs.download import DownloadJob
from pipelines.jobs.fresh_links import wait_for_links
from tests.downloaders.fault_server import FaultServer, cut, status
from tests.downloaders.test_links import BODIES, SOURCE, remote, serve_list, signed


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.jobs.fresh_links._LOOK_SECONDS", 0.01)


def test_a_run_pauses_when_links_end_and_goes_on_by_a_fresh_list(
    server: FaultServer, tmp_path: Path, fetcher: ResumingFetcher
) -> None:
    path = tmp_path / "list.txt"
    serve_list(server, path, {"0.zip": 1, "1.zip": 2, "2.zip": -1})
    first = next(name for name in server.faults if name.startswith("/0.zip"))
    server.faults[first] = [cut(100_000), status(403)]
    lines: list[str] = []

    def warn(line: str) -> None:
        lines.append(line)
        if line.startswith("paused"):
            hours = {"0.zip": 5.0} if len(lines) == 1 else {"2.zip": 6.0}
            serve_list(server, path, hours)

    job = DownloadJob(SOURCE, tmp_path, fetcher, links=path, wait_for_links=True, warn=warn)
    report = job.run(job.plan(["val2017"]), lambda _file, _done: None)

    assert [(outcome.name, outcome.status) for outcome in report.outcomes] == [
        ("2.zip", "fetched"),
        ("0.zip", "resumed"),
        ("1.zip", "fetched"),
    ]
    for name, body in BODIES.items():
        assert (tmp_path / "coco" / name).read_bytes() == body
    assert [line.partition(",")[0] for line in lines] == [
        "paused: the links of 2 files have ended",
        "a fresh list: going on with 1 of 2 files",
        f"paused: the link of 2.zip has ended. Save a fresh list as {path}",
        "a fresh list: going on with 1 of 1 files",
    ]
    assert not any("secret" in line for line in lines)


def test_only_another_link_that_lives_ends_the_pause(tmp_path: Path) -> None:
    path, old = tmp_path / "list.txt", signed("https://a.test/0.zip", -1)
    states = [
        None,
        f"0.zip\t{old}",
        "0.zip\n",
        f"0.zip\t{signed('https://a.test/0.zip', -2)}",
        f"1.zip\t{signed('https://a.test/1.zip', 1)}",
        f"0.zip\t{signed('https://a.test/0.zip', 1)}",
    ]
    lines: list[str] = []

    def change(_seconds: float) -> None:
        state = states.pop(0)
        path.unlink(missing_ok=True)
        if state is not None:
            path.write_text(state)

    file = replace(remote("0.zip"), urls=(old,))
    fresh = wait_for_links(path, [file], lines.append, sleep=change)

    assert states == []
    assert fresh[0].urls == (signed("https://a.test/0.zip", 1),)
    assert [line for line in lines if "no row of a link list" in line] == lines[1:2]


def test_without_the_option_nothing_waits(
    server: FaultServer, tmp_path: Path, fetcher: ResumingFetcher
) -> None:
    path = serve_list(server, tmp_path / "list.txt", {"0.zip": 1, "1.zip": -1})
    job = DownloadJob(SOURCE, tmp_path, fetcher, links=path)
    ended = threading.Timer(20, fetcher.stop)  # rather than hang
    ended.start()
    report = job.run(job.plan(["val2017"]), lambda _file, _done: None)
    ended.cancel()
    assert [outcome.link_ended for outcome in report.outcomes] == [True, False]
