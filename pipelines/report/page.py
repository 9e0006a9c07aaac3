"""Assembles the page: one HTML file that needs nothing beside it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from pipelines.report.cards import card_grid
from pipelines.report.filmstrip import film_strips
from pipelines.report.maps import find_arrays
from pipelines.report.markup import count, fill, plural, size, text, tiles
from pipelines.report.phrases import phrase_map, phrase_note
from pipelines.report.summary import (
    LISTED_KEYS,
    FeatureSummary,
    ManifestSummary,
    QuarantineSummary,
    SplitSummary,
    summarize,
)
from pipelines.store.arrays import FeatureArray
from pipelines.store.objects import ObjectStore, storage_errors
from pipelines.store.published import PublishedManifest, read_part
from pipelines.store.splits import Split
from schemas.features import TeacherSpec, get_feature
from schemas.manifests import ManifestSplit
from schemas.samples import MediaKind

_SAMPLES_PER_CLIP = 3
_TIMES = "\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN}\N{NO-BREAK SPACE}"

_KINDS: dict[MediaKind, str] = {
    "image": "still images",
    "video": "video clips",
    "text": "phrases only",
}

_TEACHER = """<section class="teacher"><h3>Teacher <code>$digest</code></h3>
<dl class="facts">$facts</dl></section>"""

_SPLIT = """<section class="split" id="$anchor">
<header><h2>$dataset<em>/</em>$split</h2><p>$about</p></header>
$tiles
<h3>Stored</h3>
<ul class="stored">$stored</ul>
<h3>Quarantine</h3>
$quarantine
$shown
</section>"""

_PRODUCT = """<li><div><b>$name</b><span class="size">$size</span></div>
<div class="bar"><i style="width:$share%"></i></div><p>$about</p></li>"""


def render_page(store: ObjectStore, published: PublishedManifest, *, samples: int = 12) -> str:
    """Return the page of a manifest; equal manifests give equal pages.

    Parameters
    ----------
    samples
        Images shown of each split; of a split of clips, a third as many clips.
    """
    summary = summarize(store, published)
    splits = zip(published.manifest.splits, summary.splits, strict=True)
    sections = [_split(store, published, split, numbers, samples) for split, numbers in splits]
    page = resources.files("pipelines.report").joinpath("page.html").read_text(encoding="utf-8")
    return fill(
        page,
        name=text(summary.name),
        version=str(summary.version),
        digest=summary.digest,
        tiles=tiles(_totals(summary)),
        teachers="".join(_teacher(digest, spec) for digest, spec in summary.teachers.items()),
        links=_links(summary.splits),
        splits="".join(sections),
    )


def write_page(path: Path, page: str) -> None:
    """Write a page, whole or not at all; an older one is replaced."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with storage_errors(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(page, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _totals(summary: ManifestSummary) -> list[tuple[str, str]]:
    features = [feature for split in summary.splits for feature in split.features]
    return [
        ("splits", count(len(summary.splits))),
        ("images", count(summary.rows)),
        ("phrases", count(sum(split.phrases for split in summary.splits))),
        ("feature arrays", count(len(features))),
        ("feature rows", count(sum(feature.rows for feature in features))),
        ("on disk", size(summary.bytes)),
    ]


def _teacher(digest: str, spec: TeacherSpec) -> str:
    facts = {
        "architecture": spec.architecture,
        "weights": spec.weights[:16],
        "image size": f"{spec.preprocess.image_size}{_TIMES}{spec.preprocess.image_size}",
        "text context": f"{spec.tokenize.context} tokens" if spec.tokenize else "none",
        "precision": spec.precision,
        "attention": spec.attention,
        "libraries": ", ".join(f"{name} {version}" for name, version in spec.libraries.items()),
    }
    items = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts.items()
    )
    return fill(_TEACHER, digest=digest, facts=items)


def _links(splits: Iterable[SplitSummary]) -> str:
    return "".join(
        f'<a href="#{_anchor(split)}">{text(split.dataset)}/{text(split.split)}</a>'
        for split in splits
    )


def _anchor(split: SplitSummary) -> str:
    return text(f"{split.dataset}-{split.split}")


def _split(
    store: ObjectStore,
    published: PublishedManifest,
    split: ManifestSplit,
    numbers: SplitSummary,
    samples: int,
) -> str:
    about = (
        f"<span>{_KINDS[numbers.media]}</span><span>{plural(numbers.rows, 'row')} in "
        f"{plural(numbers.shards, 'shard')}</span><span>licence: {text(numbers.licence)}</span>"
        f"<span>normalizer: {text(numbers.normalizer)}</span>"
    )
    return fill(
        _SPLIT,
        anchor=_anchor(numbers),
        dataset=text(numbers.dataset),
        split=text(numbers.split),
        about=about,
        tiles=tiles((name.replace("_", " "), count(n)) for name, n in _counts(numbers)),
        stored=_stored(numbers),
        quarantine=_quarantine(numbers.quarantined),
        shown=_shown(store, published, split, samples),
    )


