from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Sam3TrackerVideoModel, Sam3VideoModel
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoInferenceSession,
)

from pipelines.media.preprocess import normalize
from pipelines.teachers.base import Teacher, TeacherOptions
from pipelines.teachers.sam3 import Sam3Teacher
from pipelines.teachers.tracking import point_inputs, prompt_mask
from schemas.errors import DataError, IdentityError, UsageError
from schemas.features import MEMORY_GROUPS
from schemas.masks import encode_mask
from schemas.prompts import PromptKind
from schemas.videos import Prompt
from tests.contracts.teacher_contract import TeacherContract, box_prompt, random_frames

SIZE = 224


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> Any:
    return Sam3VideoModel.from_pretrained(tiny_folder, dtype=torch.float32).eval()


@pytest.fixture
def copied(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


class TestSam3Teacher(TeacherContract):
    @pytest.fixture
    def teacher(self, tiny_teacher: Sam3Teacher) -> Teacher:
        return tiny_teacher


def test_trunk_is_what_the_whole_vision_encoder_computes(
    tiny_teacher: Sam3Teacher, model: Any
) -> None:
    batch = torch.stack(random_frames(SIZE, 2))
    with torch.inference_mode():
        whole = model.detector_model.get_vision_features(
            normalize(batch, tiny_teacher.spec.preprocess)
        ).last_hidden_state
    expected = whole.transpose(1, 2).reshape(2, 64, 16, 16).numpy()
    np.testing.assert_array_equal(tiny_teacher.encode_images(batch)["image.trunk"], expected)


def test_maps_are_what_the_whole_model_computes(tiny_teacher: Sam3Teacher, model: Any) -> None:
    batch = torch.stack(random_frames(SIZE, 2))
    pixels = normalize(batch, tiny_teacher.spec.preprocess)
    with torch.inference_mode():
        vision = model.detector_model.get_vision_features(pixels)
        hidden = model.detector_model.vision_encoder.backbone(
            pixels, output_hidden_states=True
        ).hidden_states
        flat, _ = model.get_vision_features_for_tracker(vision)
    expected = {
        "image.fpn72.detector": vision.fpn_hidden_states[2],
        "image.fpn72.tracker": flat[2].permute(1, 2, 0).reshape(2, 128, 16, 16),
        **{f"image.layer{n:02d}": hidden[n].permute(0, 3, 1, 2) for n in range(5)},
    }
    assert len(hidden) == 5
    found = tiny_teacher.encode_images(batch, [*expected, "image.trunk"])
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values.numpy(), err_msg=name)
    np.testing.assert_array_equal(found["image.layer04"], found["image.trunk"])
    assert np.abs(found["image.fpn72.detector"] - found["image.fpn72.tracker"]).max() > 0.1


def test_what_is_not_wanted_is_not_computed(tiny_folder: Path) -> None:
    teacher = Sam3Teacher.load(str(tiny_folder))
    ran: list[str] = []
    for name, module in teacher._model.named_modules():
        if name.endswith(("neck.fpn_layers.0", "neck.fpn_layers.2", "backbone.layers.3")):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    batch = torch.stack(random_frames(SIZE, 1))
    detector = "detector_model.vision_encoder"
    for wanted, expected in {
        "image.trunk": [f"{detector}.backbone.layers.3"],
        "image.layer03": [],
        "image.fpn72.detector": [f"{detector}.backbone.layers.3", f"{detector}.neck.fpn_layers.2"],
        "image.fpn72.tracker": [f"{detector}.backbone.layers.3", "tracker_neck.fpn_layers.2"],
    }.items():
        ran.clear()
        teacher.encode_images(batch, [wanted])
        assert ran == expected, wanted


def test_trunk_has_rows_before_columns(tiny_teacher: Sam3Teacher) -> None:
    image = torch.zeros((1, 3, SIZE, SIZE), dtype=torch.uint8)
    marked = image.clone()
    marked[:, :, :14, -14:] = 255
    change = tiny_teacher.encode_images(marked)["image.trunk"]
    change = change - tiny_teacher.encode_images(image)["image.trunk"]
    strength = np.abs(change[0]).sum(0)
    assert np.unravel_index(strength.argmax(), strength.shape) == (0, 15)


def test_short_context_gives_the_beginning_of_the_long_one(
    tiny_folder: Path, tiny_teacher: Sam3Teacher
) -> None:
    short = Sam3Teacher.load(str(tiny_folder), TeacherOptions(text_context=16))
    phrases = ["a cat", "person in a red jacket riding a skateboard"]
    long_features, short_features = tiny_teacher.encode_text(phrases), short.encode_text(phrases)
    for name in ("text.tokens", "text.mask"):
        np.testing.assert_allclose(long_features[name][:, :16], short_features[name], atol=1e-6)
    assert short.feature("text.tokens").item_shape == (16, 128)


