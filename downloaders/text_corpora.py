"""Corpora of phrases and captions for text features; no images are brought."""

from __future__ import annotations

from downloaders.base import DatasetEntry, FileKind, RemoteFile, SplitFacts
from downloaders.file_list import FileListDownloader
from downloaders.hub_list import HubListDownloader

_GOLD = (
    "metaclip",
    "sa1b",
    "crowded",
    "fg_food",
    "fg_sports_equipment",
    "attributes",
    "wiki_common",
)
_SILVER = (
    "bdd100k",
    "droid",
    "ego4d",
    "food_rec",
    "geode",
    "inaturalist",
    "nga_art",
    "sav",
    "yt1b",
)
_VEVAL = ("sav", "yt1b", "smartglasses")

_ASK = (
    "Accept the terms of {place} while logged in to Hugging Face, and put a token of that account "
    "into HF_TOKEN. Files that you have: --from FOLDER."
)
_SAM_LICENCE = "SAM License of Meta (see the repository on Hugging Face, which is gated)"
_SAM3 = "Carion et al., SAM 3: Segment Anything with Concepts, arXiv:2511.16719"

RECAP_DATACOMP_FILES = (
    "hf://datasets/UCSC-VLAA/Recap-DataComp-1B@7c157881d01490e2aa688717ee29a1f5d6fd217e/"
    "data/train_data/train-*"
)
"""The revision is pinned, the names are not: their number changed between revisions."""


def _hub_file(
    repository: str, path: str, kind: FileKind, *splits: str, size: int | None = None
) -> RemoteFile:
    return RemoteFile(
        name=path.rpartition("/")[2],
        path=path,
        urls=(f"hf://datasets/{repository}@main/{path}",),
        kind=kind,
        splits=splits,
        bytes=size,
    )


SACO_GOLD = HubListDownloader(
    entry=DatasetEntry(
        name="sa-co-gold",
        title="SA-Co/Gold (noun phrases)",
        about="Pairs of an image and a noun phrase that three people masked; most fit nothing.",
        media="text",
        licence=_SAM_LICENCE,
        homepage="https://huggingface.co/datasets/facebook/SACo-Gold",
        cite=_SAM3,
        splits=(SplitFacts(name="test", records=168202, about="pairs of all seven subsets"),),
        to_do=_ASK.format(place="facebook/SACo-Gold"),
    ),
    files=tuple(
        _hub_file(
            "facebook/SACo-Gold", f"gold_{subset}_merged_{person}_release_test.json", "json", "test"
        )
        for subset in _GOLD
        for person in "abc"
    ),
)

SACO_SILVER = HubListDownloader(
    entry=DatasetEntry(
        name="sa-co-silver",
        title="SA-Co/Silver (noun phrases)",
        about="Pairs of an image and a noun phrase, masked by SAM 3 or people, from ten sources.",
        media="text",
        licence=_SAM_LICENCE,
        homepage="https://huggingface.co/datasets/facebook/SACo-Silver",
        cite=_SAM3,
        splits=(SplitFacts(name="test", records=1838125, about="pairs of all ten subsets"),),
        to_do=_ASK.format(place="facebook/SACo-Silver"),
    ),
    files=tuple(
        _hub_file("facebook/SACo-Silver", name, "json", "test")
        for name in (
            *(f"silver_{subset}_merged_test.json" for subset in _SILVER),
            "silver_fathomnet_test.json",
        )
    ),
)

SACO_VEVAL = HubListDownloader(
    entry=DatasetEntry(
        name="sa-co-veval",
        title="SA-Co/VEval (noun phrases)",
        about="Noun phrases of the SAM 3 video benchmark. For evaluation: training on them leaks.",
        media="text",
        licence="SA-V and YT-Temporal-1B parts CC BY-NC 4.0, SmartGlasses part CC BY 4.0",
        homepage="https://huggingface.co/datasets/facebook/SACo-VEval",
        cite=_SAM3,
        splits=(
            SplitFacts(name="val", records=5157, verified=True, about="evaluation only"),
            SplitFacts(name="test", records=5211, verified=True, about="evaluation only"),
        ),
        to_do=_ASK.format(place="facebook/SACo-VEval"),
    ),
    files=tuple(
        _hub_file(
            "facebook/SACo-VEval",
            f"annotation/saco_veval_{domain}_{split}.json",
            "json",
            split,
        )
        for split in ("val", "test")
        for domain in _VEVAL
    ),
)

RECAP_DATACOMP = FileListDownloader(
    entry=DatasetEntry(
        name="recap-datacomp-1b",
        title="Recap-DataComp-1B (captions)",
        about="Captions that LLaVA-1.5-LLaMA3-8B wrote for the images of DataComp-1B.",
        media="text",
        licence="CC BY 4.0",
        homepage="https://huggingface.co/datasets/UCSC-VLAA/Recap-DataComp-1B",
        cite="Li et al., What If We Recaption Billions of Web Images with LLaMA-3?, "
        "arXiv:2406.08478",
        splits=(SplitFacts(name="train", records=1237983779, about="streamed; give --limit"),),
        to_do="Nothing is downloaded beforehand (432.8 GB): `samdistill normalize "
        "recap-datacomp-1b --limit N` streams the first N captions from the hub. Parquet files "
        "that you have: --from FOLDER.",
    ),
    files=(),
)

RECAP_COCO = HubListDownloader(
    entry=DatasetEntry(
        name="recap-coco-30k",
        title="Recap-COCO-30K (captions)",
        about="New captions for 30,000 images of COCO val2014. Overlaps the val splits of COCO.",
        media="text",
        licence="CC BY 4.0",
        homepage="https://huggingface.co/datasets/UCSC-VLAA/Recap-COCO-30K",
        cite="Li et al., What If We Recaption Billions of Web Images with LLaMA-3?, "
        "arXiv:2406.08478",
        splits=(SplitFacts(name="train"),),
        to_do="",
    ),
    files=(_hub_file("UCSC-VLAA/Recap-COCO-30K", "new_data.parquet", "parquet", "train"),),
)

SACAP = HubListDownloader(
    entry=DatasetEntry(
        name="sacap",
        title="SACap (captions of SA-1B segments)",
        about="A caption for each segment and each image of a part of SA-1B.",
        media="text",
        licence="Not stated here; see the repositories 0xLDF/SACap-1M and 0xLDF/SACap-eval",
        homepage="https://huggingface.co/datasets/0xLDF/SACap-1M",
        cite="Li et al., Seg2Any: Open-set Segmentation-Mask-to-Image Generation with Precise "
        "Shape and Semantic Control, arXiv:2506.00596",
        splits=(SplitFacts(name="train"), SplitFacts(name="test", by_default=False)),
        to_do="",
    ),
    files=(
        _hub_file("0xLDF/SACap-1M", "annotations/anno_train.parquet", "parquet", "train"),
        _hub_file("0xLDF/SACap-eval", "annotations/anno_test.parquet", "parquet", "test"),
    ),
)
