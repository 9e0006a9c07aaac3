from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.engine.executor import LocalExecutor, Slice
from pipelines.engine.work import Executor
from schemas.errors import UsageError
from tests.contracts.executor_contract import ExecutorContract
from tests.engine.stages import Heard, MarkStage, make_units


class TestLocalExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self) -> Executor:
        return LocalExecutor()


def test_an_interrupt_goes_through(tmp_path: Path) -> None:
    class Interrupted(MarkStage):
        def is_committed(self, unit: object) -> bool:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LocalExecutor().run(Interrupted(tmp_path), make_units(1), Heard())


def test_slices_part_the_units() -> None:
    units = make_units(11)
    parts = [Slice.parse(f"{index}/4").of(units) for index in range(4)]
    assert sorted(unit for part in parts for unit in part) == units
    assert [len(part) for part in parts] == [3, 3, 3, 2]


def test_the_default_slice_is_everything() -> None:
    assert Slice().of(make_units(3)) == make_units(3)


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "a/b", "0/0", "1/2/3", "1.0/2"])
def test_bad_slices_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="i/n"):
        Slice.parse(text)
