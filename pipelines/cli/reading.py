"""A root that is read for long: through a cache folder, and within a budget of requests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pipelines.store.objects import ObjectStore
    from pipelines.store.request_budget import RequestLimits


def open_for_reading(
    root: str, limits: RequestLimits, folder: Path | None, cache_bytes: int
) -> ObjectStore:
    """Open ``root``; reads go through ``folder`` unless it is None.

    Raises
    ------
    UsageError
        Limits of requests to a root that takes none, or a folder that cannot be a cache.
    """
    from pipelines.store.cached import open_cached
    from pipelines.store.local import LocalObjectStore
    from pipelines.store.open import open_store
    from pipelines.store.request_budget import UNLIMITED
    from schemas.errors import UsageError

    store = open_store(root, limits)
    if isinstance(store, LocalObjectStore) and limits != UNLIMITED:
        raise UsageError(
            f"root {root} is a folder, to which no requests are sent",
            fix="Leave --requests and --requests-per-second out.",
        )
    return store if folder is None else open_cached(store, folder, cache_bytes)


def show_requests(store: ObjectStore) -> None:
    """Say how many requests a bucket was sent, if there was a limit to them."""
    from pipelines.store.cached import CachedStore
    from pipelines.store.request_budget import UNLIMITED
    from pipelines.store.s3 import S3ObjectStore

    if isinstance(store, CachedStore):
        store = store.remote
    if not isinstance(store, S3ObjectStore) or store.requests.budget.limits == UNLIMITED:
        return
    budget = store.requests.budget
    line = f"requests    {budget.sent} to s3://{store.bucket}"
    if budget.waited_seconds:
        line += f", which --requests-per-second held back for {budget.waited_seconds:.1f} s in all"
    typer.echo(line)
