"""``--from FOLDER``: archives or unpacked folders that are already on this machine."""

from __future__ import annotations

from pathlib import Path

from downloaders.base import Fetched, FetchRequest, RemoteFile, Unpacked
from downloaders.content import wrong_content
from downloaders.digests import digest_file, read_blocks
from downloaders.disk import disk_errors
from downloaders.part_file import PartFile, link_new, sync_folder
from schemas.errors import ConflictError, DownloadError


def find_archive(file: RemoteFile, folder: Path) -> Path | None:
    """Return where ``folder`` has the archive itself: at its mirror path or directly."""
    candidates = (folder / file.path, folder / file.name)
    return next((path for path in candidates if path.is_file()), None)


def find_unpacked(file: RemoteFile, folder: Path) -> Path | None:
    """Return the folder below, or at, ``folder`` that stands in for the archive."""
    layout = file.unpacked
    if layout is None:
        return None
    candidates = (folder / layout.top, folder / "images" / layout.top, folder)
    return next((path for path in candidates if _matches(path, layout)), None)


def nothing_found(file: RemoteFile, folder: Path) -> DownloadError:
    """Return the error that says where a file was looked for."""
    tried = [file.path, file.name] if file.path != file.name else [file.name]
    if file.unpacked is not None:
        tried += [f"{file.unpacked.top}/", f"images/{file.unpacked.top}/"]
    return DownloadError(
        f"{folder} has neither {file.name} nor a folder made from it",
        expected=" or ".join(tried),
        fix="Give another folder or URL by --from, or none to download it.",
    )


def adopt_archive(source: Path, request: FetchRequest) -> Fetched:
    """Check the archive at ``source``, then link it, or copy it where links are impossible.

    Raises
    ------
    DownloadError
        Its bytes are not the published ones, and ``any_content`` is off.
    """
    file, target = request.file, request.folder / request.file.name
    digests = digest_file(source, file.checksum)
    wrong = wrong_content(source, file, digests, request.any_content)
    if wrong is not None:
        raise DownloadError(
            f"{source} is not the published {file.name}: {wrong}",
            fix="If other bytes are what you want (a subset, a demo), add --any-content.",
        )
    size = source.stat().st_size
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            link_new(source.resolve(), target)
            sync_folder(target.parent)
        except ConflictError:
            raise
        except OSError:
            _copy(source, target, size)
    request.progress(size)
    return Fetched(
        name=file.name,
        url=str(source.absolute()),
        bytes=size,
        sha256=digests.sha256,
        verified=digests.verified,
    )


def _copy(source: Path, target: Path, size: int) -> None:
    with PartFile(target, None) as part:
        part.restart(None)
        part.expect(size)
        for block in read_blocks(source):
            part.append(block)
        part.publish()


def _matches(path: Path, layout: Unpacked) -> bool:
    if not path.is_dir() or (path.name != layout.top and not layout.holds):
        return False
    return all((path / below).exists() for below in layout.holds)
