from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from downloaders.base import RemoteFile
from pipelines.jobs.link_watch import LinkWatch


def test_warns_once_when_the_rest_will_be_late() -> None:
    ends = int((datetime.now(UTC) + timedelta(hours=1)).timestamp())
    file = RemoteFile(
        name="0.tar", path="0.tar", urls=(f"https://a.test/0?oe={ends:X}",), kind="tar",
        splits=("train",),
    )  # fmt: skip
    files = [replace(file, name=f"{number}.tar") for number in range(4)]
    lines: list[str] = []
    clock = [0.0]
    watch = LinkWatch(files, lines.append, clock=lambda: clock[0])
    for number in range(2):
        watch.saw(files[number], 0)
        clock[0] += 1400.0
        watch.saw(files[number], 1000)
        watch.finished(files[number].name, 1000)

    assert len(lines) == 1
    assert "at this rate 1 of 3 files" in lines[0]
    assert "first 3.tar" in lines[0]
