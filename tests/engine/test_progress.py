from __future__ import annotations

from pipelines.engine.progress import Progress
from pipelines.engine.work import Failure, UnitReport
from tests.engine.stages import make_units


def test_no_estimate_before_the_first_unit_is_done() -> None:
    assert Progress(5).seconds_left is None


def test_sums_rate_and_estimate() -> None:
    now = [100.0]
    progress = Progress(5, clock=lambda: now[0])
    first, second, third, *_ = make_units(5)
    now[0] = 104.0
    progress.unit_finished(UnitReport(unit=first, status="done", rows=8, quarantined=1, bytes=100))
    progress.unit_finished(UnitReport(unit=second, status="skipped"))
    assert (progress.rows, progress.quarantined, progress.bytes) == (8, 1, 100)
    assert progress.rows_per_second == 2.0
    assert progress.seconds_left == 12.0
    progress.unit_failed(Failure(unit=third, kind="code", error="x"))
    assert (progress.settled, progress.seconds_left) == (3, 8.0)
