"""Deep check of a normalized shard: its tables describe the images in its tar."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.store import layout
from pipelines.store.findings import Finding
from pipelines.store.splits import Split
from schemas.errors import IntegrityError


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitShardCheck:
    """Rows, keys and image bytes of one normalized shard."""

    split: Split
    shard: int
    rows: int
    """As published."""

    @property
    def key(self) -> str:
        """The table of samples."""
        return layout.samples_key(self.split.record.dataset, self.split.record.split, self.shard)

    def run(self) -> Iterator[Finding]:
        """Yield all differences between the samples, the annotations and the tar."""
        table = self.split.samples_table(self.shard)
        keys = table.column("key").to_pylist()
        if table.num_rows != self.rows:
            yield Finding(
                key=self.key, problem="rows", expected=str(self.rows), got=str(table.num_rows)
            )
        if table.column("row").to_pylist() != list(range(table.num_rows)):
            yield Finding(key=self.key, problem="column row", expected="0, 1, 2, ...")
        if len(set(keys)) < len(keys):
            yield Finding(key=self.key, problem="a key appears twice")
        yield from self._annotations(keys)
        yield from self._images()

    def _annotations(self, keys: list[str]) -> Iterator[Finding]:
        table = self.split.annotations_table(self.shard).select(["row", "key"])
        key = layout.annotations_key(self.split.record.dataset, self.split.record.split, self.shard)
        for place, annotation in enumerate(table.to_pylist()):
            row = annotation["row"]
            named = keys[row] if row < len(keys) else "no such row"
            if named != annotation["key"]:
                yield Finding(
                    key=key,
                    problem=f"annotation {place} of row {row}",
                    expected=named,
                    got=annotation["key"],
                )

    def _images(self) -> Iterator[Finding]:
        media = layout.media_key(self.split.record.dataset, self.split.record.split, self.shard)
        last = None
        for sample in self.split.samples(self.shard):
            place = (sample.offset, sample.size, sample.blake3)
            # The frames of a kept video have one place.
            if sample.quarantine is not None or place == last:
                continue
            last = place
            try:
                self.split.read_image(self.shard, sample)
            except IntegrityError as error:
                yield Finding(key=media, problem=str(error))
