"""SAM3 by transformers: one ``Sam3VideoModel`` holds trunk, text encoder and tracker.

Suffixes: B batch, C channels, G side of the feature grid, H height, W width, P phrases,
T tokens, D width of a token.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
import transformers
from transformers import Sam3VideoConfig, Sam3VideoModel
from transformers.utils import logging as transformers_logging

from pipelines.media.preprocess import normalize
from pipelines.teachers.base import (
    MEMORY,
    PROMPTED,
    TRUNK,
    DeviceFeatures,
    Features,
    TeacherOptions,
    TrackedFrame,
    make_feature,
)
from pipelines.teachers.digests import CONFIG_FILE, digest_config, digest_weights
from pipelines.teachers.hub import local_folder
from pipelines.teachers.image_maps import ImageMaps, map_shapes
from pipelines.teachers.observed_tracker import ObservedTracker
from pipelines.teachers.prompt_decoder import PromptDecoder
from pipelines.teachers.tokenize import tokenize, tokenize_spec
from pipelines.teachers.tracking import ClipTracker, to_numpy
from schemas.errors import DataError, UsageError
from schemas.features import MEMORY_GROUPS, FeatureSpec, PreprocessSpec, TeacherSpec
from schemas.ids import parse_json
from schemas.prompts import PointPrompt
from schemas.videos import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Sam3Identity:
    """A SAM3 that is not loaded; see ``pipelines.teachers.base.TeacherIdentity``."""

    spec: TeacherSpec
    shapes: dict[str, tuple[int, ...]]

    def feature(self, name: str, codec: str | None = None) -> FeatureSpec:
        """See ``TeacherIdentity.feature``."""
        return make_feature(name, self.shapes, codec)


class Sam3Teacher:
    """A frozen SAM3; see ``pipelines.teachers.base.Teacher``."""

    def __init__(self, model: Sam3VideoModel, spec: TeacherSpec, options: TeacherOptions) -> None:
        self._model = model
        self._spec = spec
        self._device = torch.device(options.device)
        self._image_batch = options.image_batch
        self._context = options.text_context
        self._shapes = feature_shapes(model.config, self._context)
        self._maps = ImageMaps(model)
        self._prompts = PromptDecoder(model)
        ObservedTracker.observe(model.tracker_model)

    @classmethod
    def load(cls, name_or_path: str, options: TeacherOptions | None = None) -> Sam3Teacher:
        """Load a teacher from a folder, or from the hub by ``OWNER/NAME``.

        Raises
        ------
        DownloadError
            The hub does not hand it out; the message says what to do.
        DataError
            The folder is not a whole ``Sam3VideoModel``: other model, missing or unknown weights.
        UsageError
            The name or an option cannot be right.
        """
        options = options or TeacherOptions()
        _check_device(options.device)
        folder = local_folder(name_or_path, options.revision)
        _check_config(folder / CONFIG_FILE)
        weights = digest_weights(folder)
        model = _load_model(folder)
        if options.compile:
            model.detector_model.vision_encoder.backbone.compile(dynamic=False)
        _check_context(options.text_context, model.config)
        return cls(model.to(options.device), _make_spec(model, weights, options), options)

    @classmethod
    def identify(cls, name_or_path: str, options: TeacherOptions | None = None) -> Sam3Identity:
        """Return the identity of what ``load`` loads, by hashing its weights, in little memory.

        Whether they are the weights of this configuration shows only when they are loaded.
        """
        options = options or TeacherOptions()
        folder = local_folder(name_or_path, options.revision)
        _check_config(folder / CONFIG_FILE)
        # A model without weights settles what the configuration leaves open, such as attention.
        with torch.device("meta"):
            model = Sam3VideoModel(Sam3VideoConfig.from_pretrained(folder))
        _check_context(options.text_context, model.config)
        return Sam3Identity(
            spec=_make_spec(model, digest_weights(folder), options),
            shapes=feature_shapes(model.config, options.text_context),
        )

    @property
    def spec(self) -> TeacherSpec:
        """See ``Teacher.spec``."""
        return self._spec

    def feature(self, name: str, codec: str | None = None) -> FeatureSpec:
        """See ``Teacher.feature``."""
        return make_feature(name, self._shapes, codec)

    @property
    def device(self) -> torch.device:
        """See ``Teacher.device``."""
        return self._device

    def encode_images(self, batch_BCHW: torch.Tensor, wanted: Collection[str] = TRUNK) -> Features:
        """See ``Teacher.encode_images``."""
        found = self.encode_on_device(batch_BCHW, wanted)
        return {name: to_numpy(values) for name, values in found.items()}

    def encode_on_device(
        self, batch_BCHW: torch.Tensor, wanted: Collection[str] = TRUNK
    ) -> DeviceFeatures:
        """See ``Teacher.encode_on_device``."""
        with self._computing():
            return self._maps.compute(self._pixels(batch_BCHW), wanted)

    def encode_prompts(
        self,
        batch_BCHW: torch.Tensor,
        prompts: Sequence[Sequence[PointPrompt]],
        wanted: Collection[str] = PROMPTED,
    ) -> DeviceFeatures:
        """See ``Teacher.encode_prompts``."""
        maps = [name for name in wanted if name not in PROMPTED]
        with self._computing():
            tokens_BTC, blocks = self._maps.trunk(self._pixels(batch_BCHW), maps)
            decoded = self._prompts.decode(tokens_BTC, prompts)
            found = blocks | self._maps.of_trunk(tokens_BTC, maps) | decoded
        return {name: found[name] for name in wanted}

    def decode_prompts(
        self, trunk_BCGG: torch.Tensor, prompts: Sequence[Sequence[PointPrompt]]
    ) -> DeviceFeatures:
        """Return ``PROMPTED`` for prompts on estimates of ``image.trunk``, as ``encode_prompts``.

        The gradient flows to the estimates: a student learns from masks by frozen decoders. Call
        it under the autocast of the training step.
        """
        return self._prompts.decode(trunk_BCGG.flatten(2).transpose(1, 2), prompts)

    def encode_text(self, phrases: Sequence[str]) -> Features:
        """See ``Teacher.encode_text``."""
        tokens = tokenize(phrases, self._context)
        mask_PT = torch.from_numpy(tokens.mask_PT).to(self._device)
        with self._computing():
            tokens_PTD = self._model.detector_model.get_text_features(
                input_ids=torch.from_numpy(tokens.ids_PT).to(self._device),
                attention_mask=mask_PT,
                return_dict=True,
            ).pooler_output
            # Features of padding depend on how much of it there is: nobody shall learn them.
            tokens_PTD = tokens_PTD * mask_PT[:, :, None]
        return {"text.tokens": to_numpy(tokens_PTD), "text.mask": tokens.mask_PT}

    def track(
        self,
        frames: Iterable[torch.Tensor],
        frame_count: int,
        prompts: Sequence[Prompt],
        wanted: Collection[str] = TRUNK + MEMORY,
    ) -> Iterator[TrackedFrame]:
        """See ``Teacher.track``."""
        tracker = ClipTracker(self._model, frame_count, prompts, wanted)
        return self._walk(iter(frames), frame_count, tracker, wanted)

    def _walk(
        self,
        frames: Iterator[torch.Tensor],
        frame_count: int,
        tracker: ClipTracker,
        wanted: Collection[str],
    ) -> Iterator[TrackedFrame]:
        frame = 0
        while batch := list(itertools.islice(frames, self._image_batch)):
            if frame + len(batch) > frame_count:
                raise DataError("clip", expected=f"{frame_count} frames", got="more")
            with self._computing():
                tokens_BTC, blocks = self._maps.trunk(self._pixels(torch.stack(batch)), wanted)
            for place in range(len(batch)):
                one = slice(place, place + 1)
                maps = {name: values[one] for name, values in blocks.items()}
                yield self._step(tracker, frame, tokens_BTC[one], maps, wanted)
                frame += 1
        if frame < frame_count:
            raise DataError("clip", expected=f"{frame_count} frames", got=frame)

    def _step(
        self,
        tracker: ClipTracker,
        frame: int,
        tokens_1TC: torch.Tensor,
        blocks: DeviceFeatures,
        wanted: Collection[str],
    ) -> TrackedFrame:
        with self._computing():
            maps = blocks | self._maps.of_trunk(tokens_1TC, wanted)
            return TrackedFrame(
                frame=frame,
                features={name: to_numpy(values[0]) for name, values in maps.items()},
                objects=tracker.step(frame, tokens_1TC),
            )

    def _pixels(self, batch_BCHW: torch.Tensor) -> torch.Tensor:
        """Return what the trunk takes, on the device."""
        size = self._spec.preprocess.image_size
        if batch_BCHW.dtype != torch.uint8 or batch_BCHW.shape[1:] != (3, size, size):
            raise DataError(
                "image batch",
                expected=f"uint8 [B, 3, {size}, {size}]",
                got=f"{batch_BCHW.dtype} {list(batch_BCHW.shape)}",
            )
        return normalize(batch_BCHW.to(self._device, non_blocking=True), self._spec.preprocess)

    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        """Forward passes only, in the spec's precision, with repeatable kernels.

        Never held across a ``yield`` to the caller, whose own code it would govern.
        """
        autocast = torch.autocast(
            self._device.type,
            dtype=torch.bfloat16,
            enabled=self._spec.precision == "bfloat16-autocast",
        )
        # TF32 would make "float32" mean 10 bits of mantissa in convolutions.
        kernels = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), kernels, autocast:
            yield


def _make_spec(model: Sam3VideoModel, weights: str, options: TeacherOptions) -> TeacherSpec:
    return TeacherSpec(
        architecture=type(model).__name__,
        config=digest_config(model.config.to_json_string(use_diff=False)),
        weights=weights,
        preprocess=PreprocessSpec(image_size=model.config.image_size),
        tokenize=tokenize_spec(options.text_context),
        precision=options.precision,
        attention=model.config._attn_implementation,
        libraries={
            "torch": _major_minor(torch.__version__),
            "transformers": _major_minor(transformers.__version__),
        },
    )


class _ModelType(msgspec.Struct):
    model_type: str


def _check_config(path: Path) -> None:
    if not path.exists():
        raise DataError(f"teacher {path.parent}", expected=f"a {path.name} in it", got="none")
    found = parse_json(path.read_bytes(), _ModelType, str(path)).model_type
    expected = Sam3VideoConfig.model_type
    if found != expected:
        raise DataError(f"teacher {path.parent}: model_type", expected=expected, got=found)


def _load_model(folder: Path) -> Sam3VideoModel:
    # Many actors load at once: their bars would write over each other.
    transformers_logging.disable_progress_bar()
    # A tensor of another shape shall be in the report, with its name, like any other misfit.
    model, report = Sam3VideoModel.from_pretrained(
        folder,
        dtype=torch.float32,
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    wrong = {kind: sorted(map(str, keys))[:3] for kind, keys in report.items() if keys}
    if wrong:
        raise DataError(
            f"teacher {folder} does not fit its {CONFIG_FILE}",
            expected="every weight, and no other",
            got=wrong,
            fix="Use the model's own config.json with its own weights.",
        )
    return model.requires_grad_(False).eval()


def feature_shapes(config: Sam3VideoConfig, context: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of a row of each feature, by the model's configuration."""
    detector, tracker = config.detector_config, config.tracker_config
    trunk = detector.vision_config.backbone_config
    grid, width = trunk.image_size // trunk.patch_size, tracker.vision_config.fpn_hidden_size
    memory: dict[str, tuple[int, ...]] = {
        "maskmem": (tracker.memory_encoder_output_channels, grid, grid),
        "object_pointer": (width,),
        "mask_logits": (4 * grid, 4 * grid),
        "object_score": (),
        "iou": (),
        "conditioned": (width, grid, grid),
    }
    return {
        **map_shapes(config),
        "text.tokens": (context, detector.detr_encoder_config.hidden_size),
        "text.mask": (context,),
        **{
            f"{group}.{leaf}": shape
            for group in MEMORY_GROUPS.values()
            for leaf, shape in memory.items()
        },
        "prompts.points": (2,),
        "prompts.boxes": (4,),
        "prompts.mask_logits": memory["mask_logits"],
        "prompts.iou": (),
    }


def _check_device(name: str) -> None:
    try:
        device = torch.device(name)
    except RuntimeError as cause:
        raise UsageError("device", expected="cpu, cuda or cuda:N", got=repr(name)) from cause
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device {name}",
            expected="one of this machine's CUDA devices",
            got=f"{torch.cuda.device_count()} of them",
            fix="Use --device cpu, or run where the device is.",
        )


def _check_context(context: int, config: Sam3VideoConfig) -> None:
    limit = config.detector_config.text_config.max_position_embeddings
    if not 2 <= context <= limit:
        raise UsageError("text context", expected=f"2 to {limit} tokens", got=context)


def _major_minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
