"""LLaVA-1.6 (LLaVA-NeXT): concept rows follow the image rows of one base tile, or of all tiles (docs/method.md, 3)."""

from pathlib import Path
from typing import Any, cast

import engine.core.device  # noqa: F401

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPImageProcessorPil, LlavaNextForConditionalGeneration, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

from engine.core.boxes import Box
from engine.vlms import attention
from engine.vlms.attention import Layout, Recorder
from engine.vlms.base import IGNORED, Generation, ImageFeatures, Losses, Tiles, limit_aspect_ratio, pad_lines
from engine.vlms.config import VlmConfig
from engine.vlms.decoder_prefixes import DecoderPrefixes
from engine.vlms.frozen import FrozenVlm, load_model, load_processors
from engine.vlms.model_types import AnyTokenizer, ImageProcessor, LlavaModel

_NORMS = ("first-patch", "cls", "mean")


class LlavaNext(DecoderPrefixes, FrozenVlm[LlavaModel]):
    """A frozen LLaVA-NeXT with MyVLM's injection and penalty.

    With `anyres` the vision tower receives what the checkpoint's own processor makes of a photo: the whole photo
    squashed to the base tile, then tiles of it in greater detail. Without, it receives the middle of the photo as
    one tile (paper).
    """

    def __init__(
        self,
        model: LlavaNextForConditionalGeneration,
        image_processor: ImageProcessor | None,
        tokenizer: AnyTokenizer,
        config: VlmConfig,
    ) -> None:
        attention.check_decoder(config, _NORMS)
        super().__init__(model, image_processor, tokenizer, config)
        self.model.set_attn_implementation({"text_config": attention.register()})

    @classmethod
    def load(cls, config: VlmConfig, folder: Path, device: torch.device, dtype: torch.dtype) -> "LlavaNext":
        """Load a checkpoint folder in the hub's layout.

        Raises:
            ValueError: weights are missing from it.
        """
        optional = () if config.anyres else ("model.image_newline",)  # the newline row stands between tiles only
        model = load_model(LlavaNextForConditionalGeneration, folder, device, dtype, optional=optional)
        tiling, tokenizer = load_processors(folder)
        processor = tiling if config.anyres else _one_tile(tiling)
        return cls(model, processor, tokenizer, config)

    @classmethod
    def of_one_tile(cls, model: PreTrainedModel, processor: Any, config: VlmConfig) -> "LlavaNext":
        """Make the adapter of a model that is loaded already, with its processor; photos become one base tile."""
        return cls(cast(Any, model), _one_tile(processor.image_processor), processor.tokenizer, config)

    @property
    def image_edge(self) -> int:
        """Return the side of the base tile in pixels."""
        return int(self.image_processor.crop_size["height"])

    @property
    def decoder(self) -> Any:
        """The language model without its output layer."""
        return self.model.model.language_model

    @property
    def output_layer(self) -> Any:
        """Hidden states (T, D) to logits (T, V)."""
        return self.model.lm_head

    @property
    def placeholder(self) -> int:
        """The id that stands for the photo's rows."""
        return self.model.config.image_token_id

    def view(self, image: Image.Image) -> Box:
        """Return the middle square of a photo, which the base tile shows; with `anyres` the whole photo."""
        if self.config.anyres:
            return Box(0.0, 0.0, float(image.width), float(image.height))
        side = min(image.size)
        x, y = (image.width - side) / 2, (image.height - side) / 2
        return Box(x, y, x + side, y + side)

    def preprocess(self, images: list[Image.Image]) -> Tensor | Tiles:
        """Convert upright RGB images to (B, 3, S, S) float32 (shortest edge resized, centre crop), or to `Tiles`."""
        if self.config.anyres:
            inputs = self.image_processor(images, return_tensors="pt")
            return Tiles(inputs["pixel_values"], inputs["image_sizes"])
        return self.one_tile(images)

    def one_tile(self, images: list[Image.Image]) -> Tensor:
        """Convert upright RGB images to base tiles (B, 3, S, S) float32: shortest edge resized, centre crop."""
        return self.image_processor([limit_aspect_ratio(i) for i in images], return_tensors="pt")["pixel_values"]

    @torch.no_grad()
    def encode(self, pixel_values: Tensor | Tiles) -> ImageFeatures:
        """Compute image features: a hidden layer of the vision tower, projected.

        With one base tile a photo there is no newline row; tiles are packed as the model itself does it.
        """
        if isinstance(pixel_values, Tiles):
            return self._encode_tiles(pixel_values)
        features, class_tokens = self._project(pixel_values)
        return ImageFeatures(features, self._norms(features, class_tokens))

    def _project(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Encode and project tiles (T, 3, S, S); returns rows (T, N, D) and class tokens (T, D_vision)."""
        model, config = self.model.model, self.model.config
        pixel_values = pixel_values.to(self.device, self.model.dtype)
        layers = model.vision_tower(pixel_values, output_hidden_states=True).hidden_states
        hidden = layers[config.vision_feature_layer]  # (T, 1 + N, D_vision)
        kept = hidden[:, 1:] if config.vision_feature_select_strategy == "default" else hidden
        return model.multi_modal_projector(kept), hidden[:, 0]  # (T, N, D), (T, D_vision)

    def _norms(self, features: Tensor, class_tokens: Tensor) -> Tensor:
        """Return the L2 norms of concept rows (B,), from base tiles' rows (B, N, D) and class tokens (B, D_vision)."""
        norm = self.config.injection.norm
        if norm == "mean":
            return features.float().norm(dim=-1).mean(1)  # (B,)
        return (class_tokens if norm == "cls" else features[:, 0]).float().norm(dim=-1)  # (B,)

    def _encode_tiles(self, tiles: Tiles) -> ImageFeatures:
        """Encode all tiles of a batch at once; each photo's rows (N_i, D) hold those of its tiles and newline rows."""
        model, config = self.model.model, self.model.config
        pinpoints, side = config.image_grid_pinpoints, config.vision_config.image_size
        counts = [image_size_to_num_patches(size, pinpoints, side) for size in tiles.sizes]
        unpadded = [pixels[:count] for pixels, count in zip(tiles.pixel_values, counts, strict=True)]
        features, class_tokens = self._project(torch.cat(unpadded))  # (sum of counts, N, D)
        packed, _ = model.pack_image_features(
            features.split(counts),
            tiles.sizes,
            vision_feature_select_strategy=config.vision_feature_select_strategy,
            image_newline=model.image_newline,
        )
        base = torch.tensor([sum(counts[:i]) for i in range(len(counts))], device=self.device)  # (B,): base tiles
        return ImageFeatures(packed, self._norms(features[base], class_tokens[base]))

    def prompt(self, request: str) -> str:
        """Return the prompt with one `<image>` placeholder, up to and including the assistant's cue."""
        if self.config.template:
            return self.config.template.format(request=request)
        turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": request}]}]
        return self.tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)

    def encode_prompt(self, request: str) -> list[int]:
        """Return the token ids of a prompt with one image placeholder."""
        return self.encode_text(self.prompt(request))

    def encode_example(self, request: str, answer: str) -> tuple[list[int], list[int]]:
        """Return ids and labels of a training example; the answer is supervised, and its end token with `end_token`."""
        prompt = self.prompt(request)
        start = self.encode_text(prompt)
        ids = self.encode_text(f"{prompt} {answer}")
        if ids[: len(start)] != start:
            ids = start + self.tokenizer(answer, add_special_tokens=False).input_ids
        if self.config.injection.end_token:
            ids = [*ids, self.tokenizer.eos_token_id]
        return ids, [IGNORED] * len(start) + ids[len(start) :]

    def encode_text(self, text: str) -> list[int]:
        """Return the token ids of a text, with one start token."""
        ids = self.tokenizer(text).input_ids
        start = self.tokenizer.bos_token_id
        return ids if start is None or ids[:1] == [start] else [start, *ids]

    def loss(
        self,
        rows: list[Tensor],
        concepts: list[int],
        ids: list[list[int]],
        labels: list[list[int]],
        penalty_weight: float | None = None,
    ) -> Losses:
        """Compute the teacher-forced losses of a right-padded batch.

        rows[i]: (N + K_i, D) from `inject`; concepts[i]: K_i, how many of the last rows are concepts;
        ids[i], labels[i]: with one image placeholder each; labels are -100 where nothing is supervised. The penalty is
        a sum over photos. penalty_weight: used instead of the config's λ.
        """
        injection = self.config.injection
        recorder = self._layout(rows, concepts, ids).penalty(injection.penalty)
        hidden = self._run(rows, ids, recorder)  # (B, S, D)
        expanded = [self._expand(i, len(r), t) for i, r, t in zip(ids, rows, labels, strict=True)]
        targets = pad_lines(expanded, IGNORED, self.device)[:, 1:]  # (B, S - 1)
        supervised = targets != IGNORED  # (B, S - 1)
        logits = self.model.lm_head(hidden[:, :-1][supervised]).float()  # (T, V), T supervised tokens
        weight = injection.penalty_weight if penalty_weight is None else penalty_weight
        penalty = weight * recorder.total() if recorder else logits.new_zeros(())
        return Losses(F.cross_entropy(logits, targets[supervised]), penalty)

    def _run(self, rows: list[Tensor], ids: list[list[int]], recorder: Recorder | None) -> Tensor:
        """Return the last hidden states of right-padded sequences: (B, S, D)."""
        expanded = [self._expand(i, len(r), i) for i, r in zip(ids, rows, strict=True)]
        lengths = torch.tensor([len(e) for e in expanded], device=self.device)  # (B,)
        mask = torch.arange(max(len(e) for e in expanded), device=self.device)[None] < lengths[:, None]  # (B, S)
        return self.model.model(
            input_ids=pad_lines(expanded, self.pad_id, self.device),
            attention_mask=mask.long(),
            mm_encoder_outputs=encoder_outputs(rows),
            use_cache=False,
            **({"concept_attention": recorder} if recorder else {}),
        ).last_hidden_state

    def _layout(self, rows: list[Tensor], concepts: list[int], ids: list[list[int]]) -> Layout:
        image = self.model.config.image_token_id
        lengths = [len(r) + len(i) - 1 for r, i in zip(rows, ids, strict=True)]
        return Layout([i.index(image) for i in ids], [len(r) for r in rows], list(concepts), lengths)

    @torch.inference_mode()
    def concept_attention(self, rows: list[Tensor], concepts: list[int], ids: list[list[int]]) -> list[Tensor]:
        """Map the attention from each concept row to the patches of the base tile, which shows `view`.

        Returns for each photo (K_i, h, w) float32, averaged over layers and heads; the sum of a map is at most 1. The
        detail tiles of `anyres` are left out.
        """
        recorder = self._layout(rows, concepts, ids).maps()
        self._run(rows, ids, recorder)
        config = self.model.config
        grid = config.vision_config.image_size // config.vision_config.patch_size
        skip = 0 if config.vision_feature_select_strategy == "default" else 1
        return [m[:, skip : skip + grid * grid].reshape(-1, grid, grid) for m in recorder.maps()]

    @torch.inference_mode()
    def generate(self, rows: list[Tensor], ids: list[list[int]], max_new_tokens: int | None = None) -> list[Generation]:
        """Generate greedy answers to a left-padded batch of prompts; photos may have different numbers of rows."""
        count, rows, ids = len(rows), self.decoding.fill(rows), self.decoding.fill(ids)
        expanded = [self._expand(i, len(r), i) for i, r in zip(ids, rows, strict=True)]
        longest = max(len(e) for e in expanded)
        lengths = torch.tensor([len(e) for e in expanded], device=self.device)  # (B,)
        mask = torch.arange(longest, device=self.device)[None] >= longest - lengths[:, None]  # (B, S)
        generated = self.decoding.generate(
            self.model,
            prompt=longest,
            input_ids=pad_lines(expanded, self.pad_id, self.device, left=True),
            attention_mask=mask.long(),
            mm_encoder_outputs=encoder_outputs(rows),
            max_new_tokens=max_new_tokens or self.config.max_new_tokens,
            pad_token_id=self.pad_id,
        )
        return self.decode(generated[:count, longest:])  # generate returns the prompt, too

    def _expand(self, ids: list[int], count: int, values: list[int]) -> list[int]:
        """Repeat the value at the image placeholder `count` times; `values` are the ids or labels of `ids`."""
        at = ids.index(self.model.config.image_token_id)
        return values[:at] + [values[at]] * count + values[at + 1 :]


def _one_tile(tiling: ImageProcessor) -> ImageProcessor:
    """Make the processor of a single base tile: shortest edge resized, centre crop, the same normalisation."""
    processor = CLIPImageProcessorPil(
        size=tiling.size,
        crop_size=tiling.crop_size,
        resample=tiling.resample,
        image_mean=tiling.image_mean,
        image_std=tiling.image_std,
    )
    return cast(ImageProcessor, processor)  # its annotations allow what a loaded processor never holds


def encoder_outputs(rows: list[Tensor]) -> dict[str, BaseModelOutputWithPooling]:
    """Wrap rows (N + K_i, D) in the form in which LLaVA-NeXT takes precomputed image features."""
    # The field is annotated as one tensor; LLaVA-NeXT's own encoder puts a list there, one tensor a photo.
    return {"image": BaseModelOutputWithPooling(pooler_output=cast(Tensor, rows))}
