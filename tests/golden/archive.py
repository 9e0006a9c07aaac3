"""The golden roots as they are kept: one archive for each version of the format."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from schemas.ids import canonical_json
from schemas.manifests import ArrayRecord, CommitRecord, Manifest, SplitRecord
from schemas.reports import SplitReport
from tests.golden.content import Content

FOLDER = Path(__file__).parent
_RECORDS: tuple[type[msgspec.Struct], ...] = (
    Manifest, SplitRecord, CommitRecord, ArrayRecord, SplitReport,
)  # fmt: skip


def format_versions() -> dict[str, int]:
    """Return the ``schema_version`` that today's code writes into each kind of record."""
    return {
        kind.__name__: field.default
        for kind in _RECORDS
        for field in msgspec.structs.fields(kind)
        if field.name == "schema_version"
    }


class Made(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a golden root comes from."""

    versions: dict[str, int]
    pyarrow: str
    commit: str = ""
    """The code that wrote it, when it is older than these tests."""


@dataclass(frozen=True)
class Golden:
    """An archive: ``made.json``, ``content.json``, and the root below ``root/``."""

    path: Path

    def __str__(self) -> str:
        return self.path.name

    @property
    def made(self) -> Made:
        """Where it comes from."""
        return msgspec.json.decode(self._read("made.json"), type=Made)

    @property
    def content(self) -> Content:
        """What it said when it was made."""
        found: Content = msgspec.json.decode(self._read("content.json"))
        return found

    def extract(self, folder: Path) -> Path:
        """Unpack the root, and return where it is."""
        with tarfile.open(self.path) as tar:
            tar.extractall(folder, filter="data")
        return folder / "root"

    def _read(self, name: str) -> bytes:
        with tarfile.open(self.path) as tar:
            member = tar.extractfile(name)
            assert member is not None
            return member.read()


def goldens() -> list[Golden]:
    """Return all golden roots, the oldest first."""
    return [Golden(path) for path in sorted(FOLDER.glob("root-*.tar.xz"))]


def write_golden(path: Path, made: Made, content: Any, files: Mapping[str, bytes]) -> None:
    """Write an archive; equal input gives equal bytes."""
    members = {"made.json": canonical_json(made), "content.json": canonical_json(content)}
    members |= {f"root/{key}": body for key, body in files.items()}
    with tarfile.open(path, "x:xz", format=tarfile.USTAR_FORMAT) as tar:
        for name, body in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