def test_a_mask_prompt_comes_back_as_logits_of_ten(tiny_teacher: Sam3Teacher) -> None:
    prompt = box_prompt(1, 0)
    first = next(iter(tiny_teacher.track(random_frames(SIZE, 3), 3, [prompt])))
    features = first.objects[0].features
    inside = prompt_mask(prompt.mask, 64).numpy()[0, 0] > 0
    logits = features["memory.mask_logits"]
    assert (logits[inside] > 0).all()
    assert (logits[~inside] < 0).mean() > 0.97
    assert logits.max() == pytest.approx(10, abs=1e-4)
    assert logits.min() == pytest.approx(-10, abs=1e-4)
    assert features["memory.object_score"] == 10


def test_an_empty_mask_is_an_object_that_is_not_there(tiny_teacher: Sam3Teacher) -> None:
    prompt = Prompt(object_id=1, frame=0, mask=encode_mask(np.zeros((4, 4), bool)))
    first = next(iter(tiny_teacher.track(random_frames(SIZE, 1), 1, [prompt])))
    assert first.objects[0].features["memory.object_score"] == -10


# 20 frames lie beyond the reach of the pointers, so that forgetting too much would show; in a
# clip of 5 the scale of the time encoding depends on the length.
@pytest.mark.parametrize(("kind", "count"), [("mask", 5), ("mask", 20), ("box", 5), ("point", 5)])
def test_tracking_is_what_transformers_computes(
    tiny_folder: Path, tiny_teacher: Sam3Teacher, kind: PromptKind, count: int
) -> None:
    """The tracker alone, with its own vision encoder, over the whole clip at once."""
    frames, prompt = random_frames(SIZE, count), box_prompt(5, 1)
    tracker = Sam3TrackerVideoModel.from_pretrained(tiny_folder, dtype=torch.float32).eval()
    video = normalize(torch.stack(frames), tiny_teacher.spec.preprocess)
    session = Sam3TrackerVideoInferenceSession(
        video=video, video_height=90, video_width=160, dtype=torch.float32
    )
    index = session.obj_id_to_idx(5)
    if kind == "mask":
        session.add_mask_inputs(index, 1, prompt_mask(prompt.mask, SIZE))
    else:
        session.add_point_inputs(index, 1, point_inputs(kind, prompt.mask, SIZE))
    session.obj_with_new_inputs = [5]
    seen = record_calls(tracker)
    expected = {
        output.frame_idx: output.pred_masks[0, 0].numpy()
        for output in tracker.propagate_in_video_iterator(session, start_frame_idx=1)
    }
    group = MEMORY_GROUPS[kind]
    wanted = [f"{group}.{leaf}" for leaf in ("mask_logits", "object_pointer", "iou", "conditioned")]
    found = {
        frame.frame: frame.objects[0].features
        for frame in tiny_teacher.track(frames, count, [prompt], wanted)
        if frame.objects
    }
    assert found.keys() == expected.keys()
    outputs = session.output_dict_per_obj[0]
    for frame, logits in expected.items():
        output = (outputs["cond_frame_outputs"] | outputs["non_cond_frame_outputs"])[frame]
        pointer = output["object_pointer"].flatten().numpy()
        for name, values in zip(wanted, (logits, pointer), strict=False):
            np.testing.assert_allclose(found[frame][name], values, atol=2e-4, err_msg=f"{frame}")
    # A mask goes past the decoder: SAM3 calls it certain, and makes no map for it.
    after = range(2 if kind == "mask" else 1, count)
    for frame, iou, conditioned in zip(after, seen["iou"][-len(after) :], seen["map"], strict=True):
        assert found[frame][f"{group}.iou"] == pytest.approx(iou.max().item(), abs=1e-5)
        np.testing.assert_allclose(
            found[frame][f"{group}.conditioned"], conditioned[0].numpy(), atol=2e-4
        )
    assert kind != "mask" or found[1][f"{group}.iou"] == 1


def record_calls(tracker: Any) -> dict[str, list[torch.Tensor]]:
    """Let the tracker note the maps that enter its decoder, and the IoU that come out of it."""
    seen: dict[str, list[torch.Tensor]] = {"iou": [], "map": []}
    prepare, decode = tracker._prepare_memory_conditioned_features, tracker._single_frame_forward

    def noting_prepare(**kwargs: Any) -> Any:
        seen["map"].append(prepare(**kwargs))
        return seen["map"][-1]

    def noting_decode(**kwargs: Any) -> Any:
        output = decode(**kwargs)
        seen["iou"].append(output.iou_scores)
        return output

    tracker._prepare_memory_conditioned_features = noting_prepare
    tracker._single_frame_forward = noting_decode
    return seen


