from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from awscrt.checksums import crc32c

from pipelines.jobs.publish import publish, select
from pipelines.store import layout
from pipelines.store.local import LocalObjectStore
from pipelines.store.published import PublishedManifest
from pipelines.store.shard_file import index_bytes
from pipelines.store.tables import encode_table, read_table
from pipelines.store.verify import verify_manifest
from schemas.tables import ANNOTATIONS, FEATURE_ROWS, SAMPLES
from tests.jobs.colour_teacher import CHANNELS, GRID, ColourTeacher
from tests.jobs.sample_root import CLIPS, STILLS, build_root

TRUNK = layout.array_folder(*STILLS, ColourTeacher().spec.digest, "image.trunk")
SHARD = f"{TRUNK}/c/0/0/0/0"
SLOTS = 2
ROW_BYTES = CHANNELS * GRID * GRID * 2


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PublishedManifest]:
    root = tmp_path_factory.mktemp("built")
    store = LocalObjectStore(root)
    build_root(store, ColourTeacher())
    return root, publish(store, "all", select(store, []))


@pytest.fixture
def root(built: tuple[Path, PublishedManifest], tmp_path: Path) -> Path:
    shutil.copytree(built[0], tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def published(built: tuple[Path, PublishedManifest]) -> PublishedManifest:
    return built[1]


def problems(root: Path, published: PublishedManifest, *, deep: bool = True) -> dict[str, str]:
    """Return all findings of a file, as text, by its key."""
    found: dict[str, str] = {}
    for finding in verify_manifest(LocalObjectStore(root), published, deep=deep).findings:
        found[finding.key] = found.get(finding.key, "") + str(finding) + "\n"
    return found


def overwrite_row(
    path: Path, slot: int, values: np.ndarray[tuple[int], np.dtype[np.float16]]
) -> None:
    """Put other values into a row, with a right checksum: only the values can show it."""
    body = bytearray(path.read_bytes())
    index = np.frombuffer(bytes(body[-index_bytes(SLOTS) : -4]), dtype="<u8").reshape(SLOTS, 2)
    chunk = values.astype("<f2").tobytes()
    start = int(index[slot, 0])
    body[start : start + len(chunk) + 4] = chunk + struct.pack("<I", crc32c(chunk))
    path.write_bytes(body)


@pytest.mark.parametrize("deep", [False, True])
def test_nothing_is_wrong_with_what_was_published(
    root: Path, published: PublishedManifest, deep: bool
) -> None:
    found = verify_manifest(LocalObjectStore(root), published, deep=deep)
    assert found.findings == ()
    stored = [path for path in root.rglob("*") if path.is_file()]
    assert found.files == len(stored) - 1  # the manifest itself is not in the manifest
    assert found.bytes == sum(path.stat().st_size for path in stored) - (
        (root / published.key).stat().st_size
    )
    rows = sum(
        s.part.rows + sum(f.part.rows for f in s.features) for s in published.manifest.splits
    )
    assert found.rows == (rows if deep else 0)


def test_quick_finds_missing_and_cut_files(root: Path, published: PublishedManifest) -> None:
    media = layout.media_key(*STILLS, 1)
    (root / media).unlink()
    (root / SHARD).write_bytes((root / SHARD).read_bytes()[:-1])
    found = problems(root, published, deep=False)
    assert found.keys() == {media, SHARD}
    assert "missing" in found[media]
    assert "size" in found[SHARD]


def test_quick_reads_the_tables_that_list_files(root: Path, published: PublishedManifest) -> None:
    key = published.manifest.splits[0].part.file.key
    body = bytearray((root / key).read_bytes())
    body[100] ^= 1
    (root / key).write_bytes(body)
    assert "blake3" in problems(root, published, deep=False)[key]


def test_a_flipped_bit_names_file_and_row(root: Path, published: PublishedManifest) -> None:
    body = bytearray((root / SHARD).read_bytes())
    body[ROW_BYTES + 4 + 17] ^= 1
    (root / SHARD).write_bytes(body)
    assert problems(root, published, deep=False) == {}
    text = problems(root, published)[SHARD]
    assert "blake3" in text
    assert "row 1" in text
    assert "crc32c" in text


def test_a_damaged_index_is_a_finding(root: Path, published: PublishedManifest) -> None:
    body = bytearray((root / SHARD).read_bytes())
    body[-8] ^= 1
    (root / SHARD).write_bytes(body)
    found = problems(root, published)
    assert any("index" in text for text in found.values())


def test_values_that_are_not_finite_are_found(root: Path, published: PublishedManifest) -> None:
    values = np.ones(CHANNELS * GRID * GRID, dtype=np.float16)
    values[5] = np.nan
    overwrite_row(root / SHARD, 1, values)
    assert "row 1, 'cat' is not finite" in problems(root, published)[SHARD]


def test_values_out_of_the_stated_range_are_found(root: Path, published: PublishedManifest) -> None:
    overwrite_row(root / SHARD, 0, np.full(CHANNELS * GRID * GRID, 77, dtype=np.float16))
    text = problems(root, published)[SHARD]
    assert "least and greatest value of row 0, 'astronaut'" in text
    assert "77" in text


def test_a_stored_row_that_is_quarantined_is_found(
    root: Path, published: PublishedManifest
) -> None:
    key = layout.rows_key(TRUNK, 0)
    rows = read_table(LocalObjectStore(root), key, FEATURE_ROWS).to_pylist()
    rows[1]["quarantine"] = "undecodable"
    (root / key).write_bytes(encode_table(rows, FEATURE_ROWS))
    assert "first difference at row 1" in problems(root, published)[SHARD]


def test_a_row_that_is_not_stored_is_found(root: Path, published: PublishedManifest) -> None:
    body = bytearray((root / SHARD).read_bytes())
    index = np.frombuffer(bytes(body[-index_bytes(SLOTS) : -4]), dtype="<u8").copy()
    index[:2] = 2**64 - 1
    body[-index_bytes(SLOTS) :] = index.tobytes() + struct.pack("<I", crc32c(index.tobytes()))
    (root / SHARD).write_bytes(body)
    text = problems(root, published)[SHARD]
    assert "first difference at row 0; expected 2" in text


@pytest.mark.parametrize(
    ("place", "name", "column", "value"),
    [
        (STILLS, "image.trunk", "key", "dog"),
        (STILLS, "image.trunk", "row", 7),
        (STILLS, "text.tokens", "phrase", "dog"),
        (CLIPS, "memory.mask_logits", "object_id", 9),
        (CLIPS, "memory.mask_logits", "frame", 3),
    ],
)
def test_rows_of_other_samples_are_found(
    root: Path,
    published: PublishedManifest,
    place: tuple[str, str],
    name: str,
    column: str,
    value: object,
) -> None:
    folder = layout.array_folder(*place, ColourTeacher().spec.digest, name)
    key = layout.rows_key(folder, 0)
    rows = read_table(LocalObjectStore(root), key, FEATURE_ROWS).to_pylist()
    rows[0][column] = value
    (root / key).write_bytes(encode_table(rows, FEATURE_ROWS))
    text = problems(root, published)[key]
    assert "1 rows of other samples" in text
    assert f"{column} {value}" in text


def test_fewer_rows_than_published_are_found(root: Path, published: PublishedManifest) -> None:
    key = layout.rows_key(TRUNK, 0)
    rows = read_table(LocalObjectStore(root), key, FEATURE_ROWS).to_pylist()
    (root / key).write_bytes(encode_table(rows[:1], FEATURE_ROWS))
    assert "rows; expected 2; got 1" in problems(root, published)[key]


def test_an_image_that_is_not_the_samples_is_found(
    root: Path, published: PublishedManifest
) -> None:
    key = layout.media_key(*STILLS, 0)
    body = bytearray((root / key).read_bytes())
    body[2000] ^= 1
    (root / key).write_bytes(body)
    text = problems(root, published)[key]
    assert "image of astronaut" in text
    assert "image of cat" not in text


def test_tables_that_disagree_are_found(root: Path, published: PublishedManifest) -> None:
    store = LocalObjectStore(root)
    samples, annotations = layout.samples_key(*STILLS, 0), layout.annotations_key(*STILLS, 0)
    rows = read_table(store, samples, SAMPLES).to_pylist()
    rows[1]["key"] = rows[0]["key"]
    (root / samples).write_bytes(encode_table(rows, SAMPLES))
    objects = read_table(store, annotations, ANNOTATIONS).to_pylist()
    objects[0]["row"] = 9
    (root / annotations).write_bytes(encode_table(objects, ANNOTATIONS))
    found = problems(root, published)
    assert "a key appears twice" in found[samples]
    assert "no such row" in found[annotations]


def test_zarr_json_of_another_shape_is_found(root: Path, published: PublishedManifest) -> None:
    path = root / TRUNK / "zarr.json"
    metadata = json.loads(path.read_bytes())
    metadata["shape"][0] += SLOTS
    path.write_text(json.dumps(metadata))
    assert "zarr" in problems(root, published)[f"{TRUNK}/zarr.json"]


def test_no_problem_hides_another(root: Path, published: PublishedManifest) -> None:
    keys = [layout.samples_key(*STILLS, 0), layout.rows_key(TRUNK, 1), f"{TRUNK}/zarr.json", SHARD]
    for key in keys:
        (root / key).write_bytes(b"x" * (root / key).stat().st_size)
    (root / layout.phrases_key(*STILLS)).unlink()
    found = problems(root, published)
    assert {*keys, layout.phrases_key(*STILLS)} <= found.keys()
    assert all("blake3" in found[key] for key in keys)


def test_findings_come_in_the_same_order_each_time(
    root: Path, published: PublishedManifest
) -> None:
    for path in (root / TRUNK).rglob("*.parquet"):
        path.write_bytes(b"damaged")
    store = LocalObjectStore(root)
    first, second = (verify_manifest(store, published, deep=True).findings for _ in range(2))
    assert first == second
    assert len(first) > 2


def test_a_listener_hears_of_every_check(root: Path, published: PublishedManifest) -> None:
    heard: list[tuple[int, int]] = []
    verify_manifest(
        LocalObjectStore(root), published, listener=lambda done, total: heard.append((done, total))
    )
    assert [done for done, _ in heard] == list(range(1, heard[0][1] + 1))
