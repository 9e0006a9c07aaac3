"""Which order a stream has: over all samples, shard by shard, or mixed from several splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipelines.stream.mixture import Mixture, Source
from pipelines.stream.options import StreamOptions
from pipelines.stream.order import Order, SampleOrder
from pipelines.stream.samples import SampleIndex, SplitIndex
from pipelines.stream.selection import SelectedSplit
from pipelines.stream.shard_order import ShardOrder
from schemas.errors import UsageError
from schemas.ids import digest_bytes, nearest_name


def mixture_weights(
    wanted: Mapping[str, int] | None,
    published: Mapping[str, int],
    splits: Sequence[SelectedSplit],
) -> dict[str, int]:
    """Return the weight of each split that is streamed; nothing for no mixture."""
    names = [split.place for split in splits]
    weights = published if wanted is None else wanted
    if not weights:
        return {}
    for name in weights if wanted is not None else ():
        if name not in names:
            raise nearest_name("split of the mixture", name, names)
    missing = [name for name in names if name not in weights]
    if missing:
        raise UsageError(
            "weights of a mixture",
            expected=f"one for each of {', '.join(names)}",
            got=f"none for {', '.join(missing)}",
        )
    return {name: weights[name] for name in names}


def make_order(
    index: SampleIndex,
    splits: Sequence[SelectedSplit],
    weights: Mapping[str, int],
    options: StreamOptions,
) -> SampleOrder:
    """Return the order that the options ask for, over all items of an index."""
    if not weights:
        return _order_of(index.splits, options, options.seed)
    sources = []
    for split, indexed, first in zip(splits, index.splits, index.firsts, strict=True):
        seed = int(digest_bytes(f"{options.seed}/{split.place}".encode())[:15], 16)
        if not len(indexed.starts):
            raise UsageError(f"split {split.place} of the mixture has nothing to train on")
        order = _order_of([indexed], options, seed)
        sources.append(Source(order=order, first=first, weight=weights[split.place]))
    return Mixture(sources, options.seed)


def _order_of(splits: Sequence[SplitIndex], options: StreamOptions, seed: int) -> SampleOrder:
    if options.locality == "shard":
        counts = np.concatenate([split.items_by_shard() for split in splits])
        return ShardOrder(counts=counts, seed=seed, window=options.window)
    return Order(samples=sum(len(split.starts) for split in splits), seed=seed)