def test_before_there_is_memory_the_map_is_that_of_the_image(
    tiny_teacher: Sam3Teacher, model: Any
) -> None:
    wanted = ["image.fpn72.tracker", "memory.conditioned", "memory.point.conditioned"]
    first = next(iter(tiny_teacher.track(random_frames(SIZE, 1), 1, [box_prompt(1, 0)], wanted)))
    missing = model.tracker_model.no_memory_embedding.detach().numpy().reshape(-1, 1, 1)
    for name in wanted[1:]:
        found = first.objects[0].features[name] - missing
        np.testing.assert_allclose(found, first.features["image.fpn72.tracker"], atol=1e-5)


def test_bfloat16_autocast_is_close_to_float32(
    tiny_folder: Path, tiny_teacher: Sam3Teacher
) -> None:
    options = TeacherOptions(precision="bfloat16-autocast", image_batch=2)
    rounded = Sam3Teacher.load(str(tiny_folder), options)
    batch = torch.stack(random_frames(SIZE, 2))
    exact = tiny_teacher.encode_images(batch)["image.trunk"]
    close = rounded.encode_images(batch)["image.trunk"]
    assert 0 < np.linalg.norm(close - exact) / np.linalg.norm(exact) < 0.02
    tracked = list(rounded.track(batch, 2, [box_prompt(1, 0)]))
    assert np.isfinite(tracked[1].objects[0].features["memory.maskmem"]).all()
    assert not torch.is_autocast_enabled("cpu")


def test_a_caller_between_frames_computes_in_its_own_mode(tiny_teacher: Sam3Teacher) -> None:
    for _ in tiny_teacher.track(random_frames(SIZE, 2), 2, [box_prompt(1, 0)]):
        assert not torch.is_inference_mode_enabled()


def test_spec_names_what_computes(tiny_teacher: Sam3Teacher) -> None:
    spec = tiny_teacher.spec
    assert spec.architecture == "Sam3VideoModel"
    assert spec.attention == "sdpa"
    assert spec.libraries["torch"] == ".".join(torch.__version__.split(".")[:2])
    assert spec.tokenize is not None
    assert (spec.preprocess.image_size, spec.tokenize.context) == (SIZE, 32)


def test_spec_is_the_same_for_a_resaved_copy(
    tiny_teacher: Sam3Teacher, model: Any, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "again", max_shard_size="10MB")
    assert len(list((tmp_path / "again").glob("*.safetensors"))) > 1
    assert Sam3Teacher.load(str(tmp_path / "again")).spec == tiny_teacher.spec


def test_spec_changes_with_a_weight_and_names_it(tiny_teacher: Sam3Teacher, copied: Path) -> None:
    path = copied / "model.safetensors"
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(body)
    other = Sam3Teacher.load(str(copied)).spec
    assert other.digest != tiny_teacher.spec.digest
    assert other.config == tiny_teacher.spec.config
    with pytest.raises(IdentityError, match="weights: "):
        tiny_teacher.spec.require_same(other, "test")


def test_spec_changes_with_the_options(tiny_folder: Path, tiny_teacher: Sam3Teacher) -> None:
    for options in (
        TeacherOptions(text_context=16),
        TeacherOptions(precision="bfloat16-autocast"),
    ):
        assert Sam3Teacher.load(str(tiny_folder), options).spec != tiny_teacher.spec
    batches = Sam3Teacher.load(str(tiny_folder), TeacherOptions(image_batch=2))
    assert batches.spec == tiny_teacher.spec


def test_refuses_weights_that_lack_a_tensor(copied: Path) -> None:
    tensors = load_file(copied / "model.safetensors")
    del tensors["detector_model.text_projection.weight"]
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"missing_keys.*text_projection"):
        Sam3Teacher.load(str(copied))


def test_refuses_weights_of_another_shape(copied: Path) -> None:
    tensors = load_file(copied / "model.safetensors")
    tensors["detector_model.text_projection.weight"] = torch.zeros(3, 3)
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match="text_projection"):
        Sam3Teacher.load(str(copied))


def test_refuses_unknown_weights(copied: Path) -> None:
    tensors = load_file(copied / "model.safetensors") | {"surplus": torch.zeros(2)}
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"unexpected_keys.*surplus"):
        Sam3Teacher.load(str(copied))


def test_refuses_a_folder_of_another_model(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"config\.json"):
        Sam3Teacher.load(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(DataError, match="expected sam3_video; got clip"):
        Sam3Teacher.load(str(tmp_path))


def test_refuses_a_folder_without_weights(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"model\.safetensors"):
        Sam3Teacher.load(str(copied))


@pytest.mark.parametrize("context", [1, 33])
def test_refuses_a_context_that_the_model_does_not_have(tiny_folder: Path, context: int) -> None:
    with pytest.raises(UsageError, match="2 to 32 tokens"):
        Sam3Teacher.load(str(tiny_folder), TeacherOptions(text_context=context))


@pytest.mark.parametrize("device", ["cuda:99", "warp"])
def test_refuses_a_device_that_is_not_there(tiny_folder: Path, device: str) -> None:
    with pytest.raises(UsageError, match=device):
        Sam3Teacher.load(str(tiny_folder), TeacherOptions(device=device))
