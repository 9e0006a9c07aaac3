"""Clips whose masks are indexed PNGs: what DAVIS, YouTube-VOS, MOSE and LVOS have in common."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath

from pipelines.media.images import image_size
from pipelines.normalize.base import LayoutOptions
from pipelines.normalize.clip_folders import (
    FRAME_SUFFIXES,
    MASK_SUFFIXES,
    ClipTree,
    find_tree,
    frame_order,
)
from pipelines.normalize.indexed_png import IndexedMasks, empty_mask, read_indexed_masks
from pipelines.normalize.sources import SourceFiles, find_file
from schemas.errors import ArchiveError, DataError, IncompleteError
from schemas.ids import frame_key, sample_key
from schemas.samples import Annotation, Group, MediaKind, Sample, Source

MasksByStem = Mapping[str, IndexedMasks | DataError]
"""Masks of a clip by frame name; an error where the file cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipLayout:
    """Where a data set has its clips. ``{split}`` stands for the split's name."""

    frames: tuple[str, ...]
    """Folders to look for, the first that is there counts."""
    masks: tuple[str, ...]
    clip_list: str
    """File with one clip name per line; a source without any such list is taken whole."""


@dataclass(frozen=True)
class IndexedClips:
    """One split of such a data set; see ``Normalizer``."""

    files: SourceFiles
    split: str
    options: LayoutOptions
    dataset: str
    licence: str
    layout: ClipLayout
    media: MediaKind = "video"

    def __post_init__(self) -> None:
        self.options.allow(self.dataset, "frames", "masks", "clips", "resize_masks")

    def __reduce__(self) -> tuple[type[IndexedClips], tuple[object, ...]]:
        fields = (self.files, self.split, self.options, self.dataset, self.licence, self.layout)
        return IndexedClips, fields

    @property
    def version(self) -> str:
        """See ``Normalizer.version``."""
        return self.options.version(f"{self.dataset}-1")

    def sources(self) -> Mapping[str, str]:
        """See ``Normalizer.sources``."""
        used = [
            source
            for tree in (self._frames, self._masks)
            for clip in self._clips
            for source in tree.clips.get(clip, {}).values()
        ]
        return self.files.digests(used, [self._list] if self._list else [])

    def groups(self) -> Sequence[Group]:
        """See ``Normalizer.groups``."""
        return [
            Group(key=sample_key(clip), rows=len(self._frames.clips[clip])) for clip in self._clips
        ]

    def dropped(self) -> Mapping[str, int]:
        """See ``Normalizer.dropped``."""
        count = sum(
            len(self._masks.clips.get(clip, {}).keys() - self._frames.clips[clip].keys())
            for clip in self._clips
        )
        return {"masks_without_frame": count} if count else {}

    def read(self, group: Group) -> Iterator[Sample]:
        """See ``Normalizer.read``.

        A frame without mask file has no annotations. A frame with one has an annotation for every
        object of the clip, with an empty mask where the object is not visible.
        """
        frames = self._frames.clips[group.key]
        masks = self._read_masks(self._masks.clips.get(group.key, {}))
        sound = [found for found in masks.values() if isinstance(found, IndexedMasks)]
        ids = sorted({number for found in sound for number in found.objects})
        for position, stem in enumerate(frame_order(group.key, frames)):
            sample = self._frame(group.key, position, stem, frames[stem])
            if stem in masks and sample.quarantine is None:
                sample = self._annotated(sample, masks[stem], ids)
            yield sample

    def _frame(self, clip: str, position: int, stem: str, source: Source) -> Sample:
        encoded, fault = self.files.read(source), None
        key = frame_key(clip, stem)
        try:
            width, height = image_size(encoded, key)
        except DataError as error:
            width, height, fault = 0, 0, str(error).removeprefix(f"{key}: ")
        return Sample(
            key=key,
            source=source,
            width=width,
            height=height,
            encoded=encoded,
            extension=PurePosixPath(source.member).suffix[1:].lower(),
            clip=clip,
            frame=position,
            quarantine=fault,
        )

    def _read_masks(self, sources: Mapping[str, Source]) -> MasksByStem:
        masks: dict[str, IndexedMasks | DataError] = {}
        for stem, source in sources.items():
            try:
                masks[stem] = read_indexed_masks(self.files.read(source), source.member)
            except ArchiveError:
                raise
            except DataError as error:
                masks[stem] = error
        return masks

    def _annotated(
        self, sample: Sample, masks: IndexedMasks | DataError, ids: Sequence[int]
    ) -> Sample:
        if isinstance(masks, DataError):
            return replace(sample, quarantine=f"bad-mask: {masks}")
        if (masks.width, masks.height) != (sample.width, sample.height):
            if not self.options.resize_masks:
                sizes = f"{masks.width}x{masks.height}, frame {sample.width}x{sample.height}"
                return replace(sample, quarantine=f"mask-size: mask {sizes}")
            masks = masks.resized(sample.width, sample.height)
        hidden = empty_mask(sample.width, sample.height)
        annotations = tuple(
            Annotation(object_id=number, mask=masks.objects.get(number, hidden)) for number in ids
        )
        return replace(sample, annotations=annotations, void=masks.void)

    @cached_property
    def _frames(self) -> ClipTree:
        wanted = (self.options.frames,) if self.options.frames else self._named(self.layout.frames)
        return find_tree(self.files, wanted, FRAME_SUFFIXES, "--frames")

    @cached_property
    def _masks(self) -> ClipTree:
        wanted = (self.options.masks,) if self.options.masks else self._named(self.layout.masks)
        return find_tree(self.files, wanted, MASK_SUFFIXES, "--masks")

    def _named(self, folders: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(folder.format(split=self.split) for folder in folders)

    @cached_property
    def _list(self) -> Source | None:
        return find_file(self.files, self.layout.clip_list.format(split=self.split))

    @cached_property
    def _clips(self) -> Sequence[str]:
        """Clips of the split, sorted."""
        there = sorted(self._frames.clips)
        if self.options.clips is not None:
            return self._matching(there, self.options.clips)
        if self._list is None:
            return self._all(there)
        names = self.files.read(self._list).decode("utf-8", "replace").split()
        if missing := sorted(set(names) - set(there)):
            raise IncompleteError(
                f"{len(missing)} of {len(names)} clips of {self._list.member} are not in "
                f"{self._frames.folder}: {', '.join(missing[:5])}",
                fix="Complete the source, or name the clips to take by --clips.",
            )
        return sorted(set(names))

    def _matching(self, clips: Sequence[str], pattern: str) -> Sequence[str]:
        found = [clip for clip in clips if fnmatch.fnmatchcase(clip, pattern)]
        if not found:
            raise IncompleteError(
                f"no clip of {self._frames.folder} matches --clips {pattern!r}",
                got=", ".join(clips[:8]),
            )
        return found

    def _all(self, clips: Sequence[str]) -> Sequence[str]:
        lists = PurePosixPath(self.layout.clip_list.format(split="*"))
        others = sorted(
            PurePosixPath(source.member).stem
            for source in self.files
            if fnmatch.fnmatchcase(f"/{source.member}", f"*/{lists}")
        )
        if others:
            raise IncompleteError(
                f"{self.files.where} has no list of clips for the split {self.split!r}",
                expected=f"one of {', '.join(others)}",
                fix="Choose such a --split, or name the clips to take by --clips ('*' is all).",
            )
        return clips
