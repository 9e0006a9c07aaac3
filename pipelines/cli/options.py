"""Options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Root = Annotated[
    str,
    typer.Option(
        "--root", envvar="SAMDISTILL_ROOT", help="Folder or s3://bucket/prefix of all products."
    ),
]
DEFAULT_ROOT = "samdistill-root"

DatasetName = Annotated[
    str, typer.Argument(metavar="DATASET", help="See `samdistill datasets` for the names.")
]
Splits = Annotated[
    list[str] | None, typer.Option("--split", help="Only this split; may be given more than once.")
]
Teacher = Annotated[
    str,
    typer.Option(
        "--teacher", help="facebook/sam3, a local folder, or tiny (random weights, for trying out)."
    ),
]
DEFAULT_TEACHER = "facebook/sam3"
Views = Annotated[
    str,
    typer.Option(
        "--views",
        metavar="LIST",
        help="Of each image: identity, hflip (mirrored), or both, comma-separated.",
    ),
]
Precision = Annotated[
    Literal["float32", "bfloat16-autocast"],
    typer.Option("--precision", help="Arithmetic of the teacher; part of its digest."),
]

Part = Annotated[
    str,
    typer.Option("--slice", metavar="i/n", help="Only part i of n (from 0), for job arrays."),
]
Force = Annotated[bool, typer.Option("--force", help="Also when the disk looks too full.")]

CacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--cache-folder",
        metavar="DIR",
        help="Folder of this machine that keeps what was read from the root; any number of "
        "processes share it.",
    ),
]
CacheBytes = Annotated[
    int, typer.Option("--cache-bytes", min=1, help="The most that the cache folder holds.")
]
DEFAULT_CACHE_BYTES = 100 * 10**9
Requests = Annotated[
    int | None,
    typer.Option("--requests", min=1, help="The most that are sent to a bucket; then it is over."),
]
RequestsPerSecond = Annotated[
    float | None,
    typer.Option(
        "--requests-per-second", min=0.001, help="The most that are sent to a bucket; others wait."
    ),
]


def words(listed: str) -> list[str]:
    """Return the words of a comma-separated list."""
    return [word.strip() for word in listed.split(",") if word.strip()]
