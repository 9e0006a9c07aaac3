from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.jobs.copy_manifest import CopyPlan, plan_copy, run_copy
from pipelines.jobs.publish import Selection, publish, select
from pipelines.store import layout
from pipelines.store.local import LocalObjectStore
from pipelines.store.objects import ObjectStore, StagedFile
from pipelines.store.open import open_store
from pipelines.store.published import find_manifest
from pipelines.store.verify import verify_manifest
from schemas.errors import ConflictError, IntegrityError, StorageError, UsageError
from tests.jobs.colour_teacher import ColourTeacher
from tests.jobs.sample_root import CLIPS, STILLS, build_root
from tests.s3_server import serving_s3

# boto3 and moto call datetime.utcnow, which Python 3.12 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

MEDIA = layout.media_key(*STILLS, 1)


class Heard:
    """Counts what a copy says of itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.bytes = self.files = 0

    def bytes_copied(self, count: int) -> None:
        with self._lock:
            self.bytes += count

    def files_copied(self, count: int) -> None:
        with self._lock:
            self.files += count


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("built")
    store = LocalObjectStore(root)
    build_root(store, ColourTeacher())
    publish(store, "all", select(store, []))
    return root


@pytest.fixture
def source(built: Path, tmp_path: Path) -> LocalObjectStore:
    shutil.copytree(built, tmp_path / "source")
    return LocalObjectStore(tmp_path / "source")


@pytest.fixture
def target(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path / "target")


def copy(
    source: ObjectStore, target: ObjectStore, reference: str = "all", heard: Heard | None = None
) -> CopyPlan:
    plan = plan_copy(source, target, find_manifest(source, reference))
    run_copy(source, target, plan, heard or Heard(), threads=4)
    return plan


def tree(store: ObjectStore) -> dict[str, bytes]:
    tops = (layout.NORMALIZED, "features", layout.MANIFESTS)
    return {key: store.get(key) for top in tops for key in store.keys(top)}


def damage(store: LocalObjectStore, key: str) -> None:
    body = bytearray(store.get(key))
    body[len(body) // 2] ^= 1
    (store.root / key).write_bytes(body)


def test_the_target_is_the_source_and_the_plan_said_how_much(
    source: LocalObjectStore, target: LocalObjectStore
) -> None:
    heard = Heard()
    plan = copy(source, target, heard=heard)
    assert tree(target) == tree(source)
    assert (heard.files, heard.bytes) == (plan.missing_files, plan.missing_bytes)
    assert plan.missing_files == plan.all_files == len(tree(source)) - 1
    assert plan.missing_bytes == plan.all_bytes
    found = find_manifest(target, "all")
    assert not verify_manifest(target, found, deep=True).findings


def test_a_second_copy_moves_nothing(source: LocalObjectStore, target: LocalObjectStore) -> None:
    copy(source, target)
    heard = Heard()
    plan = copy(source, target, heard=heard)
    assert (plan.missing_files, plan.missing_bytes, heard.files) == (0, 0, 0)
    assert all(len(part.table) == 0 for part in plan.parts)


def test_only_what_is_missing_is_copied(source: LocalObjectStore, target: LocalObjectStore) -> None:
    copy(source, target)
    (target.root / MEDIA).unlink()
    heard = Heard()
    copy(source, target, heard=heard)
    assert heard.files == 1
    assert tree(target) == tree(source)


def test_a_later_version_takes_only_what_is_new(
    source: LocalObjectStore, target: LocalObjectStore
) -> None:
    some = [Selection(dataset="album", split="val", features=("text.mask",))]
    published = publish(source, "some", some)
    copy(source, target, published.reference)
    before = tree(target)
    more = [Selection(dataset="album", split="val", features=("text.mask", "image.trunk"))]
    published = publish(source, "some", more)
    plan = copy(source, target, published.reference)
    after = tree(target)
    assert published.reference == "some@2"
    assert before.items() <= after.items()
    new = after.keys() - before.keys()
    assert len(new) == plan.missing_files + 1
    assert all("image.trunk" in key or key.startswith("manifests/some/") for key in new)


def test_a_bucket_and_back(source: LocalObjectStore, tmp_path: Path) -> None:
    back = LocalObjectStore(tmp_path / "back")
    with serving_s3():
        bucket = open_store("s3://bucket/some/prefix")
        copy(source, bucket)
        assert tree(bucket) == tree(source)
        assert plan_copy(source, bucket, find_manifest(source, "all")).missing_files == 0
        copy(bucket, back)
    assert tree(back) == tree(source)


DYING = """
import os, signal, sys, threading
from pipelines.jobs import copy_manifest as job
count, lock, real = [0], threading.Lock(), job.copy_file
def dying(*arguments):
    with lock:
        count[0] += 1
        last = count[0] > int(os.environ["FILES"])
    if last:
        os.kill(os.getpid(), signal.SIGKILL)
    real(*arguments)
