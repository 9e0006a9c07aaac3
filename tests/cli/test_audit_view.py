from __future__ import annotations

import pytest

from pipelines.cli.audit_view import show_audit
from pipelines.cli.consoles import open_console
from pipelines.jobs.audit import Audit
from pipelines.jobs.audit_shard import ShardAudit
from pipelines.jobs.audit_summary import summarize
from pipelines.jobs.compare_rows import RowComparison
from pipelines.store.findings import Finding

ROW = RowComparison(
    row=0,
    name="'a'",
    cosine=-0.123456,
    error=1.9e-10,
    excess=0,
    place=(0,),
    stored=0,
    computed=0,
    channel=0,
    channel_excess=0,
)


def shard(number: int, *, bad: bool = False) -> ShardAudit:
    return ShardAudit(
        split="coco/val2017",
        array="memory.point.object_pointer@bfloat16",
        shard=number,
        file=f"features/c/{number}",
        rows=128,
        compared=(ROW,) * 49_999,
        absent=12,
        excess_allowed=1e-4,
        channel_excess_allowed=1e-4,
        minimum=-12345678.0,
        maximum=-1.234567e-10,
        dead_channels=tuple(range(1024)),
        not_finite=3,
        findings=(Finding(key="x", problem="y"),) if bad else (),
    )


def test_an_audit_fits_into_60_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shards = tuple(shard(number, bad=number < 12) for number in range(20))
    found = Audit(
        manifest="all@1",
        teacher="0123456789abcdef",
        arrays=(summarize(shards, 1000),),
        shards=shards,
        others=("coco/val2017 image.trunk/fedcba",),
    )
    show_audit(open_console(), found)
    lines = capsys.readouterr().out.splitlines()
    title = lines.index(
        "memory.point.object_pointer@bfloat16 in 20 of 1000 shards, 240 absent, 60 not finite"
    )
    table = [line for line in lines if line.startswith(("shard", "all", "0"))]
    assert all(len(line) <= 60 for line in table)
    cells = ["999980", "-0.12346", "-0.12346", "2e-10", "-1.2e+07", "-1.2e-10", "1024"]
    assert lines[title + 1].split() == ["all", *cells]
    assert lines[title + 2].split()[:2] == ["00000", "49999"]
    assert lines[title + 12] == "and 2 more bad shards"
    assert lines[-1] == "not recomputed, of another teacher: coco/val2017 image.trunk/fedcba"
