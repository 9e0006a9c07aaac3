"""The objects of one image as the page shows them: coloured masks, boxes and phrases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.report.markup import text
from pipelines.report.pictures import Region, colour_of, overlay, png_uri, shrink_mask
from schemas.geometry import Box
from schemas.masks import MaskRLE
from schemas.tables import mask_from_cell


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownObject:
    """One annotated object."""

    object_id: int
    colour: int
    phrases: tuple[str, ...]
    mask: MaskRLE | None
    box: Box | None
    is_crowd: bool


def shown_objects(
    rows: Sequence[Mapping[str, Any]], colours: Mapping[int, int] | None = None
) -> list[ShownObject]:
    """Return the objects of the rows of an annotations table.

    Parameters
    ----------
    colours
        Colour by object id; by default objects take colours in the order of their ids.
    """
    chosen = colours or object_colours(row["object_id"] for row in rows)
    return [
        ShownObject(
            object_id=row["object_id"],
            colour=chosen[row["object_id"]],
            phrases=tuple(row["phrases"] or ()) or ((row["category"],) if row["category"] else ()),
            mask=mask_from_cell(row["mask"]),
            box=tuple(row["box_xyxy"]) if row["box_xyxy"] else None,
            is_crowd=row["is_crowd"],
        )
        for row in rows
    ]


def object_colours(ids: Any) -> dict[int, int]:  # noqa: ANN401
    """Return a colour index by object id, in the order of the ids."""
    return {object_id: place for place, object_id in enumerate(sorted(set(ids)))}


def mask_layer(objects: Sequence[ShownObject], size: tuple[int, int]) -> str:
    """Return the masks as one transparent picture."""
    regions = [
        Region(
            colour=item.colour,
            mask_HW=shrink_mask(item.mask.decode(), size),
            is_crowd=item.is_crowd,
        )
        for item in objects
        if item.mask is not None
    ]
    return mask_image(regions, size)


def mask_image(regions: Sequence[Region], size: tuple[int, int]) -> str:
    """Return regions as an image element that lies over a picture."""
    if not regions:
        return ""
    return f'<img class="masks" alt="" src="{png_uri(overlay(regions, size))}">'


def box_layer(objects: Sequence[ShownObject], width: int, height: int) -> str:
    """Return the boxes as thin frames, sharp at any size."""
    frames = []
    for item in objects:
        box = item.box or (item.mask.box if item.mask is not None else None)
        if box is None:
            continue
        left, top, right, bottom = box
        frames.append(
            f'<rect x="{left:g}" y="{top:g}" width="{right - left:g}" height="{bottom - top:g}" '
            f'stroke="{colour_of(item.colour)}"/>'
        )
    return (
        f'<svg class="boxes" viewBox="0 0 {width} {height}" preserveAspectRatio="none" '
        f'aria-hidden="true">{"".join(frames)}</svg>'
    )


def chips(objects: Sequence[ShownObject]) -> str:
    """Return each phrase once, with a dot of the colour of each object that it names."""
    named: dict[str, list[ShownObject]] = {}
    for item in objects:
        for phrase in item.phrases:
            named.setdefault(phrase, []).append(item)
    return "".join(
        f"<li>{''.join(_dot(item) for item in items)}{text(phrase)}</li>"
        for phrase, items in named.items()
    )


def _dot(item: ShownObject) -> str:
    kind = "dot crowd" if item.is_crowd else "dot"
    return f'<i class="{kind}" style="--c:{colour_of(item.colour)}"></i>'
