"""All of the demo's data sets, each in a folder as its publisher offers it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipelines.demo.archives import write_file
from pipelines.demo.coco_archives import write_coco_archives
from pipelines.demo.davis_archives import (
    write_davis_2016_archives,
    write_davis_archives,
    write_davis_unsupervised_archives,
)
from pipelines.demo.lvis_archives import write_lvis_archives
from pipelines.demo.lvos_archives import write_lvos_v1_archives, write_lvos_v2_archives
from pipelines.demo.mose_archives import write_mose_v1_archives, write_mose_v2_archives
from pipelines.demo.sa1b_archives import write_sa1b_archives, write_sa1b_links
from pipelines.demo.sav_archives import write_sav_archives, write_sav_links
from pipelines.demo.youtube_vos_archives import (
    write_youtube_vos_2018_archives,
    write_youtube_vos_2019_archives,
)

SPLITS: dict[str, tuple[str, ...]] = {
    "coco": ("train2017", "val2017"),
    "davis": ("train", "val"),
    "davis-2016": ("train", "val"),
    "davis-unsupervised": ("train", "val"),
    "lvis": ("train", "val"),
    "lvos-v1": ("train", "val", "test"),
    "lvos-v2": ("train", "val", "test"),
    "mose-v1": ("train", "valid"),
    "mose-v2": ("train", "valid"),
    "sa-1b": ("train",),
    "sa-v": ("train", "val"),
    "youtube-vos-2018": ("train", "valid", "valid_all_frames"),
    "youtube-vos-2019": ("train", "valid", "valid_all_frames"),
}
"""The splits that the demo has, by data set."""

_WRITERS: dict[str, Callable[[Path], list[Path]]] = {
    "coco": write_coco_archives,
    "davis": write_davis_archives,
    "davis-2016": write_davis_2016_archives,
    "davis-unsupervised": write_davis_unsupervised_archives,
    "lvis": write_lvis_archives,
    "lvos-v1": write_lvos_v1_archives,
    "lvos-v2": write_lvos_v2_archives,
    "mose-v1": write_mose_v1_archives,
    "mose-v2": write_mose_v2_archives,
    "sa-1b": write_sa1b_archives,
    "sa-v": write_sav_archives,
    "youtube-vos-2018": write_youtube_vos_2018_archives,
    "youtube-vos-2019": write_youtube_vos_2019_archives,
}


def write_origin(folder: Path) -> None:
    """Write the archives of each data set to ``folder/<data set>``, at their published paths.

    Equal on every call; what is there already is checked and kept.
    """
    for name, write in _WRITERS.items():
        write(folder / name)
    # LVIS has no images of its own; a mirror of LVIS has those of COCO beside it.
    for archive in sorted((folder / "coco" / "zips").glob("*.zip")):
        write_file(folder / "lvis" / "zips" / archive.name, archive.read_bytes())


def write_link_lists(folder: Path, base_url: str) -> dict[str, Path]:
    """Write the lists of links to the archives in ``folder``; return them by data set.

    Parameters
    ----------
    base_url
        Where ``folder`` is served from.
    """
    base = base_url.rstrip("/")
    return {
        "sa-1b": write_sa1b_links(folder / "sa-1b", f"{base}/sa-1b"),
        "sa-v": write_sav_links(folder / "sa-v", f"{base}/sa-v"),
    }
