"""The indexes of a manifest: made once, and found again when what they describe is unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from pipelines.store import layout
from pipelines.store.arrays import FeatureArray
from pipelines.store.commits import put_identical
from pipelines.store.listed import Listing
from pipelines.store.objects import ObjectStore
from pipelines.store.products import StoredCommit
from pipelines.store.published import find_manifest, manifest_versions
from pipelines.store.row_index import build_feature_index, build_sample_index, encode_index
from pipelines.store.tables import table_record
from schemas.ids import digest_bytes
from schemas.manifests import FileRecord, PartRecord, SplitRecord


class PublishedIndexes:
    """Stores the indexes of manifests of one name.

    An index is a function of the files that a part lists, so the latest version's index of an
    equal part is taken over: adding a feature does not read the samples again.
    """

    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store, self._name = store, name
        self._known: dict[str, FileRecord] = {}
        if manifest_versions(store, name):
            for product in find_manifest(store, name).manifest.products:
                if product.index is not None:
                    self._known[product.part.file.blake3] = product.index

    def of_split(
        self, split: SplitRecord, part: PartRecord, commits: Sequence[StoredCommit]
    ) -> FileRecord | None:
        """Return the record of a split's index; None when it has no samples."""
        if not split.shards:
            return None
        known = self._known.get(part.file.blake3)
        return known or self._put(build_sample_index(self._store, split, _listing(commits)))

    def of_array(
        self, array: FeatureArray, part: PartRecord, commits: Sequence[StoredCommit]
    ) -> FileRecord:
        """Return the record of an array's index."""
        known = self._known.get(part.file.blake3)
        return known or self._put(build_feature_index(array, _listing(commits)))

    def _put(self, index: pa.Table) -> FileRecord:
        body = encode_index(index)
        file = table_record(layout.index_key(self._name, digest_bytes(body)), body)
        put_identical(self._store, file, body)
        return file


def _listing(commits: Iterable[StoredCommit]) -> Listing:
    return {file.key: file for commit in commits for file in commit.files}
