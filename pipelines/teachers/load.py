"""From a teacher's name, as the command line gives it, to a teacher."""

from __future__ import annotations

from pathlib import Path

from pipelines.teachers.base import TeacherOptions
from pipelines.teachers.sam3 import Sam3Identity, Sam3Teacher
from pipelines.teachers.tiny import tiny_teacher_folder
from schemas.errors import UsageError
from schemas.ids import nearest_name

TINY = "tiny"
OFFICIAL = "facebook/sam3"


def load_teacher(
    name: str, options: TeacherOptions | None = None, *, cache: Path | None = None
) -> Sam3Teacher:
    """Load ``tiny``, a local folder, or ``OWNER/NAME`` from the Hugging Face hub.

    Parameters
    ----------
    cache
        Where the tiny teacher is kept; by default the user's cache folder.

    Raises
    ------
    UnknownNameError
        A short name that is none of these.
    """
    return Sam3Teacher.load(_resolve(name, cache), options)


def identify_teacher(
    name: str, options: TeacherOptions | None = None, *, cache: Path | None = None
) -> Sam3Identity:
    """Return the identity of what ``load_teacher`` loads, without loading it."""
    return Sam3Teacher.identify(_resolve(name, cache), options)


def _resolve(name: str, cache: Path | None) -> str:
    if name == TINY:
        return str(tiny_teacher_folder(cache))
    if Path(name).is_dir():
        return name
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise UsageError(f"teacher {name!r}", expected="a folder", got="no folder of that name")
    if "/" not in name:
        raise nearest_name("teacher", name, [TINY, OFFICIAL])
    return name
