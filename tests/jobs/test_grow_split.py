from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli.main import build_app
from pipelines.engine.executor import LocalExecutor
from pipelines.engine.progress import Progress
from pipelines.jobs import finish_split
from pipelines.jobs.finish_split import Budget
from pipelines.jobs.normalize import NormalizeJob
from pipelines.jobs.shard_normalized import NormalizeStage
from pipelines.normalize.base import LayoutOptions
from pipelines.normalize.sa1b import Sa1b
from pipelines.normalize.sav import sa_v
from pipelines.normalize.sources import local_files
from pipelines.store.arrays import FeatureArray
from pipelines.store.local import LocalObjectStore
from schemas.errors import ConflictError, StorageError
from schemas.manifests import SplitRecord
from tests.normalize.sa1b_source import archives, members, write_tar
from tests.normalize.sav_source import SavTrain
from tests.normalize.sav_source import write_tar as write_clips

NORMALIZED = Path("normalized/sa-1b/train")


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(build_app(), list(arguments), env={"COLUMNS": "100"})
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def normalize(root: Path, *paths: Path, grow: bool = True) -> SplitRecord:
    normalizer = Sa1b(archives(*paths), "train", LayoutOptions())
    stage = NormalizeStage(LocalObjectStore(root), normalizer, rows_per_shard=3)
    job = NormalizeJob(stage, Budget(), grow=grow)
    return job.run(LocalExecutor(), Progress(len(stage.units)))


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def shards(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files of single shards, of the split and of its features."""
    return {name: body for name, body in files.items() if "-0000" in name or "/c/" in name}


@pytest.fixture
def tars(tmp_path: Path) -> list[Path]:
    return [
        write_tar(tmp_path / f"sa_{number:06d}.tar", members(*range(first, first + 4)))
        for number, first in ((20, 1), (21, 5), (22, 9))
    ]


def test_shards_and_their_features_stay_and_only_new_ones_are_made(
    tmp_path: Path, tars: list[Path]
) -> None:
    root = tmp_path / "root"
    cache = ("cache", "sa-1b", "--teacher", "tiny", "--features", "image", "--root", str(root))
    normalize(root, tars[0], grow=False)
    invoke(*cache)
    earlier = contents(root)
    with pytest.raises(ConflictError, match=r"its source holds more.*--grow"):
        normalize(root, *tars[:2], grow=False)
    assert contents(root) == earlier
    record = normalize(root, *tars[:2])
    assert (record.shards, record.rows) == (4, 8)
    assert len(shards(earlier)) == 2 * (3 + 2)
    assert shards(earlier).items() <= contents(root).items()
    (metadata,) = root.glob("features/sa-1b/train/*/image.trunk/zarr.json")
    folder = str(metadata.parent.relative_to(root))
    array = FeatureArray.open(LocalObjectStore(root), folder)
    assert array.record.shards == 4
    assert array.read([0, 3]).any()
    invoke(*cache)
    assert shards(earlier).items() <= contents(root).items()
    invoke("publish", "grown", "--root", str(root))
    assert "0 findings" in invoke("verify", "grown", "--deep", "--root", str(root))


def test_a_grown_split_is_what_it_would_be_from_the_start(tmp_path: Path, tars: list[Path]) -> None:
    for paths in (tars[:1], tars[:2], tars):
        normalize(tmp_path / "grown", *paths)
    normalize(tmp_path / "whole", *tars, grow=False)
    assert contents(tmp_path / "grown") == contents(tmp_path / "whole")
    before = contents(tmp_path / "grown")
    normalize(tmp_path / "grown", *tars)
    assert contents(tmp_path / "grown") == before


def test_a_published_split_stays_as_it_is(tmp_path: Path, tars: list[Path]) -> None:
    root = tmp_path / "root"
    normalize(root, tars[0])
    invoke("publish", "images", "--root", str(root))
    split = (root / NORMALIZED / "split.json").read_bytes()
    with pytest.raises(ConflictError, match=r"published as images@1.*cp -al"):
        normalize(root, *tars[:2])
    assert (root / NORMALIZED / "split.json").read_bytes() == split
    assert "0 findings" in invoke("verify", "images", "--deep", "--root", str(root))


def test_dying_between_the_old_and_the_new_split_loses_nothing(
    tmp_path: Path, tars: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    normalize(root, tars[0])
    with monkeypatch.context() as patch:

        def dies(*_: object) -> None:
            raise StorageError("no space left")

        patch.setattr(finish_split, "put_split_tables", dies)
        with pytest.raises(StorageError):
            normalize(root, *tars[:2])
    assert not (root / NORMALIZED / "split.json").exists()
    normalize(root, *tars[:2])
    normalize(tmp_path / "whole", *tars[:2], grow=False)
    assert contents(root) == contents(tmp_path / "whole")


def test_an_archive_between_the_others_is_refused(tmp_path: Path, tars: list[Path]) -> None:
    root = tmp_path / "root"
    normalize(root, tars[0], tars[2])
    before = contents(root)
    with pytest.raises(ConflictError, match=r"shard 2 of .* would be another.*come after"):
        normalize(root, *tars)
    assert contents(root) == before


def test_features_that_a_longer_clip_does_not_fit_are_named(tmp_path: Path) -> None:
    root, source = tmp_path / "root", tmp_path / "source"
    clips = SavTrain().members
    short = {name: body for name, body in clips.items() if "sav_000002" in name}
    long = {name: body for name, body in clips.items() if "sav_000001" in name}

    def run() -> SplitRecord:
        normalizer = sa_v(local_files(source, "sa-v", "train"), "train", LayoutOptions())
        stage = NormalizeStage(LocalObjectStore(root), normalizer, rows_per_shard=1)
        job = NormalizeJob(stage, Budget(), grow=True)
        return job.run(LocalExecutor(), Progress(len(stage.units)))

    write_clips(source / "sav_000.tar", short)
    assert run().rows_per_shard == 1
    cache = ("cache", "sa-v", "--teacher", "tiny", "--features", "image", "--root", str(root))
    invoke(*cache)
    write_clips(source / "sav_001.tar", long)
    with pytest.raises(ConflictError, match=r"image.trunk has shards of 1 rows; expected 3 rows"):
        run()
    (array,) = root.glob("features/sa-v/train/*/image.trunk")
    for path in sorted(array.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    assert run().rows_per_shard == 3
    invoke(*cache)
