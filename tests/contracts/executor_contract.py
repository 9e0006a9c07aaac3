"""What every executor guarantees."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from pipelines.engine.work import Executor
from tests.engine.stages import Heard, MarkStage, make_units


class ExecutorContract(ABC):
    """Subclass it, and give an executor whose retry budget is three attempts."""

    @pytest.fixture
    @abstractmethod
    def executor(self) -> Executor: ...

    def test_all_units_are_done_and_heard_once(self, executor: Executor, tmp_path: Path) -> None:
        stage, heard = MarkStage(tmp_path), Heard()
        report = executor.run(stage, make_units(5), heard)
        assert stage.done() == {0, 1, 2, 3, 4}
        assert heard.shards == [0, 1, 2, 3, 4]
        assert (report.done, report.skipped, report.failures) == (5, 0, ())
        assert [stage.attempts(shard) for shard in range(5)] == [1] * 5

    def test_committed_units_are_skipped(self, executor: Executor, tmp_path: Path) -> None:
        stage, heard = MarkStage(tmp_path), Heard()
        (tmp_path / "done-1").touch()
        report = executor.run(stage, make_units(3), heard)
        assert (report.done, report.skipped) == (2, 1)
        assert stage.attempts(1) == 0
        assert [item.unit.shard for item in heard.finished if item.status == "skipped"] == [1]

    def test_a_unit_that_raises_once_is_done(self, executor: Executor, tmp_path: Path) -> None:
        stage, heard = MarkStage(tmp_path, raise_once=frozenset({0})), Heard()
        report = executor.run(stage, make_units(2), heard)
        assert (report.done, report.failures, stage.attempts(0)) == (2, (), 2)
        assert heard.shards == [0, 1]

    def test_a_unit_that_always_raises_fails_alone(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        stage, heard = MarkStage(tmp_path, raise_always=frozenset({1})), Heard()
        report = executor.run(stage, make_units(3), heard)
        assert stage.done() == {0, 2}
        (failure,) = report.failures
        assert (failure.kind, failure.unit.shard, failure.attempts) == ("code", 1, 3)
        assert failure.error == "RuntimeError: unit 1 attempt 2"
        assert "_misbehave" in failure.trace
        assert heard.failed == [failure]

    def test_damaged_input_gets_no_second_attempt(self, executor: Executor, tmp_path: Path) -> None:
        stage, heard = MarkStage(tmp_path, bad_data=frozenset({0})), Heard()
        report = executor.run(stage, make_units(2), heard)
        assert [(item.kind, item.error) for item in report.failures] == [
            ("data", "unit 0 is damaged")
        ]
        assert (stage.attempts(0), stage.done()) == (1, {1})

    def test_a_refusal_of_the_root_ends_the_run(self, executor: Executor, tmp_path: Path) -> None:
        stage, heard = MarkStage(tmp_path, refuse=frozenset(range(40))), Heard()
        report = executor.run(stage, make_units(40), heard)
        assert [(item.kind, item.error) for item in report.failures] == [("storage", "disk full")]
        assert report.done == 0
        assert sum(stage.attempts(shard) for shard in range(40)) < 40

    def test_nothing_to_do(self, executor: Executor, tmp_path: Path) -> None:
        report = executor.run(MarkStage(tmp_path), [], Heard())
        assert (report.done, report.skipped, report.failures) == (0, 0, ())

    def test_a_second_run_skips_everything(self, executor: Executor, tmp_path: Path) -> None:
        stage = MarkStage(tmp_path)
        executor.run(stage, make_units(2), Heard())
        report = executor.run(stage, make_units(2), Heard())
        assert (report.done, report.skipped) == (0, 2)
