"""A run's only state: one file, replaced at once, that any later process goes on from."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch

from pipelines.student.config import TrainConfig
from pipelines.student.models import ImageStudent
from pipelines.student.run_folder import writing
from schemas.errors import DataError, IdentityError
from schemas.features import FeatureSpec, TeacherSpec, differing_fields

FILE_NAME = "checkpoint.pt"
_FORMAT = 1


class RunIdentity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a checkpoint belongs to."""

    manifest: str
    """Digest of the manifest."""
    manifest_reference: str
    """``name@version``."""
    config: TrainConfig
    feature: FeatureSpec
    teacher: TeacherSpec

    def require_same(self, other: RunIdentity, where: Path) -> None:
        """Refuse to go on with a checkpoint of another run; the message names what differs.

        Raises
        ------
        IdentityError
            A setting, the manifest, the feature or the teacher is another one.
        """
        changed = differing_fields(self, other)
        if changed:
            raise IdentityError(
                f"{where} is of another run, asked for != found: {'; '.join(changed)}",
                fix="Give the same options, or train into another folder (--out).",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything that the next step depends on."""

    identity: RunIdentity
    step: int
    """Steps done."""
    model: dict[str, Any]
    optimizer: dict[str, Any]
    stream: dict[str, int | str]
    random_states: dict[str, Any]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file; after a crash at any moment there is the old one or the new one.

    Raises
    ------
    StorageError
        The file cannot be written: a full disk, no permission.
    """
    body = {
        "format": _FORMAT,
        "identity": msgspec.to_builtins(checkpoint.identity),
        "step": checkpoint.step,
        "model": checkpoint.model,
        "optimizer": checkpoint.optimizer,
        "stream": checkpoint.stream,
        "random_states": checkpoint.random_states,
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            with temporary.open("wb") as file:
                torch.save(body, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, without running any code that it may hold.

    Raises
    ------
    DataError
        The file is no checkpoint of this project, or is damaged.
    """
    try:
        body = torch.load(path, map_location="cpu", weights_only=True)
        if body.pop("format") != _FORMAT:
            raise DataError(f"{path} has another format than {_FORMAT}")
        identity = msgspec.convert(body.pop("identity"), RunIdentity)
        return Checkpoint(identity=identity, **body)
    except (
        AttributeError,
        EOFError,
        KeyError,
        OSError,
        RuntimeError,
        TypeError,
        msgspec.ValidationError,
        pickle.UnpicklingError,
    ) as cause:
        reason = str(cause).partition("\n")[0]
        raise DataError(
            f"{path} is not a readable checkpoint: {reason}",
            fix="Remove it to train anew, or name another folder.",
        ) from cause


def load_student(path: Path) -> ImageStudent:
    """Return the student of a checkpoint, with its weights, ready for use."""
    checkpoint = load_checkpoint(path)
    identity = checkpoint.identity
    student = ImageStudent(identity.config.student, identity.feature, identity.teacher.preprocess)
    student.load_state_dict(checkpoint.model)
    return student.eval()


def capture_random_states() -> dict[str, Any]:
    """Return the state of every generator that a model may draw from."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Put the generators back; another number of CUDA devices leaves theirs alone."""
    torch.set_rng_state(states["torch"])
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
