"""`samdistill normalize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.cli.options import DEFAULT_ROOT, DatasetName, Root, Splits

if TYPE_CHECKING:
    from pipelines.engine.work import Executor

ExecutorName = Literal["local", "ray"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(normalize)


def normalize(
    dataset: DatasetName,
    split: Splits = None,
    root: Root = DEFAULT_ROOT,
    raw: Annotated[
        Path | None,
        typer.Option("--raw", help="Local folder of archives, when --root is a bucket."),
    ] = None,
    origin: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="Read this archive or folder (of archives, or unpacked) instead of ROOT/raw.",
        ),
    ] = None,
    rows_per_shard: Annotated[
        int,
        typer.Option(
            min=1,
            help="Images of a shard; 64 make about 0.7 GB of image.trunk in float16. "
            "A clip is never cut: a longer one is a shard of its own.",
        ),
    ] = 64,
    max_quarantined: Annotated[
        str, typer.Option(metavar="SHARE", help="Bad rows allowed in a split: 1%, or a count.")
    ] = "1%",
    annotations: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="coco: the instances file, a name or pattern."),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="coco: the folder of the images; else the split's name."),
    ] = None,
    frames: Annotated[
        str | None, typer.Option(metavar="DIR", help="Clips: the folder with a folder per clip.")
    ] = None,
    masks: Annotated[
        str | None, typer.Option(metavar="DIR", help="Clips: the same for their masks.")
    ] = None,
    clips: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN", help="Clips: take those of matching name, not the split's list."
        ),
    ] = None,
    resize_masks: Annotated[
        bool,
        typer.Option(
            "--resize-masks",
            help="Clips: resize masks of another size than their frame, by the nearest pixel, "
            "instead of quarantining the frame.",
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Text corpora: the first so many captions or pairs of a split."),
    ] = None,
    subset: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Only this share of each split, by the hash of the keys: 1% is the same "
            "everywhere and lies within 2%. Also as DATASET@1%.",
        ),
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Only the images or clips with these keys, one a line."),
    ] = None,
    any_count: Annotated[
        bool,
        typer.Option("--any-count", help="Accept counts that differ from the published ones."),
    ] = False,
    grow: Annotated[
        bool,
        typer.Option(
            "--grow",
            help="Add archives that came later to a complete split: whole ones, whose names come "
            "after those there (sa-1b, sa-v train). Its shards and their features stay. A split "
            "that is published is refused.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the reports as JSON.")] = False,
    every: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="sa-v: take one of so many frames of the 24 per second; else 4, those annotated.",
        ),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            min=1, max=100, help="sa-v train: quality of the JPEGs of decoded frames; else 95."
        ),
    ] = None,
    keep_video: Annotated[
        bool,
        typer.Option(
            "--keep-video",
            help="sa-v train: keep the videos instead of JPEGs of their frames, "
            "without loss. For caching: in training each frame takes a pass of its video up to it.",
        ),
    ] = False,
    executor: Annotated[ExecutorName, typer.Option(help="Where shards are written.")] = "local",
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="local: threads that decode; ray: processes.")
    ] = 2,
) -> None:
    """Cut the archives of a data set into shards of samples. The same command resumes."""
    from pipelines.cli import normalize_view as view
    from pipelines.cli.download import raw_folder
    from pipelines.jobs.check_counts import check_counts
    from pipelines.jobs.finish_split import Budget
    from pipelines.jobs.normalize import NormalizeJob
    from pipelines.jobs.normalize_text import normalize_text
    from pipelines.jobs.shard_normalized import NormalizeStage
    from pipelines.jobs.split_report import describe_split
    from pipelines.normalize.base import LayoutOptions
    from pipelines.normalize.phrases_of import PhraseCorpus
    from pipelines.normalize.registry import open_splits
    from pipelines.normalize.subset import parse_name, subset_rule, take_subset
    from pipelines.store.open import open_store
    from schemas.ids import canonical_json

    budget = Budget.parse(max_quarantined)
    options = LayoutOptions(
        annotations=annotations,
        images=images,
        frames=frames,
        masks=masks,
        clips=clips,
        resize_masks=resize_masks,
        limit=limit,
        every=every,
        quality=quality,
        keep_video=keep_video,
    )
    source = raw_folder(root, raw) if origin is None else origin.expanduser()
    downloaded = origin is None
    dataset, share = parse_name(dataset, subset)
    rule = subset_rule(share, ids)
    splits = open_splits(dataset, split or [], source, options, downloaded=downloaded)
    splits = take_subset(splits, rule)
    store = open_store(root)
    reports = []
    for normalizer in splits:
        if isinstance(normalizer, PhraseCorpus):
            record = normalize_text(store, normalizer, any_count=any_count)
        else:
            stage = NormalizeStage(
                store,
                normalizer,
                rows_per_shard=rows_per_shard,
                threads=workers if executor == "local" else 1,
            )
            job = NormalizeJob(stage, budget, any_count=any_count, grow=grow)
            with view.open_progress(stage, quiet=json) as listener:
                record = job.run(_executor(executor, workers), listener)
        view.warn_counts(check_counts(normalizer, record))
        reports.append(describe_split(store, record))
        if not json:
            view.show_split(reports[-1])
    if json:
        typer.echo(canonical_json(reports), nl=False)


def _executor(name: ExecutorName, workers: int) -> Executor:
    if name == "local":
        from pipelines.engine.executor import LocalExecutor

        return LocalExecutor()
    from pipelines.engine.ray_executor import RayExecutor

    return RayExecutor(workers=workers)
