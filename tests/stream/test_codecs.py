"""Features of all codecs beside each other in a batch, decoded on the host and as a device does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from pipelines.jobs.publish import publish, select
from pipelines.store.local import LocalObjectStore
from pipelines.store.splits import Split
from pipelines.store.tensor_codec import TensorCodec
from pipelines.stream.batches import Batch
from schemas.features import FeatureSpec
from tests.jobs.colour_teacher import ColourTeacher
from tests.jobs.sample_root import CLIPS, STILLS, cache, clips, normalize, stills
from tests.stream.rich_root import ALBUM, CAMERA
from tests.stream.test_contents import array_of, clip_keys, expected_memory, stream_of

CODECS = ("bfloat16", "int8", "fp8_e4m3", "pca64")
TRUNKS = ("image.trunk", *(f"image.trunk@{codec}" for codec in CODECS))
TOKENS, MASKMEM = "text.tokens", "memory.maskmem"


class Encoding(ColourTeacher):
    """Has some features stored by other codecs than the usual ones."""

    def __init__(self, codecs: Mapping[str, str]) -> None:
        super().__init__()
        self._codecs = codecs

    def feature(self, name: str, codec: str | None = None) -> FeatureSpec:
        return super().feature(name, self._codecs.get(name, codec))


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> LocalObjectStore:
    store = LocalObjectStore(tmp_path_factory.mktemp("coded"))
    splits = (
        normalize(store, STILLS, [stills()[:2]]),
        normalize(store, CLIPS, clips(1, 3), "video"),
    )
    for split in splits:
        cache(split, ColourTeacher())
        for codec in CODECS:
            cache(split, Encoding(dict.fromkeys(("image.trunk", TOKENS, MASKMEM), codec)))
    publish(store, "all", select(store, []))
    return store


@pytest.fixture(params=["host", "device"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode as on a CPU, in blocks, and as on a GPU, all rows in one step."""
    if request.param == "device":
        monkeypatch.setattr(TensorCodec, "_on_cpu", staticmethod(lambda _: False))


def require_decoded(batch: Batch, name: str, rows: np.ndarray) -> None:
    """Require the values of the numpy definition, in float32 and rounded once to float16."""
    wanted = torch.from_numpy(rows)
    found = batch.to("cpu").values(name, torch.float32)
    assert found.shape == wanted.shape
    slack = 1e-5 if name.endswith("pca64") else 0
    assert (found - wanted).abs().max() <= slack * wanted.abs().max()
    half = batch.values(name)
    assert half.dtype == torch.float16
    assert torch.equal(half, found.half())


@pytest.mark.usefixtures("where")
def test_a_batch_holds_rows_of_every_codec(coded: LocalObjectStore) -> None:
    (batch,) = stream_of(coded, *TRUNKS, splits=[ALBUM], image_size=16, batch_size=2)
    keys = [sample.key for sample in Split.open(coded, *STILLS).samples(0)]
    for name in TRUNKS:
        array = array_of(coded, STILLS, name)
        assert batch.features[name].shape == (2, *array.feature.stored_shape)
        require_decoded(batch, name, array.read([keys.index(key) for key in batch.keys]))


@pytest.mark.usefixtures("where")
@pytest.mark.parametrize("codec", CODECS)
def test_phrases_are_decoded_too(coded: LocalObjectStore, codec: str) -> None:
    name = f"{TOKENS}@{codec}"
    (batch,) = stream_of(coded, "image.trunk", name, splits=[ALBUM], batch_size=2)
    assert batch.phrases is not None
    phrases = Split.open(coded, *STILLS).phrases
    rows = [phrases.index(text) for text in batch.phrases.texts]
    require_decoded(batch, name, array_of(coded, STILLS, name).read(rows))


@pytest.mark.usefixtures("where")
def test_windows_and_memory_are_decoded_too(coded: LocalObjectStore) -> None:
    memory = [f"{MASKMEM}@{codec}" for codec in CODECS]
    (batch,) = stream_of(coded, *TRUNKS, *memory, splits=[CAMERA], frames=3, batch_size=1)
    rows = [clip_keys(coded).index(key) for key in batch.keys]
    for name in TRUNKS:
        require_decoded(batch, name, array_of(coded, CLIPS, name).read(rows)[None])
    for name in memory:
        wanted = [values for key in batch.keys for _, values in expected_memory(coded, name, key)]
        require_decoded(batch, name, np.stack(wanted))
