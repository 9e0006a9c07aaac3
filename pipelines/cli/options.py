"""Options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from typing import Annotated

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
