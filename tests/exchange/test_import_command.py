from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from pipelines.cli import export, import_dump, publish
from pipelines.jobs.asked_features import expand_features
from pipelines.jobs.cache import CacheOptions, plan_cache
from pipelines.jobs.other_teachers import require_no_others
from pipelines.media.images import decode_image
from pipelines.media.preprocess import resize_longest_side
from pipelines.report.maps import ShownRow, TrunkColours
from pipelines.store import layout
from pipelines.store.arrays import FeatureArray
from pipelines.store.local import LocalObjectStore
from pipelines.store.splits import Split
from pipelines.stream.feature_stream import FeatureStream
from schemas.errors import UnknownNameError, UsageError
from tests.exchange.dumps import SHAPE, Values, feature, read_dump, write_rank
from tests.jobs.colour_teacher import ColourTeacher
from tests.jobs.sample_root import build_root

KEYS = ("astronaut", "cat", "dahlia")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    build_root(LocalObjectStore(tmp_path / "root"), ColourTeacher())
    write_rank(tmp_path / "dump", 0, zip(KEYS, values(), strict=True))
    return tmp_path / "root"


def values() -> list[Values]:
    return [feature(number) for number in range(len(KEYS))]


def run(root: Path, *arguments: str) -> Result:
    app = typer.Typer()
    for module in (publish, export, import_dump):
        module.register(app)
    return CliRunner().invoke(app, [*arguments, "--root", str(root)], catch_exceptions=True)


def imported(root: Path, *more: str, into: str = "album/val") -> Result:
    arguments = ["import", str(root.parent / "dump"), into, "--format", "efficientsam3"]
    return run(root, *arguments, "--shape", "6x4x5", *more)


def test_it_shows_what_it_did_and_goes_on_where_it_stopped(root: Path) -> None:
    done = imported(root, "--slice", "0/2")
    assert done.exit_code == 0, done.output
    assert "SAM3ImageTeacherEncoder" in done.output
    assert "float16-autocast" in done.output
    assert "1 done, 0 by others, 0 failed" in done.output
    assert "1 done, 0 by others, 0 failed" in imported(root).output
    assert "album/val import: complete" in imported(root).output


def test_a_published_import_is_streamed_and_exported(root: Path) -> None:
    checkpoint = root.parent / "sam3.pt"
    checkpoint.write_bytes(b"weights")
    done = imported(root, "--checkpoint", str(checkpoint))
    assert done.exit_code == 0, done.output
    (teacher,) = {path.name for path in (root / "features/album/val").iterdir()} - {
        ColourTeacher().spec.digest
    }
    published = run(root, "publish", "ours", "--dataset", "album", "--teacher", teacher)
    assert published.exit_code == 0, published.output
    stream = FeatureStream(str(root), "ours", image_size=100, batch_size=3, epochs=1)
    (batch,) = stream
    got = dict(zip(batch.keys, batch.features["image.trunk"], strict=True))
    for key, value in zip(KEYS, values(), strict=True):
        assert got[key].numpy().tobytes() == value.tobytes()
    out = str(root.parent / "out")
    assert run(root, "export", "ours", "--to", out, "--format", "edgesam").exit_code == 0
    read = read_dump(root.parent / "out/album/val/logits_top6_epoch0", SHAPE)
    assert [read[key].tobytes() for key in KEYS] == [value.tobytes() for value in values()]


def test_images_are_where_the_imported_features_are(root: Path) -> None:
    assert imported(root).exit_code == 0
    (teacher,) = {path.name for path in (root / "features/album/val").iterdir()} - {
        ColourTeacher().spec.digest
    }
    both = ["--teacher", teacher, "--teacher", ColourTeacher().spec.digest]
    assert run(root, "publish", "both", "--dataset", "album", *both).exit_code == 0
    stream = FeatureStream(
        str(root), "both", image_size=100, teacher=teacher, batch_size=3, epochs=1
    )
    (batch,) = stream
    assert batch.images_BCHW is not None
    split = Split.open(LocalObjectStore(root), "album", "val")
    for shard in range(split.record.shards):
        for sample in split.samples(shard):
            if sample.key in batch.keys:
                image = decode_image(split.read_image(shard, sample), sample.key)
                expected = resize_longest_side(image, 100, fill=(124, 116, 104))
                assert torch.equal(batch.images_BCHW[batch.keys.index(sample.key)], expected)
    features = {"a": f"image.trunk/{teacher}", "b": f"image.trunk/{ColourTeacher().spec.digest}"}
    with pytest.raises(UsageError, match=r"different ways: a by longest.*a stream each"):
        FeatureStream(str(root), "both", image_size=100, features=features)
    assert FeatureStream(str(root), "both", image_size=None, features=features).samples == 3


def test_a_map_is_shown_without_its_padding(root: Path) -> None:
    assert imported(root).exit_code == 0
    store = LocalObjectStore(root)
    (teacher,) = {path.name for path in (root / "features/album/val").iterdir()} - {
        ColourTeacher().spec.digest
    }
    for digest, wide in ((teacher, (5, 2)), (ColourTeacher().spec.digest, (36, 36))):
        folder = layout.array_folder("album", "val", digest, "image.trunk")
        row = ShownRow(shard=0, row=0)
        shown = TrunkColours(FeatureArray.open(store, folder), [row]).uri(row, 200, 100)
        assert shown is not None
        body = base64.b64decode(shown.partition(",")[2])
        assert Image.open(io.BytesIO(body)).size == wide


@pytest.mark.parametrize(
    ("into", "more", "error", "match"),
    [
        ("album", (), UsageError, "expected DATASET/SPLIT"),
        ("album/", (), UsageError, "expected DATASET/SPLIT"),
        ("albun/val", (), UnknownNameError, "Did you mean album"),
        ("album/vel", (), UnknownNameError, "Did you mean val"),
        ("album/val", ("--shape", "6x4"), UsageError, "channels, height and width"),
        ("album/val", ("--shape", "6x0x4"), UsageError, "channels, height and width"),
        ("album/val", ("--checkpoint", "none.pt"), UsageError, "the file of the weights"),
    ],
)
def test_wrong_words_are_refused(
    root: Path, into: str, more: tuple[str, ...], error: type[Exception], match: str
) -> None:
    found = imported(root, *more, into=into)
    assert isinstance(found.exception, error)
    with pytest.raises(error, match=match):
        raise found.exception


def test_it_exits_1_when_a_shard_fails(root: Path) -> None:
    """A count allows rows shard by shard; so nothing is known before the copying."""
    write_rank(root.parent / "dump", 0, [(KEYS[0], feature(0))])
    found = imported(root, "--max-quarantined", "0")
    assert found.exit_code == 1, found.output
    assert "not-in-dump" in found.output


def test_an_import_does_not_keep_the_teacher_from_caching(root: Path) -> None:
    assert imported(root).exit_code == 0
    split, teacher = Split.open(LocalObjectStore(root), "album", "val"), ColourTeacher()
    plan = plan_cache(
        split, teacher, lambda: teacher, expand_features(["image.trunk"]), CacheOptions()
    )
    require_no_others(plan)
