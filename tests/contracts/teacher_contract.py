"""What every teacher must do, whatever runs it. Subclass and provide the ``teacher`` fixture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from pipelines.teachers.base import MEMORY, PROMPTED, Teacher, TrackedFrame
from schemas.errors import DataError, UnknownNameError
from schemas.features import FEATURES, MEMORY_GROUPS
from schemas.masks import encode_mask
from schemas.prompts import box_corners, sampled_point
from schemas.videos import Prompt, object_frames

FRAMES = 6
IMPORTED = "image.neck"
IMAGE = ("image.trunk", "image.layer01", "image.fpn72.detector", "image.fpn72.tracker")
PHRASES = ("a cat", "the second cat from the left", "!(", "")


def random_frames(size: int, count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    shape = (3, size, size)
    return [
        torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for _ in range(count)
    ]


def box_prompt(object_id: int, frame: int, left: int = 20) -> Prompt:
    """A prompt with a box of an image of 90 x 160 pixels: neither the teacher's size nor square."""
    mask = np.zeros((90, 160), dtype=bool)
    mask[30:70, left : left + 50] = True
    return Prompt(object_id=object_id, frame=frame, mask=encode_mask(mask))


class TeacherContract(ABC):
    @pytest.fixture
    @abstractmethod
    def teacher(self) -> Teacher: ...

    @pytest.fixture
    def frames(self, teacher: Teacher) -> list[torch.Tensor]:
        return random_frames(teacher.spec.preprocess.image_size, FRAMES)

    @pytest.fixture
    def clip(self, teacher: Teacher, frames: list[torch.Tensor]) -> list[TrackedFrame]:
        prompts = [box_prompt(9, 0), box_prompt(4, 2, left=80)]
        return list(teacher.track(iter(frames), FRAMES, prompts))

    @pytest.mark.parametrize(
        "name", [name for name in FEATURES if "NN" not in name and name != IMPORTED]
    )
    def test_names_the_shape_of_every_feature(self, teacher: Teacher, name: str) -> None:
        spec = teacher.feature(name)
        assert (spec.name, spec.rows, spec.codec) == (
            name,
            FEATURES[name].rows,
            FEATURES[name].codec,
        )

    def test_takes_a_codec_by_name(self, teacher: Teacher) -> None:
        assert teacher.feature("image.trunk", "bfloat16").codec == "bfloat16"
        with pytest.raises(UnknownNameError, match="float16"):
            teacher.feature("image.trunk", "flot16")

    def test_refuses_unknown_features(self, teacher: Teacher) -> None:
        with pytest.raises(UnknownNameError, match=r"image\.trunk"):
            teacher.feature("image.trnk")

    def test_knows_the_blocks_of_its_trunk(self, teacher: Teacher) -> None:
        trunk = teacher.feature("image.trunk")
        for name in ("image.layer00", "image.layer02"):
            spec = teacher.feature(name)
            assert (spec.name, spec.rows, spec.item_shape) == (name, "sample", trunk.item_shape)
        for absent in ("image.layer99", "image.layerNN", "image.layer2"):
            with pytest.raises(UnknownNameError, match=r"image\.layer"):
                teacher.feature(absent)

    @pytest.mark.parametrize("wanted", [IMAGE, IMAGE[1:], IMAGE[2:3], IMAGE[:1]])
    def test_gives_the_wanted_maps_and_no_other(
        self, teacher: Teacher, frames: list[torch.Tensor], wanted: tuple[str, ...]
    ) -> None:
        features = teacher.encode_images(torch.stack(frames[:2]), wanted)
        assert features.keys() == set(wanted)
        alone = {name: teacher.encode_images(torch.stack(frames[:2]), (name,)) for name in wanted}
        for name, values in features.items():
            assert values.dtype == np.float32
            assert values.shape == (2, *teacher.feature(name).item_shape)
            np.testing.assert_array_equal(values, alone[name][name], err_msg=name)

    def test_images_have_the_shape_that_the_spec_names(
        self, teacher: Teacher, frames: list[torch.Tensor]
    ) -> None:
        features = teacher.encode_images(torch.stack(frames[:2]))
        assert features.keys() == {"image.trunk"}
        trunk = features["image.trunk"]
        assert trunk.dtype == np.float32
        assert trunk.shape == (2, *teacher.feature("image.trunk").item_shape)
        assert np.isfinite(trunk).all()
        assert np.abs(trunk[0] - trunk[1]).max() > 1e-3

    def test_features_on_the_device_are_the_same(
        self, teacher: Teacher, frames: list[torch.Tensor]
    ) -> None:
        batch = torch.stack(frames[:2])
        expected = teacher.encode_images(batch)
        found = teacher.encode_on_device(batch.to(teacher.device))
        assert found.keys() == expected.keys()
        for name, values in found.items():
            assert values.device == teacher.device
            np.testing.assert_array_equal(values.float().cpu().numpy(), expected[name])

    def test_an_image_does_not_depend_on_its_batch(
        self, teacher: Teacher, frames: list[torch.Tensor]
    ) -> None:
        together = teacher.encode_images(torch.stack(frames))["image.trunk"]
        alone = [teacher.encode_images(frame[None])["image.trunk"][0] for frame in frames]
        np.testing.assert_allclose(together, np.stack(alone), atol=1e-5)

    def test_refuses_images_of_another_size_or_type(self, teacher: Teacher) -> None:
        size = teacher.spec.preprocess.image_size
        with pytest.raises(DataError, match=str(size)):
            teacher.encode_images(torch.zeros((1, 3, size, size - 1), dtype=torch.uint8))
        with pytest.raises(DataError, match="uint8"):
            teacher.encode_images(torch.zeros((1, 3, size, size)))

    def test_prompts_give_a_mask_each_in_the_order_of_the_images(
        self, teacher: Teacher, frames: list[torch.Tensor]
    ) -> None:
        left, right = box_prompt(1, 0).mask, box_prompt(2, 0, left=80).mask
        point, box, other = sampled_point(left, "1"), box_corners(left), box_corners(right)
        batch, wanted = torch.stack(frames[:2]), ("image.trunk", *PROMPTED)
        found = teacher.encode_prompts(batch, [[point, box], [other]], wanted)
        assert found.keys() == set(wanted)
        for name, rows in (("image.trunk", 2), *((name, 3) for name in PROMPTED)):
            assert found[name].shape == (rows, *teacher.feature(name).item_shape)
            assert torch.isfinite(found[name]).all()
        alone = [
            teacher.encode_prompts(image[None], [[prompt]])["prompts.mask_logits"][0]
            for image, prompt in ((batch[0], point), (batch[0], box), (batch[1], other))
        ]
        together = found["prompts.mask_logits"].float().cpu().numpy()
        np.testing.assert_allclose(together, torch.stack(alone).float().cpu().numpy(), atol=2e-4)
        assert np.abs(together[0] - together[1]).max() > 1e-2

    def test_text_marks_real_tokens_and_zeroes_the_others(self, teacher: Teacher) -> None:
        features = teacher.encode_text(PHRASES)
        tokens, mask = features["text.tokens"], features["text.mask"]
        assert features.keys() == {"text.tokens", "text.mask"}
        assert tokens.dtype == np.float32
        assert mask.dtype == np.uint8
        assert tokens.shape == (len(PHRASES), *teacher.feature("text.tokens").item_shape)
        assert mask.shape == (len(PHRASES), *teacher.feature("text.mask").item_shape)
        assert mask.sum(1).tolist() == [4, 8, 4, 2]
        assert not tokens[mask == 0].any()
        assert np.abs(tokens[mask == 1]).max(axis=1).all()

    def test_a_phrase_does_not_depend_on_its_batch(self, teacher: Teacher) -> None:
        together = teacher.encode_text(PHRASES)["text.tokens"]
        alone = [teacher.encode_text([phrase])["text.tokens"][0] for phrase in PHRASES]
        np.testing.assert_allclose(together, np.stack(alone), atol=1e-5)

    def test_tracking_gives_every_frame_and_object_once(self, clip: list[TrackedFrame]) -> None:
        assert [frame.frame for frame in clip] == list(range(FRAMES))
        found = [(tracked.object_id, frame.frame) for frame in clip for tracked in frame.objects]
        prompts = (box_prompt(9, 0), box_prompt(4, 2))
        wanted = [(row.object_id, row.frame) for row in object_frames("clip", FRAMES, prompts)]
        assert sorted(found) == wanted
        assert all(
            [tracked.object_id for tracked in frame.objects] in ([9], [4, 9]) for frame in clip
        )

    def test_tracked_features_have_the_shapes_that_the_specs_name(
        self, teacher: Teacher, clip: list[TrackedFrame]
    ) -> None:
        for frame in clip:
            for tracked in frame.objects:
                assert tracked.features.keys() == set(MEMORY)
                for name, values in tracked.features.items():
                    assert values.dtype == np.float32
                    assert values.shape == teacher.feature(name).item_shape
                    assert np.isfinite(values).all()

    def test_tracking_gives_the_maps_of_the_frames(
        self, teacher: Teacher, frames: list[torch.Tensor]
    ) -> None:
        expected = teacher.encode_images(torch.stack(frames), IMAGE)
        for frame in teacher.track(frames, FRAMES, [box_prompt(9, 1)], IMAGE):
            assert frame.features.keys() == set(IMAGE)
            for name, values in frame.features.items():
                np.testing.assert_allclose(values, expected[name][frame.frame], atol=1e-5)

    def test_later_prompts_leave_an_object_as_it_is(
        self, teacher: Teacher, clip: list[TrackedFrame], frames: list[torch.Tensor]
    ) -> None:
        for alone in teacher.track(frames, FRAMES, [box_prompt(9, 0)]):
            expected = alone.objects[0].features
            found = clip[alone.frame].objects[-1].features
            for name, values in expected.items():
                np.testing.assert_array_equal(found[name], values, err_msg=name)

    def test_ways_to_prompt_do_not_touch_each_other(
        self, teacher: Teacher, frames: list[torch.Tensor]
    ) -> None:
        names = [f"{group}.mask_logits" for group in MEMORY_GROUPS.values()]
        prompts = [box_prompt(9, 0), box_prompt(4, 2, left=80)]
        clip = list(teacher.track(frames, FRAMES, prompts, names))
        for name in names:
            alone = list(teacher.track(frames, FRAMES, prompts, [name]))
            for frame, other in zip(clip, alone, strict=True):
                for both, single in zip(frame.objects, other.objects, strict=True):
                    assert both.features.keys() == set(names)
                    assert single.features.keys() == {name}
                    np.testing.assert_array_equal(both.features[name], single.features[name])
        first = clip[0].objects[0].features
        assert not np.array_equal(first[names[0]], first[names[1]])
        assert not np.array_equal(first[names[1]], first[names[2]])

    def test_a_clip_without_prompts_gives_its_frames(
        self, teacher: Teacher, frames: list[torch.Tensor]
    ) -> None:
        tracked = list(teacher.track(frames, FRAMES, []))
        assert [frame.objects for frame in tracked] == [()] * FRAMES

    @pytest.mark.parametrize("claimed", [FRAMES - 1, FRAMES + 1])
    def test_refuses_another_number_of_frames(
        self, teacher: Teacher, frames: list[torch.Tensor], claimed: int
    ) -> None:
        with pytest.raises(DataError, match=f"{claimed} frames"):
            list(teacher.track(frames, claimed, [box_prompt(1, 0)]))

    def test_refuses_prompts_that_cannot_be(
        self, teacher: Teacher, frames: list[torch.Tensor]
    ) -> None:
        with pytest.raises(DataError, match="object 3"):
            list(teacher.track(frames, FRAMES, [box_prompt(3, FRAMES)]))
        with pytest.raises(DataError, match="object 3 has two prompts"):
            list(teacher.track(frames, FRAMES, [box_prompt(3, 0), box_prompt(3, 1)]))

    def test_decodes_frames_no_earlier_than_it_needs_them(
        self, teacher: Teacher, frames: list[torch.Tensor]
    ) -> None:
        decoded = 0

        def count() -> Iterator[torch.Tensor]:
            nonlocal decoded
            for frame in frames * 10:
                decoded += 1
                yield frame

        next(iter(teacher.track(count(), 10 * FRAMES, [])))
        assert 1 <= decoded < 10 * FRAMES
