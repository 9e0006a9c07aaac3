"""Normalizes a split of phrases only: no shards, the table of phrases, then split.json."""

from __future__ import annotations

from collections import Counter

from pipelines.jobs.check_counts import require_published
from pipelines.jobs.phrase_table import PhraseTable
from pipelines.normalize.phrases_of import PhraseCorpus
from pipelines.store import layout
from pipelines.store.commits import put_identical
from pipelines.store.objects import ObjectStore
from schemas.errors import ConflictError, DataError
from schemas.ids import canonical_json, digest_bytes, parse_json
from schemas.manifests import FileRecord, SplitRecord


def normalize_text(
    store: ObjectStore, corpus: PhraseCorpus, *, any_count: bool = False
) -> SplitRecord:
    """Return the record of the complete split; a second run finds it and writes nothing.

    Raises
    ------
    ConflictError
        The split was made from another source, or with other options.
    DataError
        The source has no phrases, or not as many as the published one.
    """
    key = layout.split_key(corpus.dataset, corpus.split)
    if store.size(key) is not None:
        return _same_split(parse_json(store.get(key), SplitRecord, key), corpus, store)
    record = _record(store, corpus)
    require_published(corpus, record, any_count=any_count)
    body = canonical_json(record)
    put_identical(store, FileRecord(key=key, bytes=len(body), blake3=digest_bytes(body)), body)
    return record


def _record(store: ObjectStore, corpus: PhraseCorpus) -> SplitRecord:
    dropped: Counter[str] = Counter()
    with PhraseTable() as table:
        for use in corpus.uses(dropped):
            table.add(use)
        if not table.totals:
            raise DataError(
                f"the source of {corpus.dataset}/{corpus.split} has no phrases",
                fix="Check --split and --from.",
            )
        file, phrases = table.put(store, layout.phrases_key(corpus.dataset, corpus.split))
    return SplitRecord(
        dataset=corpus.dataset,
        split=corpus.split,
        media="text",
        shards=0,
        rows=0,
        rows_per_shard=0,
        object_frames_per_shard=0,
        phrases=phrases,
        counts={**table.totals, **{name: count for name, count in dropped.items() if count}},
        quarantined={},
        licence=corpus.licence,
        normalizer=corpus.version,
        sources=dict(corpus.sources()),
        commits=digest_bytes(b""),
        files=(file,),
    )


def _same_split(record: SplitRecord, corpus: PhraseCorpus, store: ObjectStore) -> SplitRecord:
    made_from = (record.normalizer, record.sources)
    wanted = (corpus.version, dict(corpus.sources()))
    if made_from != wanted:
        folder = layout.split_folder(corpus.dataset, corpus.split)
        raise ConflictError(
            f"{folder} in {store.url} was normalized from another source or with other options",
            expected=_origin(*wanted),
            got=_origin(*made_from),
            fix=f"Remove {folder} and what was cached from it, or use another --root.",
        )
    return record


def _origin(version: str, sources: dict[str, str]) -> str:
    return f"{version} of {', '.join(f'{name} {sources[name][:23]}' for name in sorted(sources))}"
