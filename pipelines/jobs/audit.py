"""Recomputes stored features with the live teacher and compares: the check of last resort.

Rows are chosen at random, the same ones for the same manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from pipelines.jobs.encode_prompts import coordinates, prompts_of
from pipelines.media.preprocess import resize_to_square
from pipelines.media.stored import StoredPictures, decode_stored
from pipelines.store.arrays import FeatureArray
from pipelines.store.findings import Finding
from pipelines.store.objects import ObjectStore
from pipelines.store.published import PublishedManifest, array_record, read_part
from pipelines.store.splits import Split, StoredClip
from pipelines.teachers.base import PROMPTED, Float32, Teacher, TeacherOptions, options_of
from schemas.errors import UsageError
from schemas.features import TeacherSpec, differing_fields
from schemas.ids import digest_bytes
from schemas.manifests import ManifestFeature
from schemas.prompts import STILL_PROMPTS
from schemas.videos import object_frames

Loader = Callable[[TeacherOptions], Teacher]

_ARITHMETIC = {"float32": 1e-3, "bfloat16-autocast": 5e-2}
"""What devices, kernels and batch sizes may change, as a share of a row's largest magnitude."""

_TRACKING = 2e-2
"""The same for memory: the tracker keeps it in bfloat16 and feeds it back, frame after frame."""

_SPREAD = 2.0
"""What rounds to one side in one row may round to the other in the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One stored row beside what the live teacher makes of the same input."""

    feature: str
    split: str
    file: str
    """The shard that holds the row."""
    row: int
    """Row of the shard."""
    cosine: float
    difference: float
    """Largest difference of two values, as a share of the largest magnitude."""
    least_cosine: float
    """Of a row that is right."""
    tolerance: float
    """The largest difference of a row that is right."""

    @property
    def is_close(self) -> bool:
        """Whether the two agree, up to arithmetic and codec."""
        return self.difference <= self.tolerance and self.cosine >= self.least_cosine

    def finding(self) -> Finding:
        """Return the disagreement as a finding."""
        return Finding(
            key=self.file,
            problem=f"row {self.row} is not what the teacher computes",
            expected=f"difference up to {self.tolerance:.2g}, cosine from {self.least_cosine:.6f}",
            got=f"difference {self.difference:.2g}, cosine {self.cosine:.6f}",
        )


def recompute(
    store: ObjectStore,
    published: PublishedManifest,
    load: Loader,
    count: int,
    *,
    device: str = "cpu",
) -> Iterator[Comparison]:
    """Compare up to ``count`` rows of each array of the teacher that ``load`` gives.

    Of the memory arrays of a split, the first rows of one clip: tracking starts at its beginning.

    Raises
    ------
    IdentityError
        The live teacher is none of the manifest's; the message names the fields that differ.
    UsageError
        The manifest has no features.
    """
    manifest = published.manifest
    teacher = _live_teacher(published, load, device)
    for split in manifest.splits:
        opened = Split(store, split.split, split.split_file.blake3)
        arrays = [
            (feature, FeatureArray(store, array_record(manifest, split, feature)))
            for feature in split.features
            if feature.teacher == teacher.spec.digest
        ]
        for feature, array in arrays:
            if array.feature.rows != "object_frame":
                rows = _choose_rows(published, array, feature, count)
                yield from _compare_rows(opened, array, teacher, rows)
        memory = [array for _, array in arrays if array.feature.rows == "object_frame"]
        if memory:
            yield from _compare_clip(published, opened, memory, teacher, count)


def _live_teacher(published: PublishedManifest, load: Loader, device: str) -> Teacher:
    """Load the teacher in the way of one of the manifest's teachers, and require that it is it."""
    specs = list(published.manifest.teachers.values())
    if not specs:
        raise UsageError(f"manifest {published.reference} has no features to recompute")
    tried: list[tuple[TeacherSpec, TeacherSpec]] = []
    for options in _distinct_options(specs, device):
        teacher = load(options)
        if teacher.spec.digest in published.manifest.teachers:
            return teacher
        tried += [(stored, teacher.spec) for stored in specs]
    stored, live = min(tried, key=lambda pair: len(differing_fields(*pair)))
    stored.require_same(
        live, f"the teacher that was loaded, against manifest {published.reference},"
    )
    raise AssertionError("unreachable: another digest means another field")


def _distinct_options(specs: Sequence[TeacherSpec], device: str) -> list[TeacherOptions]:
    """Return the ways in which these teachers were run, each once, so that none is loaded twice.

    Imported features cannot be computed again; they are an error only where there are no others.
    """
    computed = [spec for spec in specs if spec.tokenize is not None]
    return list(dict.fromkeys(options_of(spec, device) for spec in computed or specs))


def _choose_rows(
    published: PublishedManifest, array: FeatureArray, feature: ManifestFeature, count: int
) -> list[tuple[int, int]]:
    """Return shard and row of some stored rows, ascending."""
    table = read_part(array.store, feature.part).select(["shard", "rows"]).to_pylist()
    rows = {row["shard"]: row["rows"] for row in table}
    shards = sorted(rows)
    ends = np.cumsum([rows[shard] for shard in shards])
    total = int(ends[-1]) if shards else 0
    # Some of them are quarantined: draw more than are wanted.
    drawn = _generator(published, array.folder).choice(
        total, size=min(total, 4 * count), replace=False
    )
    chosen: list[tuple[int, int]] = []
    for place in drawn:
        position = int(np.searchsorted(ends, place, side="right"))
        shard = shards[position]
        row = int(place) - int(ends[position]) + rows[shard]
        if len(chosen) < count and array.reader(shard).present[row]:
            chosen.append((shard, row))
    return sorted(chosen)


