"""The train split of SA-V: videos in tars, each with one or two masklet files beside it."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import PurePosixPath

import av
from PIL import features

from downloaders.sav import SAV
from pipelines.engine.prefetch import prefetch
from pipelines.media.jpeg import QUALITY, encode_jpeg
from pipelines.media.video import Video, VideoFrame, open_video
from pipelines.normalize.base import LayoutOptions
from pipelines.normalize.checks import size_mismatch
from pipelines.normalize.sav_json import AUTOMATIC_IDS, STEP, Masklets, check_every, read_masklets
from pipelines.normalize.sources import SourceFiles
from schemas.errors import ArchiveError, DataError, IncompleteError, UsageError
from schemas.ids import frame_key, sample_key
from schemas.samples import VIDEO, Group, MediaKind, Sample, Source

_FIRST_IDS = {"_manual.json": 0, "_auto.json": AUTOMATIC_IDS}
_KINDS = (".mp4", *_FIRST_IDS)
_NAME = re.compile(rf"(.+)({'|'.join(map(re.escape, _KINDS))})")
_COUNT = re.compile(rb'"video_frame_count"\s*:\s*([1-9][0-9]*)(?:\.0*)?\s*,')
_HEAD_BYTES = 4096
_FRAMES_AHEAD = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoClip:
    """The files of one clip."""

    video: Source | None
    masklets: tuple[tuple[Source, int], ...]
    """Each file with what is added to its ids."""

    @property
    def sources(self) -> list[Source]:
        """All files."""
        files = [file for file, _ in self.masklets]
        return files if self.video is None else [self.video, *files]


@dataclass(frozen=True)
class SavVideos:
    """See ``Normalizer``. Frames are decoded, and stored as JPEG, unless the video is kept."""

    files: SourceFiles
    split: str
    options: LayoutOptions
    dataset: str = "sa-v"
    media: MediaKind = "video"
    licence: str = SAV.entry.licence

    def __post_init__(self) -> None:
        self.options.allow(
            f"{self.dataset} {self.split}", "clips", "every", "quality", "keep_video"
        )
        if self.options.keep_video and self.options.quality:
            raise UsageError(
                "--quality means nothing with --keep-video", expected="one of them at most"
            )
        check_every(self._every)

    def __reduce__(self) -> tuple[type[SavVideos], tuple[object, ...]]:
        return SavVideos, (self.files, self.split, self.options)

    @property
    def version(self) -> str:
        """See ``Normalizer.version``. Other libraries might decode or encode to other bytes."""
        if self.options.keep_video:
            return self.options.version("sa-v-1")
        scale = ".".join(map(str, av.library_versions["libswscale"]))
        jpeg = features.version("libjpeg_turbo") or features.version("jpg")
        made = f"jpeg-{self._quality} libswscale-{scale} libjpeg-{jpeg}"
        return self.options.version(f"sa-v-1 {made}")

    def sources(self) -> Mapping[str, str]:
        """See ``Normalizer.sources``. Masklet files count by size: there are 99,000."""
        used = [source for clip in self._clips.values() for source in clip.sources]
        return self.files.digests(used, [])

    def groups(self) -> Sequence[Group]:
        """See ``Normalizer.groups``. Each archive is a part of its own."""
        groups = [
            Group(
                key=sample_key(name),
                rows=len(range(0, self._frame_count(clip), self._every)),
                part=self._part(clip),
            )
            for name, clip in self._clips.items()
        ]
        return sorted(groups, key=lambda group: (group.part, group.key))

    def dropped(self) -> Mapping[str, int]:
        """See ``Normalizer.dropped``."""
        count = sum(not clip.masklets for clip in self._found.values())
        return {"videos_without_masklets": count} if count else {}

    def read(self, group: Group) -> Iterator[Sample]:
        """See ``Normalizer.read``.

        When the video and its masklets do not agree on the frames, none is sound, because it is
        unknown which mask belongs to which frame. After damage, the frames before it are sound.
        """
        clip, done = self._clips[group.key], 0
        try:
            masklets = self._read_masklets(group.key, clip)
            for sample in self._read_video(group.key, clip, masklets):
                yield sample
                done += 1
        except ArchiveError:
            raise
        except DataError as error:
            reason = str(error).removeprefix(f"{group.key}: ")
            for missed in range(done, group.rows):
                yield replace(self._row(group.key, clip, missed), quarantine=reason)

    def _read_masklets(self, name: str, clip: VideoClip) -> list[Masklets]:
        try:
            masklets = [
                read_masklets(self.files.read(file), file.member, name, first_id)
                for file, first_id in clip.masklets
            ]
            for other in masklets[1:]:
                if other.file.shape != masklets[0].file.shape:
                    raise DataError(
                        f"{other.where}: frames, height, width",
                        expected=f"{masklets[0].file.shape} as in {masklets[0].where}",
                        got=other.file.shape,
                    )
        except ArchiveError:
            raise
        except DataError as error:
            raise DataError(f"{name}: bad-annotation: {error}") from error
        return masklets

    def _read_video(
        self, name: str, clip: VideoClip, masklets: Sequence[Masklets]
    ) -> Iterator[Sample]:
        if clip.video is None:
            raise DataError(f"{name}: missing: {name}.mp4")
        encoded = self.files.read(clip.video)
        with open_video(encoded, name) as video:
            frames, *_ = masklets[0].file.shape
            if video.frame_count != frames:
                raise DataError(
                    f"{name}: frame-count: the video has {video.frame_count} frames, its masklets "
                    f"say {frames}"
                )
            row = partial(self._row, name, clip)
            kept = encoded if self.options.keep_video else None
            yield from self._samples(row, video, masklets, kept)

    def _samples(
        self,
        row: Callable[[int], Sample],
        video: Video,
        masklets: Sequence[Masklets],
        kept: bytes | None,
    ) -> Iterator[Sample]:
        """Decode in this thread, and meanwhile encode in another."""

        def sample(item: tuple[int, VideoFrame | DataError]) -> Sample:
            position, frame = item
            if isinstance(frame, DataError):
                raise frame
            return self._sample(row(position), frame, masklets, kept)

        frames = enumerate(_to_damage(video.frames(self._every)))
        return prefetch(sample, frames, threads=1, ahead=_FRAMES_AHEAD)

    def _sample(
        self, row: Sample, frame: VideoFrame, masklets: Sequence[Masklets], kept: bytes | None
    ) -> Sample:
        _, height, width = masklets[0].file.shape
        row = replace(row, width=width, height=height)
        try:
            objects = [annotation for found in masklets for annotation in found.at(frame.index)]
        except DataError as error:
            return replace(row, quarantine=f"bad-annotation: {error}")
        stored_height, stored_width, _ = frame.image_HWC.shape
        if (fault := size_mismatch(row, stored_width, stored_height)) is not None:
            return replace(row, quarantine=fault)
        row = replace(row, verified=True, annotations=tuple(objects))
        if kept is not None:
            return replace(row, encoded=kept, extension=VIDEO)
        return replace(row, encoded=encode_jpeg(frame.image_HWC, self._quality))

    def _row(self, name: str, clip: VideoClip, position: int) -> Sample:
        return Sample(
            key=frame_key(name, f"{position * self._every:05d}"),
            source=clip.video or clip.masklets[0][0],
            width=0,
            height=0,
            clip=name,
            frame=position,
        )

    @property
    def _every(self) -> int:
        return self.options.every or STEP

    @property
    def _quality(self) -> int:
        return self.options.quality or QUALITY

    def _part(self, clip: VideoClip) -> str:
        found = {source.archive for source in clip.sources}
        archives = {archive.name for archive in self.files.archives if archive.top is None}
        return found.pop() if len(found) == 1 and found <= archives else ""

    def _frame_count(self, clip: VideoClip) -> int:
        """Return the frames that the masklets speak of, without reading their megabytes."""
        for file, _ in clip.masklets:
            with self.files.open(file) as stream:
                stated = _COUNT.search(stream.read(_HEAD_BYTES))
            if stated is not None:
                return int(stated[1])
        return 1  # the row that says what is wrong with them

    @cached_property
    def _clips(self) -> Mapping[str, VideoClip]:
        """Clips with masklets, sorted."""
        pattern = self.options.clips or "*"
        clips = {
            name: clip
            for name, clip in sorted(self._found.items())
            if clip.masklets and fnmatch.fnmatchcase(name, pattern)
        }
        if not clips:
            matching = "" if self.options.clips is None else f" whose name matches {pattern!r}"
            raise IncompleteError(
                f"{self.files.where} has no video with masklets (*_manual.json){matching}",
                fix="Check --from and --clips.",
            )
        return clips

    @cached_property
    def _found(self) -> Mapping[str, VideoClip]:
        """All clips. They are told by the names of their files, in whatever folder these lie."""
        by_kind: dict[str, dict[str, Source]] = {kind: {} for kind in _KINDS}
        for source in self.files:
            if (named := _NAME.fullmatch(PurePosixPath(source.member).name)) is not None:
                by_kind[named[2]].setdefault(named[1], source)
        return {
            name: VideoClip(
                video=by_kind[".mp4"].get(name),
                masklets=tuple(
                    (by_kind[kind][name], first_id)
                    for kind, first_id in _FIRST_IDS.items()
                    if name in by_kind[kind]
                ),
            )
            for name in set().union(*by_kind.values())
        }


def _to_damage(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame | DataError]:
    """Yield the frames, and last the error that ends them: those before it are sound."""
    try:
        yield from frames
    except ArchiveError:
        raise
    except DataError as error:
        yield error
