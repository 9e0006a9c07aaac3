from __future__ import annotations

import socket
import sys

import numpy as np
import pytest
from PIL import ImageChops

from pipelines.demo.album import ALBUM, CAT, COINS
from pipelines.demo.categories import CATEGORIES
from pipelines.demo.photographs import Photograph, require_photographs
from pipelines.demo.regions import object_labels
from schemas.errors import UsageError

ANNOTATED = [photograph for photograph in ALBUM if photograph.outlines]


@pytest.mark.parametrize("photograph", ALBUM, ids=lambda item: item.name)
def test_photographs_open_without_a_network(
    photograph: Photograph, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a photograph asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    image = photograph.open()
    assert image.mode in ("L", "RGB")
    assert min(image.size) >= 300
    assert np.asarray(image).std() > 10


def test_the_photographs_differ() -> None:
    small = [photograph.open().convert("L").resize((16, 16)) for photograph in ALBUM]
    for number, one in enumerate(small):
        for other in small[number + 1 :]:
            assert ImageChops.difference(one, other).getbbox() is not None


def test_a_missing_wheel_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(UsageError, match=r"pip install 'samdistill\[demo\]'"):
        CAT.open()


def test_missing_wheels_are_found_before_they_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    require_photographs()
    monkeypatch.setattr("pipelines.demo.photographs.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install 'samdistill\[demo\]'"):
        require_photographs()


@pytest.mark.parametrize("photograph", ANNOTATED, ids=lambda item: item.name)
def test_every_outline_becomes_a_region_of_a_known_category(photograph: Photograph) -> None:
    labels = object_labels(photograph)
    assert labels.shape == photograph.open().size[::-1]
    assert set(np.unique(labels)) == set(range(len(photograph.outlines) + 1))
    assert {outline.category for outline in photograph.outlines} <= CATEGORIES.keys()


def test_regions_follow_the_edges_of_the_photograph() -> None:
    """Coins are drawn as octagons but are brighter than their ground, to the very edge."""
    image = np.asarray(COINS.open()).astype(float)
    labels = object_labels(COINS)
    for number in range(1, len(COINS.outlines) + 1):
        rows, columns = np.nonzero(labels == number)
        window = np.s_[
            max(rows.min() - 3, 0) : rows.max() + 4, max(columns.min() - 3, 0) : columns.max() + 4
        ]
        coin, around = labels[window] == number, labels[window] == 0
        assert image[window][coin].mean() > image[window][around].mean() + 15
