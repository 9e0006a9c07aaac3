"""Every normalizer by the name of its data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from downloaders.registry import find_dataset
from pipelines.normalize.base import LayoutOptions, Normalizer
from pipelines.normalize.coco import coco
from pipelines.normalize.davis import davis, davis_2016, davis_unsupervised
from pipelines.normalize.lvis import lvis
from pipelines.normalize.lvos import lvos_v1, lvos_v2
from pipelines.normalize.mose import mose_v1, mose_v2
from pipelines.normalize.sa1b import Sa1b
from pipelines.normalize.sav import sa_v
from pipelines.normalize.sources import SourceFiles, downloaded_files, local_files
from pipelines.normalize.text_corpora import (
    recap_coco,
    recap_datacomp,
    sacap,
    saco_gold,
    saco_silver,
    saco_veval,
)
from pipelines.normalize.youtube_vos import youtube_vos_2018, youtube_vos_2019
from schemas.errors import IncompleteError, UsageError
from schemas.ids import nearest_name

Factory = Callable[[SourceFiles, str, LayoutOptions], Normalizer]

NORMALIZERS: dict[str, Factory] = {
    "coco": coco,
    "davis": davis,
    "davis-2016": davis_2016,
    "davis-unsupervised": davis_unsupervised,
    "lvis": lvis,
    "lvos-v1": lvos_v1,
    "lvos-v2": lvos_v2,
    "mose-v1": mose_v1,
    "mose-v2": mose_v2,
    "sa-1b": Sa1b,
    "youtube-vos-2018": youtube_vos_2018,
    "youtube-vos-2019": youtube_vos_2019,
    "recap-coco-30k": recap_coco,
    "recap-datacomp-1b": recap_datacomp,
    "sa-co-gold": saco_gold,
    "sa-co-silver": saco_silver,
    "sa-co-veval": saco_veval,
    "sacap": sacap,
    "sa-v": sa_v,
}


def find_normalizer(dataset: str) -> Factory:
    """Return the factory of a data set's normalizers, or raise ``UnknownNameError``."""
    if dataset not in NORMALIZERS:
        raise nearest_name("data set", dataset, NORMALIZERS)
    return NORMALIZERS[dataset]


def open_splits(
    dataset: str, splits: Sequence[str], source: Path, options: LayoutOptions, *, downloaded: bool
) -> list[Normalizer]:
    """Return a normalizer for each of ``splits``, or for every split that the source holds.

    Parameters
    ----------
    source
        ``ROOT/raw`` when ``downloaded``; otherwise one archive, or a folder of any of them.

    Raises
    ------
    IncompleteError
        The source lacks a split that was asked for, or holds none at all.
    UnknownNameError
        The data set has no such split.
    """
    factory = find_normalizer(dataset)
    locate = downloaded_files if downloaded else local_files
    known = [split.name for split in find_dataset(dataset).entry.splits]
    for split in splits:
        # With options for the layout it may be the user's own data, under a name of their own.
        if split not in known and not options.given():
            raise nearest_name(f"split of {dataset}", split, known)
    found: list[Normalizer] = []
    lacking = []
    for split in dict.fromkeys(splits or known):
        try:
            normalizer = factory(locate(source, dataset, split), split, options)
            _require_other(found, normalizer)
            found.append(normalizer)
        except IncompleteError as error:
            if splits:
                raise
            lacking.append(f"{split}: {error.what}")
    if not found:
        raise IncompleteError(
            f"{source} holds no split of {dataset}: {'; '.join(lacking)}",
            fix=f"Run `samdistill download {dataset}`, or say by --from and the options of "
            "`samdistill normalize --help` what lies where.",
        )
    return found


def _require_other(found: Sequence[Normalizer], new: Normalizer) -> None:
    """Refuse to take one set of groups for two splits: training and testing on the same data."""
    groups = new.groups()
    for other in found:
        if groups and groups == other.groups():
            raise UsageError(
                f"{new.dataset} {new.split} and {other.split} would hold the same "
                f"{len(groups)} images or clips: the source has no lists of splits",
                fix="Name the one split that the source is, by --split.",
            )
