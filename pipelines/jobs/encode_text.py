"""Text features: the unique phrases of a split through the teacher's text encoder."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.jobs.forward import Forward
from pipelines.jobs.unit_writer import UnitWriter
from pipelines.store.splits import Split
from pipelines.teachers.base import Teacher

PHRASES_PER_SHARD = 1024
"""For new arrays; those that exist say how many they have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoder:
    """Fills the arrays whose rows are phrases."""

    batch: int = 64

    def encode(self, teacher: Teacher, split: Split, shard: int, writer: UnitWriter) -> None:
        """See ``Encoder.encode``."""
        forward = Forward(teacher.encode_text, "phrase", writer)
        begin = shard * writer.rows_per_shard("phrase")
        missing = writer.missing("phrase")
        for first in range(0, len(missing), self.batch):
            rows = missing[first : first + self.batch]
            forward.run(rows, [split.phrases[begin + row] for row in rows])
