"""The val and test splits of SA-V: frames at 24 fps, and a binary PNG per object at 6 fps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath

from downloaders.sav import SAV
from pipelines.normalize.base import LayoutOptions
from pipelines.normalize.clip_folders import (
    FRAME_SUFFIXES,
    MASK_SUFFIXES,
    ClipTree,
    find_tree,
    frame_order,
)
from pipelines.normalize.clip_frames import read_frame
from pipelines.normalize.clip_lists import listed_clips, matching_clips, read_clip_list
from pipelines.normalize.indexed_png import empty_mask, read_binary_mask
from pipelines.normalize.sav_json import STEP, check_every
from pipelines.normalize.sources import SourceFiles, find_file, path_below
from schemas.errors import ArchiveError, DataError, IncompleteError
from schemas.ids import sample_key
from schemas.masks import MaskRLE
from schemas.samples import Annotation, Group, MediaKind, Sample, Source

ObjectMasks = Mapping[int, Mapping[int, Source]]
"""The PNGs of a clip: by object id, then by the frame's number."""


@dataclass(frozen=True)
class SavFrames:
    """See ``Normalizer``. Frames keep their published bytes."""

    files: SourceFiles
    split: str
    options: LayoutOptions
    dataset: str = "sa-v"
    media: MediaKind = "video"
    licence: str = SAV.entry.licence

    def __post_init__(self) -> None:
        self.options.allow(f"{self.dataset} {self.split}", "frames", "masks", "clips", "every")
        check_every(self._every)

    def __reduce__(self) -> tuple[type[SavFrames], tuple[object, ...]]:
        return SavFrames, (self.files, self.split, self.options)

    @property
    def version(self) -> str:
        """See ``Normalizer.version``."""
        return self.options.version("sa-v-1")

    def sources(self) -> Mapping[str, str]:
        """See ``Normalizer.sources``."""
        used = [source for clip in self._clips for source in self._frames.clips[clip].values()]
        used += [
            source
            for clip in self._clips
            for masks in self._masks.get(clip, {}).values()
            for source in masks.values()
        ]
        return self.files.digests(used, [self._list] if self._list else [])

    def groups(self) -> Sequence[Group]:
        """See ``Normalizer.groups``."""
        return [Group(key=sample_key(clip), rows=len(self._taken(clip))) for clip in self._clips]

    def dropped(self) -> Mapping[str, int]:
        """See ``Normalizer.dropped``."""
        count = 0
        for clip in self._clips:
            numbers = {int(stem) for stem in frame_order(clip, self._frames.clips[clip])}
            masks = self._masks.get(clip, {}).values()
            count += sum(number not in numbers for found in masks for number in found)
        return {"masks_without_frame": count} if count else {}

    def read(self, group: Group) -> Iterator[Sample]:
        """See ``Normalizer.read``.

        Every fourth frame has an annotation for each object of the clip, up to the last frame that
        any mask is of. An object without PNG there is hidden.
        """
        clip = group.key
        masks = self._masks.get(clip, {})
        last = max((number for found in masks.values() for number in found), default=-1)
        for position, stem in enumerate(self._taken(clip)):
            sample = read_frame(self.files, clip, position, self._frames.clips[clip][stem])
            number = int(stem)
            if number <= last and number % STEP == 0 and sample.quarantine is None:
                sample = self._annotated(sample, masks, number)
            yield sample

    def _annotated(self, sample: Sample, masks: ObjectMasks, number: int) -> Sample:
        try:
            annotations = tuple(
                Annotation(object_id=object_id, mask=self._mask(sample, found.get(number)))
                for object_id, found in masks.items()
            )
        except ArchiveError:
            raise
        except DataError as error:
            return replace(sample, quarantine=f"bad-mask: {error}")
        return replace(sample, annotations=annotations)

    def _mask(self, sample: Sample, source: Source | None) -> MaskRLE:
        hidden = empty_mask(sample.width, sample.height)
        if source is None:
            return hidden
        found = read_binary_mask(self.files.read(source), source.member)
        if (found.width, found.height) != (sample.width, sample.height):
            raise DataError(
                f"{source.member}: mask size",
                expected=f"{sample.width}x{sample.height}",
                got=f"{found.width}x{found.height}",
            )
        return next(iter(found.objects.values()), hidden)

    @property
    def _every(self) -> int:
        return self.options.every or STEP

    def _taken(self, clip: str) -> Sequence[str]:
        """Names of the frames that are samples, in order."""
        stems = frame_order(clip, self._frames.clips[clip])
        return [stem for stem in stems if int(stem) % self._every == 0]

    @cached_property
    def _frames(self) -> ClipTree:
        name = "JPEGImages_24fps"
        wanted = (self.options.frames,) if self.options.frames else (f"{self._top}/{name}", name)
        return find_tree(self.files, wanted, FRAME_SUFFIXES, "--frames")

    @property
    def _top(self) -> str:
        return f"sav_{self.split}"

    @cached_property
    def _masks(self) -> Mapping[str, ObjectMasks]:
        """All masks by clip."""
        name = "Annotations_6fps"
        for folder in (
            (self.options.masks,) if self.options.masks else (f"{self._top}/{name}", name)
        ):
            if masks := self._masks_below(folder):
                return masks
        raise IncompleteError(
            f"{self.files.where} has no folder {self.options.masks or name} with a folder per clip "
            "and in it one per object",
            fix="Name the folder by --masks, or check --from.",
        )

    def _masks_below(self, folder: str) -> Mapping[str, ObjectMasks]:
        clips: defaultdict[str, defaultdict[int, dict[int, Source]]]
        clips = defaultdict(lambda: defaultdict(dict))
        for source in self.files:
            below = path_below(source.member, folder)
            if below is None or PurePosixPath(below).suffix.lower() not in MASK_SUFFIXES:
                continue
            path = PurePosixPath(below)
            numbers = (path.parent.name, path.stem)
            if len(path.parts) != 3 or not all(n.isascii() and n.isdigit() for n in numbers):
                raise DataError(f"{source.member}", expected="CLIP/OBJECT/FRAME.png, both numbers")
            clips[path.parts[0]][int(path.parent.name)].setdefault(int(path.stem), source)
        return {clip: dict(sorted(masks.items())) for clip, masks in clips.items()}

    @cached_property
    def _list(self) -> Source | None:
        return find_file(self.files, f"{self._top}.txt")

    @cached_property
    def _clips(self) -> Sequence[str]:
        """Clips of the split, sorted."""
        if self.options.clips is not None:
            return matching_clips(self._frames, self.options.clips)
        if self._list is not None:
            names = read_clip_list(self.files.read(self._list))
            return listed_clips(self._frames, names, self._list.member)
        return sorted(self._frames.clips)
