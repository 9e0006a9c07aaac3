"""Identities: digests of content, keys of samples, canonical JSON.

Everything is a function of content, never of listing order, wall time or machine.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import TypeVar

import blake3
import msgspec

from schemas.errors import DataError, UnknownNameError

T = TypeVar("T")

_KEY = re.compile(r"[A-Za-z0-9_-]+")


def digest_bytes(body: bytes | memoryview) -> str:
    """Return the blake3 digest of ``body`` as 64 hex characters."""
    return blake3.blake3(body).hexdigest()


def canonical_json(record: object) -> bytes:
    """Encode ``record`` so that equal records are equal bytes: sorted keys, two spaces, newline."""
    return msgspec.json.format(msgspec.json.encode(record, order="deterministic"), indent=2) + b"\n"


def parse_json(body: bytes, kind: type[T], where: str) -> T:
    """Decode ``body`` as a record of type ``kind``.

    Raises
    ------
    DataError
        The body is no such record; the message names ``where`` and the offending field.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as cause:
        raise DataError(
            f"{where} is not a valid {kind.__name__}: {cause}",
            fix="If another version of samdistill wrote it, read it with that version.",
        ) from cause


def sample_key(name: str) -> str:
    """Return ``name`` as a key of a sample or clip.

    Keys become WebDataset member names, which split at the first dot; so neither dots nor slashes.

    Raises
    ------
    DataError
        The name has a character that a key cannot have.
    """
    if not _KEY.fullmatch(name):
        raise DataError(
            f"{name!r} cannot be the key of a sample",
            expected="letters, digits, '_' and '-' only",
        )
    return name


def frame_key(clip: str, frame: str) -> str:
    """Return the key of one frame: ``clip.frame``, so that WebDataset groups a clip's frames."""
    return f"{sample_key(clip)}.{sample_key(frame)}"


def shard_name(shard: int) -> str:
    """Return the five-digit name of a shard number; longer when the number needs it."""
    return f"{shard:05d}"


def nearest_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for an unknown ``name``, with the nearest known ones."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names)}."
    return UnknownNameError(f"unknown {kind} {name!r}", fix=hint)
