"""From the name of a teacher to a local folder with its files."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from pipelines.teachers.digests import CONFIG_FILE, WEIGHTS_INDEX_FILE
from schemas.errors import DownloadError, UsageError

_FIX = (
    "Accept the licence on the model's page of the Hugging Face hub and set HF_TOKEN to a token of "
    "that account; or pass --teacher PATH with a folder that holds the model; "
    "or try everything without the weights by --teacher tiny."
)


def local_folder(name_or_path: str, revision: str | None = None) -> Path:
    """Return the folder of a model: the given one, or the hub's copy in the local cache.

    Raises
    ------
    DownloadError
        The hub does not hand the model out; the message says what to do.
    UsageError
        The name is neither a folder nor a possible name on the hub.
    """
    folder = Path(name_or_path)
    if folder.is_dir():
        if revision is not None:
            raise UsageError(f"teacher {folder} is a folder: it has no revision {revision!r}")
        return folder
    try:
        # Config and safetensors only: the official repository also holds a second copy as .pt.
        snapshot = snapshot_download(
            name_or_path,
            revision=revision,
            allow_patterns=[CONFIG_FILE, "model*.safetensors", WEIGHTS_INDEX_FILE],
        )
    except HFValidationError as cause:
        raise UsageError(
            f"teacher {name_or_path!r}", expected="a folder, or OWNER/NAME on the hub"
        ) from cause
    except OSError as cause:
        raise DownloadError(
            f"teacher {name_or_path!r} could not be fetched: {_reason(cause)}", fix=_FIX
        ) from cause
    return Path(snapshot)


def _reason(cause: OSError) -> str:
    match cause:
        case GatedRepoError():
            return "its weights are gated and this account has no access"
        case RepositoryNotFoundError():
            return "the hub has no such model, or hides it from this account"
        case RevisionNotFoundError():
            return "the model has no such revision"
        case LocalEntryNotFoundError():
            return "it is not in the local cache and the hub cannot be reached"
        case _:
            return str(cause).partition("\n")[0]
