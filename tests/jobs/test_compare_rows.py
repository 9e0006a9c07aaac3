from __future__ import annotations

import msgspec
import numpy as np
import pytest

from pipelines.jobs.audit_channels import ChannelRanges, Signatures
from pipelines.jobs.compare_rows import RowComparison, by_channel, compare_rows
from pipelines.teachers.base import Float32
from schemas.codec import CODECS, get_codec
from schemas.features import FEATURES, FeatureSpec

MAP = FeatureSpec(name="image.trunk", rows="sample", item_shape=(6, 8, 8), codec="float16")
POINTER = FeatureSpec(
    name="memory.object_pointer", rows="object_frame", item_shape=(16,), codec="float16"
)
TOKENS = FeatureSpec(name="text.tokens", rows="phrase", item_shape=(4, 16), codec="float16")
SCORE = FeatureSpec(name="memory.object_score", rows="object_frame", item_shape=(), codec="float32")
LOGITS = FeatureSpec(name="prompts.mask_logits", rows="prompt", item_shape=(8, 8), codec="float16")


def random(feature: FeatureSpec, seed: int = 0) -> Float32:
    source = np.random.default_rng(seed)
    return np.asarray(source.normal(size=feature.item_shape), dtype=np.float32)


def compare(feature: FeatureSpec, live: Float32, noise: float = 0.0) -> RowComparison:
    """Compare what another device would have stored with what is computed."""
    codec = get_codec(feature.codec)
    other = live + noise * random(feature, 1)
    stored = codec.decode(codec.convert(other), live.shape)
    coded = codec.decode(codec.convert(live), live.shape)
    return compare_rows(feature, 3, "x", (stored, live, coded))


@pytest.mark.parametrize("codec", sorted(CODECS.keys() - {"uint8"}))
@pytest.mark.parametrize("feature", [MAP, POINTER, TOKENS, LOGITS, SCORE])
def test_rounding_by_the_codec_is_no_excess(feature: FeatureSpec, codec: str) -> None:
    """Neither without noise, nor with noise that moves values over the edges of its steps."""
    feature = msgspec.structs.replace(feature, codec=codec)
    for seed in range(20):
        live = random(feature, seed)
        assert compare(feature, live).excess == 0
        assert compare(feature, live).channel_excess == 0
        noisy = compare(feature, live, 1e-5)
        assert noisy.excess < 2e-4
        assert noisy.channel_excess < 5e-5


def test_one_value_is_named_with_its_place() -> None:
    live = random(MAP)
    stored = live.copy()
    stored[2, 3, 4] += 0.1
    found = compare_rows(MAP, 3, "x", (stored, live, live))
    assert found.place == (2, 3, 4)
    assert found.excess == pytest.approx(0.1 / np.abs(live).max(), rel=1e-5)
    assert (found.computed, found.stored) == (live[2, 3, 4], stored[2, 3, 4])
    assert found.channel == 2


def test_a_small_channel_that_is_wrong_shows_by_itself() -> None:
    """A tiny part of the row: no value of it stands out of the noise, all together do."""
    live = random(MAP)
    live[4] *= 5e-5
    stored = live.copy()
    stored[4] *= -1
    found = compare_rows(MAP, 3, "x", (stored, live, live))
    assert found.excess < 2e-4
    assert found.channel == 4
    assert found.channel_excess > 5e-5
    assert found.cosine > 0.9999


def test_a_logit_near_zero_is_compared_in_units_of_one() -> None:
    live, stored = np.full((), 1e-6, np.float32), np.full((), 2e-6, np.float32)
    assert compare_rows(SCORE, 0, "x", (stored, live, live)).excess < 2e-6


def test_channels_are_those_of_the_feature() -> None:
    assert by_channel(MAP, random(MAP)).shape == (6, 64)
    tokens = random(TOKENS)
    assert np.array_equal(by_channel(TOKENS, tokens)[5], tokens[:, 5])
    assert by_channel(LOGITS, random(LOGITS)).shape == (1, 64)
    with_channels = {name for name, kind in FEATURES.items() if kind.channels is not None}
    assert "image.layerNN" in with_channels
    assert not {"text.mask", "prompts.boxes", "memory.iou"} & with_channels


def test_a_channel_is_dead_when_it_never_changes() -> None:
    ranges, pointers = ChannelRanges(MAP), ChannelRanges(POINTER)
    for seed in range(3):
        row = random(MAP, seed)
        row[1], row[2] = 0.5, seed
        ranges.add(row)
        pointers.add(np.ones(16, dtype=np.float32))
        # One vector says nothing about its channels.
        assert len(pointers.spans) == (16 if seed else 0)
    assert np.flatnonzero(ranges.spans == 0).tolist() == [1]
    assert not pointers.spans.any()
    assert not len(ChannelRanges(LOGITS).spans)


def test_a_row_is_recognized_in_the_place_of_another() -> None:
    seen = Signatures()
    rows = [random(MAP, seed) for seed in range(3)]
    for row, stored in ((0, rows[0]), (1, rows[2] + np.float32(1e-3)), (2, random(MAP, 9))):
        seen.add(row, stored, rows[row])
    assert [seen.found_in(row) for row in range(3)] == [None, 2, None]


@pytest.mark.parametrize(("codec", "allowed"), [("float16", 1), ("int8", 1), ("pca64", 2)])
def test_what_exceeds_the_rounding_is_all_told(codec: str, allowed: int) -> None:
    feature = msgspec.structs.replace(MAP, codec=codec)
    live = random(feature)
    coded = get_codec(codec).decode(get_codec(codec).convert(live), live.shape)
    rounding = np.abs(coded - live)
    place = np.unravel_index(rounding.argmax(), live.shape)
    stored = live.copy()
    stored[place] += (allowed + 3) * rounding[place]
    found = compare_rows(feature, 3, "x", (stored, live, coded))
    assert found.place == place
    assert found.excess == pytest.approx(3 * rounding.max() / np.abs(live).max(), rel=1e-2)
