"""Text features: how alike the teacher finds the phrases of a split."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.report.markup import fill, plural, text
from pipelines.store import layout
from pipelines.store.arrays import FeatureArray
from pipelines.store.splits import Split
from pipelines.store.tables import read_table
from schemas.tables import PHRASES

Float32 = npt.NDArray[np.float32]

_SHOWN = 24
_CELL = 20

_FIGURE = """<div class="phrases">
<figure class="heat"><svg viewBox="0 0 $side $side" role="img"
 aria-label="cosine similarity of the phrases">$cells</svg>
<figcaption><span>$low</span><i></i><span>1.00</span></figcaption></figure>
<ol>$names</ol></div>"""


def phrase_map(split: Split, tokens: FeatureArray, mask: FeatureArray) -> str:
    """Return a heat map of the phrases that name the most objects."""
    chosen = _frequent(split)
    vectors = np.stack([_pooled(tokens, mask, row) for row, _ in chosen])
    order = _neighbours(vectors @ vectors.T)
    names = [chosen[place][1] for place in order]
    similarity = vectors[order] @ vectors[order].T
    low = float(similarity.min())
    return fill(
        _FIGURE,
        side=str(_CELL * len(names)),
        cells=_cells(similarity, names, low),
        low=f"{low:.2f}",
        names="".join(f"<li>{text(name)}</li>" for name in names),
    )


def phrase_note(split: Split) -> str:
    """Say which phrases are shown."""
    shown = min(_SHOWN, split.record.phrases)
    return (
        f"Cosine of the mean token of {plural(shown, 'phrase')} out of "
        f"{plural(split.record.phrases, 'phrase')}: those that name the most objects."
    )


def _frequent(split: Split) -> list[tuple[int, str]]:
    """Return row and text of the phrases that are used most."""
    key = layout.phrases_key(split.record.dataset, split.record.split)
    rows = read_table(split.store, key, PHRASES).to_pylist()
    rows.sort(key=lambda row: (-row["objects"], -row["captions"], row["row"]))
    return [(row["row"], row["phrase"]) for row in rows[:_SHOWN]]


def _pooled(tokens: FeatureArray, mask: FeatureArray, row: int) -> Float32:
    """Return the mean of the phrase's real tokens, of length one."""
    weights = mask.read([row])[0]
    mean = (tokens.read([row])[0] * weights[:, None]).sum(axis=0) / max(weights.sum(), 1)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)


def _neighbours(similarity: Float32) -> list[int]:
    """Order the phrases so that each stands beside the one most like it: blocks become visible."""
    order = [0]
    while len(order) < len(similarity):
        candidates = similarity[order[-1]].copy()
        candidates[order] = -np.inf
        order.append(int(candidates.argmax()))
    return order


def _cells(similarity: Float32, names: list[str], low: float) -> str:
    scale = max(1 - low, 1e-6)
    return "".join(
        f'<rect x="{column * _CELL}" y="{row * _CELL}" width="{_CELL}" height="{_CELL}" '
        f'fill-opacity="{max(0.0, (similarity[row, column] - low) / scale):.3f}">'
        f"<title>{text(first)} / {text(second)}: {similarity[row, column]:.2f}</title></rect>"
        for row, first in enumerate(names)
        for column, second in enumerate(names)
    )
