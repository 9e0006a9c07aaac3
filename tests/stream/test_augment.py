from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pipelines.store.local import LocalObjectStore
from pipelines.stream.augment import Augment, ColourJitter, Noise, Photometric, RandomGrey
from pipelines.stream.feature_stream import FeatureStream
from schemas.errors import UsageError

JITTER = ColourJitter(brightness=0.4, contrast=0.4, saturation=0.4)
ALL = (JITTER, RandomGrey(probability=0.5), Noise(deviation=8))


def images(store: LocalObjectStore, *augment: Augment, **options: Any) -> dict[str, torch.Tensor]:
    options = {"batch_size": 3, "epochs": 1, "threads": 3} | options
    stream = FeatureStream(store, "tiny", image_size=32, augment=augment, **options)
    found: dict[str, torch.Tensor] = {}
    for batch in stream:
        assert batch.images_BCHW is not None
        found |= dict(zip(batch.keys, batch.images_BCHW, strict=True))
    return found


@pytest.mark.parametrize("augment", ALL)
def test_images_change_and_features_do_not(store: LocalObjectStore, augment: Augment) -> None:
    plain, changed = images(store), images(store, augment)
    assert any(not torch.equal(plain[key], changed[key]) for key in plain)
    assert all(changed[key].dtype == torch.uint8 for key in plain)


def test_each_change_is_a_function_of_seed_and_position(store: LocalObjectStore) -> None:
    first = images(store, *ALL)
    for options in ({"threads": 1}, {"batch_size": 5}, {"batch_size": 1, "prefetch": 3}):
        again = images(store, *ALL, **options)
        assert all(torch.equal(first[key], again[key]) for key in first)
    other = images(store, *ALL, seed=1)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_the_next_epoch_draws_anew(store: LocalObjectStore) -> None:
    stream = FeatureStream(store, "tiny", image_size=32, augment=[JITTER], batch_size=11, epochs=2)
    first, second = (dict(zip(b.keys, b.images_BCHW, strict=True)) for b in stream)  # type: ignore[arg-type]
    assert any(not torch.equal(first[key], second[key]) for key in first)


class RandomHorizontalFlip:
    def __call__(self, image_CHW: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
        return image_CHW.flip(-1)


def test_what_may_move_pixels_is_refused(store: LocalObjectStore) -> None:
    with pytest.raises(UsageError, match=r"RandomHorizontalFlip may move pixels.*split of their"):
        images(store, RandomHorizontalFlip())


def test_another_change_goes_by_the_callers_word(store: LocalObjectStore) -> None:
    def invert(image_CHW: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
        return 255 - image_CHW

    plain, changed = images(store), images(store, Photometric(change=invert))
    assert all(torch.equal(255 - plain[key], changed[key]) for key in plain)


def test_another_shape_is_refused_by_sample(store: LocalObjectStore) -> None:
    def crop(image_CHW: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
        return image_CHW[:, 4:]

    with pytest.raises(UsageError, match=r"sample train-\d+: augmentation .* moves pixels"):
        images(store, Photometric(change=crop))
