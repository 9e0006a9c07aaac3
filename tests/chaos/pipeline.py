"""The pipeline that is killed: stills and clips, from archives to a manifest, in a few seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.chaos.commands import Command
from tests.chaos.kill_points import written
from tests.normalize.archives import CocoSource, DavisSource

Tree = dict[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Commands that make a root from ``source``, and what an uninterrupted run of them makes."""

    source: Path
    expected: Tree
    dataset: str | None = None

    @classmethod
    def prepare(cls, folder: Path) -> Pipeline:
        """Write the archives, and run all commands once without interruption."""
        source = folder / "source"
        CocoSource().write(source / "coco")
        DavisSource().write(source / "davis")
        root = folder / "uninterrupted"
        for arguments in commands(source, str(root)):
            killed = Command(arguments=arguments, log=folder / "log").run()
            assert not killed
        return cls(source=source, expected=tree(root))

    def commands(self, root: str, *options: str) -> list[Sequence[str]]:
        """Return the commands in order; ``options`` are for those that cache."""
        found = commands(self.source, root, *options)
        return [item for item in found if self.dataset in {None, item[1]}]

    def only(self, dataset: str) -> Pipeline:
        """Return the part for one data set, which ends before it is published."""
        expected = {key: body for key, body in self.expected.items() if f"/{dataset}/" in key}
        return replace(self, dataset=dataset, expected=expected)

    def lost_units(self, notes: Path) -> float:
        """Return how many units of caching were computed beyond those that are needed."""
        sums, lost = written(notes), dict[str, list[float]]()
        for key, body in self.expected.items():
            shard = next((name for name in sums if key == name or key.startswith(f"{name}/0")), "")
            if shard:
                folder, _, number = shard.partition("/c/")
                unit = f"{folder.rpartition('/')[0]} {'text' in folder} {number}"
                lost.setdefault(unit, []).append(sums[shard] / len(body) - 1)
        return sum(sum(ratios) / len(ratios) for ratios in lost.values())


def commands(source: Path, root: str, *options: str) -> Iterator[Sequence[str]]:
    at = ["--root", root]
    for name, split in (("coco", "val2017"), ("davis", "val")):
        archives = ["--from", str(source / name), "--split", split]
        cut = ["--rows-per-shard", "1" if name == "coco" else "2", "--any-count"]
        yield ["normalize", name, *archives, *cut, *at]
    for name in ("coco", "davis"):
        yield ["cache", name, "--teacher", "tiny", "--device", "cpu", *at, *options]
    yield ["publish", "all", *at]


def tree(root: Path) -> Tree:
    """All files below a root, hidden ones too, but for what describes runs."""
    names = {path: path.relative_to(root).as_posix() for path in sorted(root.rglob("*"))}
    return {
        name: path.read_bytes()
        for path, name in names.items()
        if path.is_file() and is_product(name)
    }


def is_product(key: str) -> bool:
    return not key.startswith("runs/")


def require_same(found: Tree, expected: Tree) -> None:
    assert sorted(found) == sorted(expected)
    assert [key for key, body in expected.items() if found[key] != body] == []
