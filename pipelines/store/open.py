"""Opening a root by its name: what ``--root`` means."""

from __future__ import annotations

from pipelines.store.local import LocalObjectStore
from pipelines.store.objects import ObjectStore
from pipelines.store.request_budget import UNLIMITED, RequestLimits


def open_store(url: str, limits: RequestLimits = UNLIMITED) -> ObjectStore:
    """Open a local folder, or an S3 bucket as ``s3://bucket/prefix``.

    Parameters
    ----------
    limits
        Of the requests to a bucket; a folder takes none.
    """
    if url.startswith("s3://"):
        # boto3 takes half a second to import; a local root goes without.
        from pipelines.store.s3 import S3ObjectStore

        return S3ObjectStore(url, limits)
    return LocalObjectStore(url)
