"""What a manifest promises, over roots with every kind of file: those of ``tests/golden``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.engine.executor import LocalExecutor
from pipelines.jobs.copy_manifest import plan_copy, run_copy
from pipelines.jobs.finish_split import Budget
from pipelines.jobs.normalize import NormalizeJob
from pipelines.jobs.publish import publish, select
from pipelines.jobs.shard_normalized import NormalizeStage
from pipelines.normalize.subset import KeyList, take_subset
from pipelines.store import layout
from pipelines.store.local import LocalObjectStore
from pipelines.store.objects import Buffer, StagedFile
from pipelines.store.open import open_store
from pipelines.store.published import find_manifest, named_records
from pipelines.store.verify import verify_manifest
from pipelines.stream.feature_stream import FeatureStream
from schemas.ids import digest_bytes
from schemas.manifests import FileRecord
from tests.engine.stages import Heard
from tests.golden.archive import Golden, goldens
from tests.golden.canonical import read_files
from tests.golden.root import NAME, SOURCES
from tests.jobs.test_copy_manifest import Heard as Copied
from tests.s3_server import serving_s3

# boto3 and moto call datetime.utcnow, which Python 3.12 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


@pytest.fixture(params=goldens(), ids=str)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> LocalObjectStore:
    golden: Golden = request.param
    return LocalObjectStore(golden.extract(tmp_path))


class Recording(LocalObjectStore):
    """Remembers the keys in the order in which they appeared."""

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        self.appeared: list[str] = []

    @contextlib.contextmanager
    def stage(self, key: str) -> Iterator[StagedFile]:
        with super().stage(key) as staged:
            publish_it = staged.publish

            def publish_and_note() -> bool:
                done = publish_it()
                self.appeared.append(key)
                return done

            staged.publish = publish_and_note  # type: ignore[method-assign]
            yield staged

    def put_if_absent(self, key: str, body: Buffer) -> bool:
        done = super().put_if_absent(key, body)
        if key not in self.appeared:
            self.appeared.append(key)
        return done


def copy(source: LocalObjectStore, target: LocalObjectStore) -> None:
    run_copy(source, target, plan_copy(source, target, find_manifest(source, NAME)), Copied())


def test_parts_and_indexes_are_named_by_their_content(store: LocalObjectStore) -> None:
    keys = list(store.keys(f"{layout.manifest_folder(NAME)}/parts"))
    assert keys
    for key in keys:
        assert Path(key).stem == digest_bytes(store.get(key))


def test_a_manifest_names_every_byte_below_it(store: LocalObjectStore) -> None:
    """Each file of the root but the manifest is reached from it, by size and digest."""
    verified = verify_manifest(store, find_manifest(store, NAME), deep=True)
    assert not verified.findings
    assert verified.files == len(read_files(store.root)) - 1


def test_a_copy_is_the_whole_tree_and_the_manifest_comes_last(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    target = Recording(tmp_path / "target")
    copy(store, target)
    assert read_files(target.root) == read_files(store.root)
    assert target.appeared[-1] == layout.manifest_key(NAME, 1)
    place = {key: number for number, key in enumerate(target.appeared)}
    for key in target.appeared:
        if shard := layout.shard_of(key):
            assert place[key] < place[layout.commit_key(shard.folder, shard.shard)]
    for item in find_manifest(store, NAME).manifest.products:
        folder = item.split_file.key if hasattr(item, "split_file") else item.array.key
        commits = [key for key in place if key.startswith(f"{Path(folder).parent}/commits/")]
        assert commits
        assert max(place[key] for key in commits) < place[item.part.file.key]


def test_a_bucket_gets_only_what_it_lacks(store: LocalObjectStore) -> None:
    files = read_files(store.root)
    with serving_s3():
        # The server keeps its buckets for as long as the process lives.
        bucket = open_store(f"s3://bucket/{find_manifest(store, NAME).digest}")
        half = [key for key in files if key.startswith("normalized/")]
        for key in half:
            bucket.put_if_absent(key, files[key])
        heard = Copied()
        plan = plan_copy(store, bucket, find_manifest(store, NAME))
        run_copy(store, bucket, plan, heard)
        assert heard.files == len(files) - len(half) - 1
        assert {key: bucket.get(key) for key in bucket.keys("")} == files


def test_every_file_that_is_named_directly_exists(store: LocalObjectStore) -> None:
    for record in named_records(find_manifest(store, NAME).manifest):
        file = record if isinstance(record, FileRecord) else record.file
        body = store.get(file.key)
        assert (len(body), digest_bytes(body)) == (file.bytes, file.blake3)


def test_a_part_of_a_split_is_published_beside_the_whole_with_its_ids(tmp_path: Path) -> None:
    store, (source, *_) = LocalObjectStore(tmp_path / "root"), SOURCES
    (part,) = take_subset([source], KeyList(frozenset(["stills-0", "stills-2"])))
    for normalizer in (source, part):
        stage = NormalizeStage(store, normalizer, rows_per_shard=3)
        NormalizeJob(stage, Budget(rows=9)).run(LocalExecutor(), Heard())
    publish(store, NAME, select(store, []), weights={"golden/stills": 1, f"golden/{part.split}": 3})
    target = LocalObjectStore(tmp_path / "target")
    copy(store, target)
    assert not verify_manifest(target, find_manifest(target, NAME), deep=True).findings
    assert target.get(layout.ids_key("golden", part.split)) == b"stills-0\nstills-2\n"
    stream = FeatureStream(target, NAME, image_size=28, features=(), batch_size=4, epochs=1)
    keys = [key for batch in stream for key in batch.keys]
    assert keys.count("stills-0") + keys.count("stills-2") > keys.count("stills-1")
    places = [f"golden/{part.split}"]
    stream = FeatureStream(
        target, NAME, image_size=28, features=(), splits=places, weights={}, epochs=1
    )
    assert sorted(key for batch in stream for key in batch.keys) == ["stills-0", "stills-2"]
