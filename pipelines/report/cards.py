"""Stills: each photograph with its masks, beside it the trunk as colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.media.stored import decode_stored
from pipelines.report.choice import choose_samples
from pipelines.report.maps import ShownRow, TrunkColours
from pipelines.report.markup import plural, text
from pipelines.report.objects import box_layer, chips, mask_layer, shown_objects
from pipelines.report.pictures import jpeg_uri, shrink
from pipelines.store.arrays import FeatureArray
from pipelines.store.splits import Split, StoredSample

_LONGEST = 600


def card_grid(
    split: Split, shard_rows: Sequence[int], trunk: FeatureArray | None, count: int
) -> str:
    """Return the cards of at most ``count`` samples."""
    chosen = choose_samples(split, shard_rows, count)
    colours = TrunkColours(trunk, [place for place, _ in chosen]) if trunk is not None else None
    tables: dict[int, list[dict[str, Any]]] = {}
    cards = []
    for place, sample in chosen:
        if place.shard not in tables:
            tables = {place.shard: split.annotations_table(place.shard).to_pylist()}
        rows = [row for row in tables[place.shard] if row["row"] == place.row]
        captions = split.samples_table(place.shard).column("captions")[place.row].as_py()
        cards.append(_card(split, place, sample, rows, captions or [], colours))
    return f'<div class="cards">{"".join(cards)}</div>' if cards else ""


def _card(
    split: Split,
    place: ShownRow,
    sample: StoredSample,
    rows: list[dict[str, Any]],
    captions: list[str],
    colours: TrunkColours | None,
) -> str:
    image_HWC = decode_stored(split.read_image(place.shard, sample), sample.key)
    photograph = shrink(image_HWC, _LONGEST)
    objects = shown_objects(rows)
    ratio = f"--ratio:{sample.width}/{sample.height}"
    layers = mask_layer(objects, photograph.size) + box_layer(objects, sample.width, sample.height)
    picture = (
        f'<div class="picture" style="{ratio}">'
        f'<img alt="{text(sample.key)}" src="{jpeg_uri(photograph)}">{layers}</div>'
    )
    about = (
        f'<p class="about"><b>{text(sample.key)}</b><span>{sample.width} \N{MULTIPLICATION SIGN} '
        f"{sample.height}</span><span>{plural(len(objects), 'object')}</span></p>"
    )
    quotes = "".join(f"<blockquote>{text(caption)}</blockquote>" for caption in captions)
    trunk = _trunk(place, sample, colours, ratio)
    named = f'<ul class="chips">{chips(objects)}</ul>' if objects else ""
    return (
        f'<article class="card"><div class="pair">{picture}{trunk}</div>'
        f"{about}{quotes}{named}</article>"
    )


def _trunk(place: ShownRow, sample: StoredSample, colours: TrunkColours | None, ratio: str) -> str:
    if colours is None:
        return ""
    uri = colours.uri(place, sample.width, sample.height)
    if uri is None:
        return f'<div class="picture none" style="{ratio}"><span>no features</span></div>'
    return (
        f'<div class="picture" style="{ratio}">'
        f'<img class="tokens" alt="trunk features as colours" src="{uri}"></div>'
    )