job.copy_file = dying
from pipelines.cli.main import main
main()
"""


def test_killed_again_and_again_it_ends_the_same(
    source: LocalObjectStore, target: LocalObjectStore
) -> None:
    files = len(tree(source))
    published = find_manifest(source, "all")
    for count in (3, files // 2):
        command = ["publish", "all@1", "--root", source.url, "--to", target.url]
        done = subprocess.run(
            [sys.executable, "-c", DYING, *command],
            env={"FILES": str(count), "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert target.size(published.key) is None
        assert tree(target).items() <= tree(source).items()
    heard = Heard()
    copy(source, target, heard=heard)
    assert 0 < heard.files < files
    assert tree(target) == tree(source)


def test_a_damaged_source_is_named_and_not_published(
    source: LocalObjectStore, target: LocalObjectStore
) -> None:
    damage(source, MEDIA)
    gone = layout.samples_key(*CLIPS, 0)
    (source.root / gone).unlink()
    with pytest.raises(IntegrityError, match=r"2 shards or files of .* cannot be copied") as error:
        copy(source, target)
    assert f"{MEDIA} in {source.url} is not as it was published" in str(error.value)
    assert f"{gone} is published but missing" in str(error.value)
    assert target.size(MEDIA) is None
    assert target.size(layout.commit_key(layout.split_folder(*STILLS), 1)) is None
    assert target.size(find_manifest(source, "all").key) is None


def test_after_the_repair_the_same_command_goes_on(
    source: LocalObjectStore, target: LocalObjectStore
) -> None:
    whole = tree(source)
    damage(source, MEDIA)
    with pytest.raises(IntegrityError):
        copy(source, target)
    damage(source, MEDIA)
    heard = Heard()
    copy(source, target, heard=heard)
    assert tree(target) == whole
    assert heard.files < len(whole) // 2


class TestConflicts:
    def test_other_bytes_of_the_same_size_without_a_commit(
        self, source: LocalObjectStore, target: LocalObjectStore
    ) -> None:
        body = bytearray(source.get(MEDIA))
        body[0] ^= 1
        target.put_if_absent(MEDIA, bytes(body))
        self.refused(source, target, MEDIA)

    def test_another_size(self, source: LocalObjectStore, target: LocalObjectStore) -> None:
        target.put_if_absent(MEDIA, b"short")
        self.refused(source, target, f"{MEDIA} exists .* another size")

    def test_a_shard_that_another_device_committed(
        self, source: LocalObjectStore, target: LocalObjectStore
    ) -> None:
        key = layout.commit_key(layout.split_folder(*STILLS), 0)
        body = source.get(key).replace(b'"rows": 2', b'"rows": 3')
        target.put_if_absent(key, body)
        self.refused(source, target, key)

    def test_another_split_is_found_before_anything_is_copied(
        self, source: LocalObjectStore, target: LocalObjectStore
    ) -> None:
        key = layout.split_key(*CLIPS)
        target.put_if_absent(key, b"{}")
        self.refused(source, target, key)
        assert list(tree(target)) == [key]

    def test_another_manifest_of_that_version(
        self, source: LocalObjectStore, target: LocalObjectStore
    ) -> None:
        target.put_if_absent(find_manifest(source, "all").key, b"{}")
        self.refused(source, target, "another manifest all@1.*another name")
        assert len(tree(target)) == 1

    def refused(self, source: ObjectStore, target: ObjectStore, match: str) -> None:
        with pytest.raises(ConflictError, match=match):
            copy(source, target)


def test_a_root_is_not_copied_to_itself(source: LocalObjectStore) -> None:
    with pytest.raises(UsageError, match="to itself"):
        copy(source, LocalObjectStore(source.root))


class FullDisk(LocalObjectStore):
    """Takes a few files, then no more."""

    left = 5

    @contextlib.contextmanager
    def stage(self, key: str) -> Iterator[StagedFile]:
        if self.left == 0:
            raise StorageError(f"cannot write {key}: No space left on device")
        self.left -= 1
        with super().stage(key) as staged:
            yield staged


def test_a_full_target_stops_the_copy_and_a_later_one_goes_on(
    source: LocalObjectStore, target: LocalObjectStore
) -> None:
    with pytest.raises(StorageError, match="No space left"):
        copy(source, FullDisk(target.root))
    assert len(tree(target)) <= 5
    copy(source, target)
    assert tree(target) == tree(source)
