"""Columns of the parquet tables. The row number in a shard is the join; the key is the check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from schemas.features import RowKind
from schemas.masks import MaskRLE

_string_list = pa.list_(pa.string())
_box = pa.list_(pa.float64(), 4)
_point = pa.list_(pa.float64(), 2)
_counts = pa.list_(pa.struct([("source", pa.string()), ("count", pa.int64())]))
_rle = pa.struct([("height", pa.int32()), ("width", pa.int32()), ("counts", pa.binary())])

SAMPLES = pa.schema(
    [
        pa.field("row", pa.int32(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("clip", pa.string()),
        pa.field("frame", pa.int32()),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        # Byte range of the encoded image in the shard's tar; size 0 when quarantined.
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("extension", pa.string(), nullable=False),
        pa.field("blake3", pa.string(), nullable=False),
        pa.field("captions", _string_list),
        # Phrases that nothing on the image fits; phrases not annotated to the last object.
        pa.field("negatives", _string_list),
        pa.field("not_exhaustive", _string_list),
        pa.field("void", _rle),
        pa.field("archive", pa.string(), nullable=False),
        pa.field("member", pa.string(), nullable=False),
        # null: sound; otherwise "reason: detail".
        pa.field("quarantine", pa.string()),
    ]
)

ANNOTATIONS = pa.schema(
    [
        pa.field("row", pa.int32(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("clip", pa.string()),
        pa.field("frame", pa.int32()),
        pa.field("object_id", pa.int64(), nullable=False),
        pa.field("category", pa.string()),
        pa.field("phrases", _string_list),
        pa.field("box_xyxy", _box),
        pa.field("mask", _rle),
        pa.field("area", pa.int64()),
        pa.field("is_crowd", pa.bool_(), nullable=False),
        pa.field("exhaustive", pa.bool_()),
        pa.field("predicted_iou", pa.float64()),
        pa.field("stability", pa.float64()),
        pa.field("points_xy", pa.list_(_point)),
        pa.field("crop_box_xyxy", _box),
    ]
)

PHRASES = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("phrase", pa.string(), nullable=False),
        # How often it names an object, is a caption, and is said to fit nothing on an image.
        pa.field("objects", pa.int64(), nullable=False),
        pa.field("captions", pa.int64(), nullable=False),
        pa.field("negatives", pa.int64(), nullable=False),
        # Of a text corpus: how often each part of it uses the phrase, by name; else null.
        pa.field("sources", _counts),
    ]
)

CATEGORIES = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        # null, or empty: the data set does not state it.
        pa.field("id", pa.int64()),
        pa.field("supercategory", pa.string()),
        pa.field("synset", pa.string()),
        pa.field("frequency", pa.string()),
        pa.field("synonyms", _string_list),
        pa.field("definition", pa.string()),
    ]
)

FEATURE_ROWS = pa.schema(
    [
        # Of the array: shard * rows_per_shard + row in the shard.
        pa.field("row", pa.int64(), nullable=False),
        pa.field("key", pa.string()),
        pa.field("clip", pa.string()),
        pa.field("frame", pa.int32()),
        pa.field("object_id", pa.int64()),
        pa.field("phrase", pa.string()),
        # null: stored and finite; otherwise why the row's chunk is missing.
        pa.field("quarantine", pa.string()),
        pa.field("minimum", pa.float32()),
        pa.field("maximum", pa.float32()),
    ]
)

# The same, of an array of prompts: how the teacher was asked about the object, by point or box.
PROMPT_ROWS = FEATURE_ROWS.append(pa.field("prompt", pa.string()))

SHARD_FILES = pa.schema(
    [
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("rows", pa.int32(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("blake3", pa.string(), nullable=False),
    ]
)

# Item ``i`` of an index is row ``i`` of the split's arrays, ``shard * rows_per_shard + row``.
SAMPLE_INDEX = pa.schema(
    [
        # Byte range of the encoded image in the shard's tar; null when there is no sound sample.
        pa.field("offset", pa.int64()),
        pa.field("size", pa.uint32()),
        # First 8 bytes of the encoded image's blake3, big-endian.
        pa.field("digest", pa.uint64()),
        # null beyond the last row of a shard.
        pa.field("key", pa.large_string()),
    ]
)

# The same, of a split of clips.
FRAME_INDEX = SAMPLE_INDEX.append(pa.field("frame", pa.int32()))

FEATURE_INDEX = pa.schema(
    [
        # Of the row's chunk in its shard's file; null when there is none.
        pa.field("offset", pa.int64()),
    ]
)


def feature_rows(kind: RowKind) -> pa.Schema:
    """Return the columns of the row tables of arrays whose rows are of that kind."""
    return PROMPT_ROWS if kind == "prompt" else FEATURE_ROWS


def mask_cell(mask: MaskRLE | None) -> dict[str, Any] | None:
    """Return a mask as a cell of an ``_rle`` column."""
    if mask is None:
        return None
    return {"height": mask.height, "width": mask.width, "counts": mask.counts}


def mask_column(masks: Sequence[MaskRLE | None]) -> pa.Array:
    """Return masks as an ``_rle`` column; a cell each would be slower."""
    parts = [
        pa.array([None if mask is None else mask.height for mask in masks], pa.int32()),
        pa.array([None if mask is None else mask.width for mask in masks], pa.int32()),
        pa.array([None if mask is None else mask.counts for mask in masks], pa.binary()),
    ]
    missing = pa.array([mask is None for mask in masks], pa.bool_())
    return pa.StructArray.from_arrays(parts, fields=list(_rle), mask=missing)


def mask_from_cell(cell: dict[str, Any] | None) -> MaskRLE | None:
    """Return the mask of such a cell."""
    return None if cell is None else MaskRLE(**cell)
