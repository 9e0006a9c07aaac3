"""What every stage guarantees, above all that it may die anywhere."""

from __future__ import annotations

import contextlib
import pickle
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.engine.work import Stage, WorkUnit
from pipelines.store.local import LocalObjectStore
from pipelines.store.objects import StagedFile


class Died(BaseException):
    """The process ends here, as far as files can tell."""


class DyingStore(LocalObjectStore):
    """A store that dies right after it has published ``lives`` files."""

    def __init__(self, root: str | Path, lives: int) -> None:
        super().__init__(root)
        self.lives = lives

    @contextlib.contextmanager
    def stage(self, key: str) -> Iterator[StagedFile]:
        with super().stage(key) as staged:
            publish = staged.publish

            def publish_and_die() -> bool:
                published = publish()
                self.lives -= 1
                if self.lives == 0:
                    raise Died
                return published

            staged.publish = publish_and_die  # type: ignore[method-assign]
            yield staged


class StageContract(ABC):
    """Subclass it, and make the stage over inputs that ``prepare`` has put into an empty root."""

    @abstractmethod
    def prepare(self, root: Path) -> None: ...

    @abstractmethod
    def make_stage(self, store: LocalObjectStore) -> tuple[Stage, WorkUnit]: ...

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return self.prepared(tmp_path / "root")

    def prepared(self, root: Path) -> Path:
        root.mkdir()
        self.prepare(root)
        return root

    def test_a_unit_is_committed_by_running_it(self, root: Path) -> None:
        stage, unit = self.make_stage(LocalObjectStore(root))
        assert unit.stage == stage.name
        assert not stage.is_committed(unit)
        report = stage.run(unit)
        assert (report.unit, report.status) == (unit, "done")
        assert report.rows > 0
        assert stage.is_committed(unit)

    def test_running_it_again_changes_nothing(self, root: Path) -> None:
        stage, unit = self.make_stage(LocalObjectStore(root))
        stage.run(unit)
        before = files(root)
        stage.run(unit)
        assert files(root) == before

    def test_equal_input_makes_equal_bytes(self, root: Path, tmp_path: Path) -> None:
        other = self.prepared(tmp_path / "other")
        for place in (root, other):
            stage, unit = self.make_stage(LocalObjectStore(place))
            stage.run(unit)
        assert files(root) == files(other)

    def test_a_pickled_stage_is_the_same(self, root: Path, tmp_path: Path) -> None:
        other = self.prepared(tmp_path / "other")
        stage, unit = self.make_stage(LocalObjectStore(root))
        stage.run(unit)
        stage, unit = self.make_stage(LocalObjectStore(other))
        pickle.loads(pickle.dumps(stage)).run(unit)
        assert files(root) == files(other)

    def test_dying_after_any_published_file_changes_nothing(
        self, root: Path, tmp_path: Path
    ) -> None:
        stage, unit = self.make_stage(LocalObjectStore(root))
        stage.run(unit)
        lives, survived = 1, False
        while not survived:
            place = self.prepared(tmp_path / f"died-{lives}")
            stage, unit = self.make_stage(DyingStore(place, lives))
            try:
                stage.run(unit)
                survived = True
            except Died:
                stage, unit = self.make_stage(LocalObjectStore(place))
                stage.run(unit)
            assert stage.is_committed(unit)
            assert files(place) == files(root)
            lives += 1
        assert lives > 3


def files(root: Path) -> dict[str, bytes]:
    """All files below a root, hidden ones too: a stage leaves no litter when it unwinds."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
