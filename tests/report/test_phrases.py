from __future__ import annotations

import re

import numpy as np

from pipelines.report.maps import ShownRow, TrunkColours, find_arrays
from pipelines.report.phrases import phrase_map
from pipelines.store.local import LocalObjectStore
from pipelines.store.published import PublishedManifest
from pipelines.store.splits import Split
from tests.jobs.colour_teacher import ColourTeacher
from tests.jobs.sample_root import STILLS


def test_cells_are_cosines_of_mean_tokens(
    store: LocalObjectStore, published: PublishedManifest
) -> None:
    split = Split.open(store, *STILLS)
    arrays = {
        a.feature.name: a
        for a in find_arrays(split, published.manifest, published.manifest.splits[0])
    }
    html = phrase_map(split, arrays["text.tokens"], arrays["text.mask"])
    names = re.findall(r"<li>(.*?)</li>", html)
    assert sorted(names) == split.phrases
    features = ColourTeacher().encode_text(["tabby cat", "green eye"])
    sums = (features["text.tokens"] * features["text.mask"][..., None]).sum(axis=1)
    units = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    assert f"<title>tabby cat / green eye: {units[0] @ units[1]:.2f}</title>" in html
    assert html.count("<rect") == len(names) ** 2


def test_phrases_that_are_alike_are_neighbours(
    store: LocalObjectStore, published: PublishedManifest
) -> None:
    split = Split.open(store, *STILLS)
    arrays = {
        a.feature.name: a
        for a in find_arrays(split, published.manifest, published.manifest.splits[0])
    }
    html = phrase_map(split, arrays["text.tokens"], arrays["text.mask"])
    names = re.findall(r"<li>(.*?)</li>", html)
    assert (
        abs(names.index("orange dahlia") - names.index("An orange dahlia in front of dark leaves."))
        <= 2
    )


def test_a_row_without_features_has_no_colours(
    store: LocalObjectStore, published: PublishedManifest
) -> None:
    split = Split.open(store, *STILLS)
    arrays = find_arrays(split, published.manifest, published.manifest.splits[0])
    trunk = next(array for array in arrays if array.feature.name == "image.trunk")
    rows = [ShownRow(shard=1, row=0), ShownRow(shard=1, row=1)]  # coins, dahlia
    colours = TrunkColours(trunk, rows)
    assert colours.uri(rows[0], 4, 3) is None
    assert str(colours.uri(rows[1], 4, 3)).startswith("data:image/png")