def _generator(published: PublishedManifest, name: str) -> np.random.Generator:
    return np.random.default_rng(int(digest_bytes(f"{published.digest}/{name}".encode())[:16], 16))


def _compare_rows(
    split: Split, array: FeatureArray, teacher: Teacher, rows: Sequence[tuple[int, int]]
) -> Iterator[Comparison]:
    for shard, row in rows:
        if array.feature.rows == "phrase":
            phrase = split.phrases[shard * array.record.rows_per_shard + row]
            live = teacher.encode_text([phrase])[array.feature.name][0]
        elif array.feature.rows == "prompt":
            live = _live_prompt(split, array.feature.name, teacher, shard, row)
        else:
            square = _square(split, teacher, shard, row)
            live = teacher.encode_images(square[None], (array.feature.name,))[array.feature.name][0]
        yield _compare(array, shard, row, np.asarray(live, dtype=np.float32))


def _square(split: Split, teacher: Teacher, shard: int, row: int) -> torch.Tensor:
    sample = split.samples(shard)[row]
    image = decode_stored(split.read_image(shard, sample), sample.key)
    return resize_to_square(image, teacher.spec.preprocess.image_size)


def _live_prompt(split: Split, name: str, teacher: Teacher, shard: int, row: int) -> Float32:
    """Return a feature of one prompt, in the way in which ``PromptEncoder`` finds it."""
    place, way = divmod(row, len(STILL_PROMPTS))
    item = split.objects(shard)[place]
    prompts = prompts_of(item)
    if name not in PROMPTED:
        return np.asarray(coordinates(prompts)[name][way], dtype=np.float32)
    square = _square(split, teacher, shard, item.row)
    live = teacher.encode_prompts(square[None], [[prompts[way]]], (name,))[name][0]
    return np.asarray(live.float().cpu(), dtype=np.float32)


def _compare_clip(
    published: PublishedManifest,
    split: Split,
    arrays: Sequence[FeatureArray],
    teacher: Teacher,
    count: int,
) -> Iterator[Comparison]:
    """Compare the first ``count`` object-frames of one clip, in the order of time."""
    found = _choose_clip(published, split)
    if found is None:
        return
    shard, clip, places = found
    size = teacher.spec.preprocess.image_size
    pictures = StoredPictures()
    images = (
        pictures.decode(frame, partial(split.read_image, shard, frame)) for frame in clip.frames
    )
    frames = (resize_to_square(image, size) for image in images)
    compared = 0
    wanted = [array.feature.name for array in arrays]
    for tracked in teacher.track(frames, len(clip.frames), clip.prompts, wanted):
        for item in tracked.objects:
            row = places[item.object_id, tracked.frame]
            for array in arrays:
                if array.reader(shard).present[row]:
                    live = np.asarray(item.features[array.feature.name], dtype=np.float32)
                    yield _compare(array, shard, row, live)
            compared += 1
            if compared == count:
                return


def _choose_clip(
    published: PublishedManifest, split: Split
) -> tuple[int, StoredClip, Mapping[tuple[int, int], int]] | None:
    """Return a clip that was tracked, its shard, and its rows there by object and frame."""
    generator = _generator(published, split.name)
    for shard in generator.permutation(split.record.shards).tolist():
        first = 0
        usable = []
        for clip in split.clips(shard):
            rows = object_frames(clip.clip, len(clip.frames), clip.prompts)
            places = {(row.object_id, row.frame): first + i for i, row in enumerate(rows)}
            first += len(rows)
            if rows and all(frame.quarantine is None for frame in clip.frames):
                usable.append((shard, clip, places))
        if usable:
            return usable[int(generator.integers(len(usable)))]
    return None


def _compare(array: FeatureArray, shard: int, row: int, live: Float32) -> Comparison:
    """Compare a row with ``live``, which the codec would change too: by how much is allowed."""
    stored = array.read([shard * array.record.rows_per_shard + row])[0]
    record, codec = array.record, array.codec
    again = codec.decode(codec.convert(live), live.shape)
    arithmetic = _ARITHMETIC[record.teacher.precision]
    if record.feature.rows == "object_frame":
        arithmetic += _TRACKING
    return Comparison(
        feature=record.feature.array_name,
        split=f"{record.dataset}/{record.split}",
        file=array.shard_key(shard),
        row=row,
        cosine=_cosine(stored, live),
        difference=_difference(stored, live),
        least_cosine=_cosine(again, live) - arithmetic,
        tolerance=_SPREAD * _difference(again, live) + arithmetic,
    )


def _difference(values: Float32, live: Float32) -> float:
    return float(np.abs(values - live).max()) / max(float(np.abs(live).max()), 1e-12)


def _cosine(left: Float32, right: Float32) -> float:
    """Return the cosine in double precision; 1 for two rows of zeros."""
    a, b = left.astype(np.float64).ravel(), right.astype(np.float64).ravel()
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if lengths == 0:
        return float(np.array_equal(a, b))
    return float(a @ b) / lengths
