"""The format cannot change without a version, and older versions stay readable."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pyarrow
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.jobs.publish import publish, select
from pipelines.store import shard_file
from pipelines.store.local import LocalObjectStore
from pipelines.store.published import find_manifest
from pipelines.store.verify import verify_manifest
from schemas.ids import canonical_json
from schemas.tables import SAMPLES
from tests.golden.archive import Golden, format_versions, goldens
from tests.golden.canonical import Files, canonical, read_files
from tests.golden.content import describe
from tests.golden.root import NAME, build_root

REMEDY = """
If this is not meant, undo it. If it is:
1. raise the schema_version of the record that has changed or that names the changed file
   (schemas/manifests.py: SplitRecord for what is below normalized/, ArrayRecord for what is below
   features/, Manifest for what is below manifests/), and keep reading the versions before it;
2. say in docs/format.md what each version holds;
3. run `python -m tests.golden.make`, which adds a golden root and leaves those that are there."""


_ORDER = ("normalized", "features", "manifests", "runs")
_SHOWN = 20


def newest() -> Golden:
    """Return the golden root of the versions that today's code writes."""
    for golden in goldens():
        if golden.made.versions == format_versions():
            return golden
    pytest.fail(f"there is no golden root of the versions {format_versions()}: {REMEDY}")


def require_same_format(
    golden: Golden, old: Path, new: Path, pyarrow: str = pyarrow.__version__
) -> None:
    """Fail unless two roots are the same: byte by byte where ``pyarrow`` has written both."""
    was, now = read_files(old), read_files(new)
    differences = _differences(canonical(was), canonical(now))
    if not differences and golden.made.pyarrow == pyarrow:
        differences = _differences(was, now)
    if differences:
        shown = "\n".join(differences[:_SHOWN])
        more = f"\n  and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        pytest.fail(f"what is written has changed since {golden}:\n{shown}{more}\n{REMEDY}")


def _differences(was: dict[str, Any] | Files, now: dict[str, Any] | Files) -> list[str]:
    """Return what differs, causes first: a manifest names features, and these name a split."""
    keys = [key for key in was.keys() | now.keys() if was.get(key) != now.get(key)]
    keys.sort(key=lambda key: (_ORDER.index(key.partition("/")[0]), "/commits/" in key, key))
    return [
        f"  {key}: {'gone' if key not in now else 'new' if key not in was else 'other content'}"
        for key in keys
    ]


@pytest.fixture(params=goldens(), ids=str)
def golden(request: pytest.FixtureRequest) -> Golden:
    found: Golden = request.param
    return found


def test_every_version_of_each_record_is_kept() -> None:
    versions = [golden.made.versions for golden in goldens()]
    for name, current in format_versions().items():
        assert {item[name] for item in versions} == set(range(1, current + 1)), REMEDY


def test_todays_code_reads_it(golden: Golden, tmp_path: Path) -> None:
    store = LocalObjectStore(golden.extract(tmp_path))
    found = find_manifest(store, NAME)
    assert found.manifest.schema_version == golden.made.versions["Manifest"]
    assert not verify_manifest(store, found, deep=True).findings
    said = msgspec.json.decode(canonical_json(describe(store, NAME)))
    for name, content in golden.content.items():
        assert said[name] == content, name


def test_it_goes_on_in_todays_format(golden: Golden, tmp_path: Path) -> None:
    """What is published again, is of today's version; no file changes."""
    store = LocalObjectStore(golden.extract(tmp_path))
    before = read_files(store.root)
    weights = find_manifest(store, NAME).manifest.weights
    published = publish(store, NAME, select(store, []), weights=weights)
    assert published.manifest.schema_version == format_versions()["Manifest"]
    assert before.items() <= read_files(store.root).items()
    assert not verify_manifest(store, published, deep=True).findings


@pytest.fixture
def built(tmp_path: Path) -> Path:
    build_root(LocalObjectStore(tmp_path / "built"))
    return tmp_path / "built"


def test_todays_code_writes_the_newest(built: Path, tmp_path: Path) -> None:
    require_same_format(newest(), newest().extract(tmp_path), built)


def _padded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Align small rows too: another shard file, which every reader still reads."""
    monkeypatch.setattr(shard_file, "_LARGE_BYTES", 1)


def _indented(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write JSON with another indent."""
    written = msgspec.json.format
    monkeypatch.setattr(msgspec.json, "format", lambda body, indent: written(body, indent=1))


def _renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the row tables in another way."""
    monkeypatch.setattr(
        "pipelines.store.layout.rows_key", lambda folder, shard: f"{folder}/rows-{shard}.parquet"
    )


def _widened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a column of the samples tables a wider type, which every reader takes."""
    wider = SAMPLES.set(0, pa.field("row", pa.int64(), nullable=False))
    monkeypatch.setattr("pipelines.jobs.shard_rows.SAMPLES", wider)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (_padded, "image.trunk/c/0/0/0/0: other content"),
        (_indented, "split.json: other content"),
        (_renamed, "rows-00000.parquet: gone"),
        (_widened, "samples-00001.parquet: other content"),
    ],
)
def test_a_changed_format_fails_and_says_what_to_do(
    change: Any, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = newest()
    with monkeypatch.context() as changed:
        change(changed)
        build_root(LocalObjectStore(tmp_path / "built"))
    with pytest.raises(pytest.fail.Exception) as failure:
        require_same_format(golden, golden.extract(tmp_path), tmp_path / "built", pyarrow="0")
    text = str(failure.value)
    assert where in text
    assert "raise the schema_version" in text
    assert "python -m tests.golden.make" in text


def test_a_raised_version_without_a_golden_root_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.golden.test_golden.format_versions", lambda: {"Manifest": 99})
    with pytest.raises(pytest.fail.Exception, match=r"no golden root of the versions.*99"):
        newest()


def test_another_version_of_pyarrow_is_no_other_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if by another release: other encodings, other sizes and digests, equal rows."""
    write = pq.write_table
    with monkeypatch.context() as changed:
        changed.setattr(pq, "write_table", lambda table, sink, **_: write(table, sink))
        build_root(LocalObjectStore(tmp_path / "built"))
    golden = newest()
    old = golden.extract(tmp_path)
    require_same_format(golden, old, tmp_path / "built", pyarrow="0")
    with pytest.raises(pytest.fail.Exception, match=r"split\.json: other content"):
        require_same_format(golden, old, tmp_path / "built")


def test_a_new_file_is_another_format(built: Path, tmp_path: Path) -> None:
    more = Path(shutil.copytree(built, tmp_path / "more"))
    (more / "manifests/extra.json").write_text("{}\n")
    with pytest.raises(pytest.fail.Exception, match=r"manifests/extra\.json: new"):
        require_same_format(newest(), newest().extract(tmp_path), more)