def _counts(numbers: SplitSummary) -> list[tuple[str, int]]:
    return [*((name, n) for name, n in numbers.counts.items() if n), ("phrases", numbers.phrases)]


def _stored(numbers: SplitSummary) -> str:
    several = len({feature.teacher for feature in numbers.features}) > 1
    largest = max([numbers.bytes, *(feature.bytes for feature in numbers.features), 1])
    products = [("images and tables", numbers.bytes, "WebDataset tar and parquet, as published")]
    products += [
        (
            feature.feature.array_name,
            feature.bytes,
            _about_feature(feature, several_teachers=several),
        )
        for feature in numbers.features
    ]
    return "".join(
        fill(
            _PRODUCT,
            name=text(name),
            size=size(stored),
            share=f"{100 * stored / largest:.2f}",
            about=text(about),
        )
        for name, stored, about in products
    )


def _about_feature(feature: FeatureSummary, *, several_teachers: bool) -> str:
    spec = feature.feature
    shape = _TIMES.join(map(str, spec.item_shape)) or "scalar"
    parts = [
        get_feature(spec.name).about,
        shape,
        spec.codec,
        f"{plural(feature.rows, 'row')} in {plural(feature.shards, 'shard')}",
    ]
    parts += [f"teacher {feature.teacher}"] if several_teachers else []
    left_out = sum(feature.quarantined.values())
    parts += [f"{plural(left_out, 'row')} left out"] if left_out else []
    return " \N{MIDDLE DOT} ".join(parts)


def _quarantine(reasons: tuple[QuarantineSummary, ...]) -> str:
    if not reasons:
        return '<p class="note">No sample is quarantined.</p>'
    return "".join(_reason(reason) for reason in reasons)


def _reason(found: QuarantineSummary) -> str:
    keys = "".join(f"<li>{text(key)}</li>" for key in found.keys)
    more = found.count - len(found.keys)
    if len(found.keys) == LISTED_KEYS and more > 0:
        keys += f"<li>and {count(more)} more</li>"
    return (
        f'<details class="reason"><summary><b>{text(found.reason)}</b>'
        f"<span>{plural(found.count, 'sample')}</span></summary><ul>{keys}</ul></details>"
    )


def _shown(
    store: ObjectStore, published: PublishedManifest, split: ManifestSplit, samples: int
) -> str:
    opened = Split(store, split.split, split.split_file.blake3)
    arrays = _Arrays(find_arrays(opened, published.manifest, split))
    shown = _pictures(store, split, opened, arrays, samples) if split.split.rows else ""
    tokens, mask = arrays.first("text.tokens"), arrays.first("text.mask")
    if tokens is not None and mask is not None:
        shown += f'<h3>Phrases</h3><p class="note">{phrase_note(opened)}</p>'
        shown += phrase_map(opened, tokens, mask)
    return shown


def _pictures(
    store: ObjectStore, split: ManifestSplit, opened: Split, arrays: _Arrays, samples: int
) -> str:
    trunk = arrays.first("image.trunk")
    if split.split.media == "video":
        clips = max(1, samples // _SAMPLES_PER_CLIP)
        title, note = "Clips", _clip_note(arrays)
        pictures = film_strips(opened, arrays.first("memory.mask_logits"), trunk, clips)
    else:
        table = read_part(store, split.part).select(["shard", "rows"]).to_pylist()
        rows = {row["shard"]: row["rows"] for row in table}
        title, note = "Samples", _sample_note(arrays)
        pictures = card_grid(opened, [rows[shard] for shard in sorted(rows)], trunk, samples)
    return f'<h3>{title}</h3><p class="note">{note}</p>{pictures}'


class _Arrays:
    """The arrays of a split by feature; of several teachers, the one listed first."""

    def __init__(self, arrays: list[FeatureArray]) -> None:
        self._arrays = arrays

    def first(self, name: str) -> FeatureArray | None:
        """Return the first array of a feature of images as they are."""
        for array in self._arrays:
            if array.feature.name == name and array.feature.view == "identity":
                return array
        return None


def _sample_note(arrays: _Arrays) -> str:
    note = "A colour is an object; hatching is a crowd region."
    if arrays.first("image.trunk") is not None:
        note += f" Beside each image: {_TRUNK_NOTE}"
    return note


def _clip_note(arrays: _Arrays) -> str:
    note = "A colour is an object and stays with it."
    if arrays.first("memory.mask_logits") is not None:
        note += " Memory: where the tracker's mask logits are above zero."
    if arrays.first("image.trunk") is not None:
        note += f" Trunk: {_TRUNK_NOTE}"
    return note


_TRUNK_NOTE = (
    "the first principal component of the trunk as lightness, the second and third as colour, "
    "fitted on all images shown here, so that alike features look alike in all of them."
)
