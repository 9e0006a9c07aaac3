"""What every Normalizer must do. Subclass it with a fixture ``normalizer``."""

from __future__ import annotations

import pickle
from collections import Counter

from pipelines.normalize.base import Normalizer
from pipelines.normalize.checks import checked
from schemas.ids import sample_key


class NormalizerContract:
    """A subclass gives the fixture ``normalizer``: a sound split of two groups or more."""

    extension = "jpg"

    def test_groups_are_sorted_and_unique(self, normalizer: Normalizer) -> None:
        places = [(group.part, group.key) for group in normalizer.groups()]
        keys = {key for _, key in places}
        assert len(places) > 1
        assert places == sorted(places)
        assert len(keys) == len(places)
        assert all(sample_key(key) == key for key in keys)

    def test_a_group_gives_the_rows_it_states(self, normalizer: Normalizer) -> None:
        for group in normalizer.groups():
            assert len(list(normalizer.read(group))) == group.rows

    def test_sample_keys_are_unique_and_say_the_group(self, normalizer: Normalizer) -> None:
        found = Counter(
            (group.key, sample.key)
            for group in normalizer.groups()
            for sample in normalizer.read(group)
        )
        assert set(found.values()) == {1}
        assert all(key.split(".")[0] == group for group, key in found)

    def test_samples_are_sound(self, normalizer: Normalizer) -> None:
        for group in normalizer.groups():
            for sample in normalizer.read(group):
                assert checked(sample).quarantine is None
                assert sample.extension == self.extension

    def test_clips_count_their_frames_and_stills_have_none(self, normalizer: Normalizer) -> None:
        for group in normalizer.groups():
            samples = list(normalizer.read(group))
            if normalizer.media == "video":
                assert [sample.frame for sample in samples] == list(range(group.rows))
                assert {sample.clip for sample in samples} == {group.key}
            else:
                assert [(sample.clip, sample.frame) for sample in samples] == [(None, None)]

    def test_masks_have_the_size_of_their_image(self, normalizer: Normalizer) -> None:
        sizes = set()
        for group in normalizer.groups():
            for sample in normalizer.read(group):
                masks = [item.mask for item in sample.annotations if item.mask is not None]
                sizes |= {
                    (mask.width - sample.width, mask.height - sample.height) for mask in masks
                }
        assert sizes == {(0, 0)}

    def test_reading_again_gives_the_same_also_in_another_process(
        self, normalizer: Normalizer
    ) -> None:
        other = pickle.loads(pickle.dumps(normalizer))
        assert other.groups() == normalizer.groups()
        assert other.sources() == normalizer.sources()
        assert other.version == normalizer.version
        for group in normalizer.groups():
            assert list(other.read(group)) == list(normalizer.read(group))

    def test_it_says_what_it_read(self, normalizer: Normalizer) -> None:
        assert normalizer.sources()
        for digest in normalizer.sources().values():
            assert digest.startswith(("sha256:", "unverified:"))
        assert normalizer.licence
        assert normalizer.version.startswith(normalizer.dataset)
