from __future__ import annotations

import msgspec
import pytest

from pipelines.student.config import TrainConfig
from pipelines.student.models import ImageStudent
from pipelines.student.schedule import learning_rate, make_optimizer, set_learning_rate
from schemas.errors import UsageError
from schemas.features import FeatureSpec, PreprocessSpec

CONFIG = TrainConfig(image_size=64, steps=100, warmup_steps=10, learning_rate=1e-2)


def test_warms_up_peaks_and_falls_to_almost_nothing() -> None:
    rates = [learning_rate(CONFIG, step) for step in range(100)]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[9] == rates[10] == max(rates) == pytest.approx(1e-2)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[99] < 1e-5
    assert rates[55] == pytest.approx(0.5e-2)


def test_short_runs_have_a_rate_at_every_step() -> None:
    for steps in (1, 2, 3):
        config = TrainConfig(image_size=64, steps=steps, warmup_steps=100)
        assert all(learning_rate(config, step) > 0 for step in range(steps))


def test_only_weights_of_more_than_one_dimension_decay() -> None:
    feature = FeatureSpec(name="image.trunk", rows="sample", item_shape=(4, 2, 2), codec="float16")
    student = ImageStudent("efficientvit_b0", feature, PreprocessSpec(image_size=64))
    optimizer = make_optimizer(student, CONFIG)
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    for name, weight in student.named_parameters():
        assert decay[id(weight)] == (0.05 if weight.ndim > 1 else 0), name
    set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]


@pytest.mark.parametrize("name", ["steps", "batch_size", "learning_rate", "image_size"])
def test_options_that_cannot_be_right(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        msgspec.structs.replace(CONFIG, **{name: 0})
