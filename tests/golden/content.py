"""What a published root says, by today's readers: what must not change while a format lives."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.store import layout
from pipelines.store.arrays import FeatureArray
from pipelines.store.objects import ObjectStore
from pipelines.store.published import array_record, find_manifest
from pipelines.store.splits import Split
from pipelines.store.tables import read_table
from pipelines.stream.feature_stream import FeatureStream
from schemas.ids import digest_bytes
from schemas.manifests import Manifest, ManifestFeature, ManifestSplit
from schemas.tables import CATEGORIES, PHRASES, feature_rows

Content = dict[str, Any]
_VALUES = 3
"""Of each row that are written out; a digest stands for all."""


def describe(store: ObjectStore, name: str) -> Content:
    """Return samples, objects, phrases and features of a root's latest manifest, as JSON has it."""
    manifest = find_manifest(store, name).manifest
    described = {f"{item.split.dataset}/{item.split.split}": item for item in manifest.splits}
    return {
        "weights": manifest.weights,
        "splits": {
            place: _split(store, manifest, published) for place, published in described.items()
        },
        "stream": _stream(store, name),
    }


def _split(store: ObjectStore, manifest: Manifest, published: ManifestSplit) -> Content:
    record = published.split
    split = Split(store, record, published.split_file.blake3)
    place = (record.dataset, record.split)
    shards = range(record.shards)
    return {
        "counts": record.counts,
        "quarantined": record.quarantined,
        "samples": [row for shard in shards for row in split.samples_table(shard).to_pylist()],
        "objects": [row for shard in shards for row in split.annotations_table(shard).to_pylist()],
        "images": {
            sample.key: digest_bytes(split.read_image(shard, sample))
            for shard in shards
            for sample in split.samples(shard)
            if sample.quarantine is None
        },
        "phrases": read_table(store, layout.phrases_key(*place), PHRASES).to_pylist(),
        "categories": read_table(store, layout.categories_key(*place), CATEGORIES).to_pylist(),
        "features": {
            f"{feature.feature.array_name}/{feature.teacher}": _feature(
                store, manifest, published, feature
            )
            for feature in published.features
        },
    }


def _feature(
    store: ObjectStore, manifest: Manifest, published: ManifestSplit, feature: ManifestFeature
) -> Content:
    array = FeatureArray(store, array_record(manifest, published, feature))
    rows = []
    for shard in range(feature.part.shards):
        columns = feature_rows(feature.feature.rows)
        for row in read_table(store, layout.rows_key(array.folder, shard), columns).to_pylist():
            if row["quarantine"] is None:
                values = array.read([row["row"]])[0]
                row["first"] = values.reshape(-1)[:_VALUES].tolist()
                row["values"] = digest_bytes(np.ascontiguousarray(values).astype("<f4").tobytes())
            rows.append(row)
    return {"shape": list(feature.feature.item_shape), "rows": rows}


def _stream(store: ObjectStore, name: str) -> Content:
    """Return what one epoch of a trainer's batches holds, by key."""
    stream = FeatureStream(store, name, image_size=28, weights={}, batch_size=2, epochs=1)
    return {
        key: {
            "feature": digest_bytes(batch.features["image.trunk"][place].numpy().tobytes()),
            "size": batch.sizes[place].tolist(),
        }
        for batch in stream
        if batch.sizes is not None
        for place, key in enumerate(batch.keys)
    }
