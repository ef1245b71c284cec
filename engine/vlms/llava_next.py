"""LLaVA-1.6 (LLaVA-NeXT): the image tokens of one base tile, or of all tiles, and concept rows right behind them."""

from pathlib import Path

import engine.core.device  # noqa: F401

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    CLIPImageProcessorPil,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

from engine.core.boxes import Box
from engine.vlms import attention
from engine.vlms.attention import Layout, Recorder
from engine.vlms.base import IGNORED, Generation, ImageFeatures, Losses, Tiles, check_complete, not_too_long, pad_lines
from engine.vlms.config import VlmConfig
from engine.vlms.frozen import FrozenVlm, load_readers

_NORMS = ("first-patch", "cls", "mean")


class LlavaNext(FrozenVlm):
    """A frozen LLaVA-NeXT and the places where MyVLM reaches into it.

    With `anyres` it sees what the checkpoint's own processor makes of a photo: the whole photo squashed to the
    base tile, then tiles of it in greater detail; without, the middle of the photo as one tile (the paper).
    """

    def __init__(
        self,
        model: LlavaNextForConditionalGeneration,
        image_processor: CLIPImageProcessorPil | LlavaNextImageProcessorPil,
        tokenizer: object,
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
        model, found = LlavaNextForConditionalGeneration.from_pretrained(
            folder, dtype=dtype, local_files_only=True, output_loading_info=True
        )
        check_complete(found, optional=() if config.anyres else ("model.image_newline",))  # between tiles only
        full, tokenizer = load_readers(folder)
        if config.anyres:
            return cls(model.to(device), full, tokenizer, config)
        base = CLIPImageProcessorPil(
            size=full.size,
            crop_size=full.crop_size,
            resample=full.resample,
            image_mean=full.image_mean,
            image_std=full.image_std,
        )
        return cls(model.to(device), base, tokenizer, config)

    @property
    def image_edge(self) -> int:
        """Side in pixels of the base tile."""
        return int(self.image_processor.crop_size["height"])

    def view(self, image: Image.Image) -> Box:
        """The middle square of a photo, which the base tile shows; with `anyres` the whole photo."""
        if self.config.anyres:
            return Box(0.0, 0.0, float(image.width), float(image.height))
        side = min(image.size)
        x, y = (image.width - side) / 2, (image.height - side) / 2
        return Box(x, y, x + side, y + side)

    def preprocess(self, images: list[Image.Image]) -> Tensor | Tiles:
        """Upright RGB images to (B, 3, S, S) float32: shortest edge resized, centre crop; or to `Tiles`."""
        if self.config.anyres:
            found = self.image_processor(images, return_tensors="pt")
            return Tiles(found["pixel_values"], found["image_sizes"])
        return self.image_processor([not_too_long(i) for i in images], return_tensors="pt")["pixel_values"]

    @torch.no_grad()
    def encode(self, pixel_values: Tensor | Tiles) -> ImageFeatures:
        """Image features: the configured hidden layer, projected; of one base tile a photo (no newline row), or of
        all its tiles as the model itself packs them.
        """
        if isinstance(pixel_values, Tiles):
            return self._encode_tiles(pixel_values)
        features, classes = self._project(pixel_values)
        return ImageFeatures(features, self._norms(features, classes))

    def _project(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Tiles (T, 3, S, S) to projected rows (T, N, D) and class tokens (T, width of the tower)."""
        inner, config = self.model.model, self.model.config
        pixels = pixel_values.to(self.device, self.model.dtype)
        hidden = inner.vision_tower(pixels, output_hidden_states=True).hidden_states[config.vision_feature_layer]
        kept = hidden[:, 1:] if config.vision_feature_select_strategy == "default" else hidden
        return inner.multi_modal_projector(kept), hidden[:, 0]

    def _norms(self, features: Tensor, classes: Tensor) -> Tensor:
        """The L2 norms (B,) that concept rows take, from base tiles' rows (B, N, D) and class tokens."""
        norm = self.config.injection.norm
        if norm == "mean":
            return features.float().norm(dim=-1).mean(1)
        return (classes if norm == "cls" else features[:, 0]).float().norm(dim=-1)

    def _encode_tiles(self, tiles: Tiles) -> ImageFeatures:
        inner, config = self.model.model, self.model.config
        pinpoints, side = config.image_grid_pinpoints, config.vision_config.image_size
        counts = [image_size_to_num_patches(size, pinpoints, side) for size in tiles.sizes]
        kept = torch.cat([own[:count] for own, count in zip(tiles.pixel_values, counts, strict=True)])
        features, classes = self._project(kept)
        packed, _ = inner.pack_image_features(
            features.split(counts),
            tiles.sizes,
            vision_feature_select_strategy=config.vision_feature_select_strategy,
            image_newline=inner.image_newline,
        )
        first = torch.tensor([sum(counts[:i]) for i in range(len(counts))], device=self.device)
        return ImageFeatures(packed, self._norms(features[first], classes[first]))

    def prompt(self, request: str) -> str:
        """The whole prompt with one `<image>` placeholder, up to and including the assistant's cue."""
        if self.config.template:
            return self.config.template.format(request=request)
        turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": request}]}]
        return self.tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)

    def encode_prompt(self, request: str) -> list[int]:
        """Token ids of a prompt with one image placeholder."""
        return self._encode(self.prompt(request))

    def encode_example(self, request: str, answer: str) -> tuple[list[int], list[int]]:
        """Ids and labels of a training example: the answer is supervised, and with `end_token` its end, too."""
        prompt = self.prompt(request)
        start = self._encode(prompt)
        ids = self._encode(f"{prompt} {answer}")
        if ids[: len(start)] != start:
            ids = start + self.tokenizer(answer, add_special_tokens=False).input_ids
        if self.config.injection.end_token:
            ids = [*ids, self.tokenizer.eos_token_id]
        return ids, [IGNORED] * len(start) + ids[len(start) :]

    def _encode(self, text: str) -> list[int]:
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
        """Teacher-forced losses of a batch, right-padded.

        rows[i]: (N + K_i, D) from `inject`; concepts[i]: K_i, how many of the last rows are concepts;
        ids[i], labels[i]: one image placeholder each, -100 where nothing is supervised. The penalty is a sum over
        photos; `penalty_weight` takes the place of the config's λ.
        """
        injection = self.config.injection
        recorder = self._layout(rows, concepts, ids).penalty(injection.penalty)
        hidden = self._run(rows, ids, recorder)
        targets = [self._expand(i, len(r), t) for i, r, t in zip(ids, rows, labels, strict=True)]
        padded = pad_lines(targets, IGNORED, self.device)[:, 1:]
        supervised = padded != IGNORED
        logits = self.model.lm_head(hidden[:, :-1][supervised]).float()
        weight = injection.penalty_weight if penalty_weight is None else penalty_weight
        penalty = weight * recorder.total() if recorder else logits.new_zeros(())
        return Losses(F.cross_entropy(logits, padded[supervised]), penalty)

    def _run(self, rows: list[Tensor], ids: list[list[int]], recorder: Recorder | None) -> Tensor:
        """Last hidden states of right-padded sequences: (B, S, D)."""
        grown = [self._expand(i, len(r), i) for i, r in zip(ids, rows, strict=True)]
        lengths = torch.tensor([len(g) for g in grown], device=self.device)
        mask = torch.arange(max(len(g) for g in grown), device=self.device)[None] < lengths[:, None]
        return self.model.model(
            input_ids=pad_lines(grown, self.pad_id, self.device),
            attention_mask=mask.long(),
            mm_encoder_outputs={"image": BaseModelOutputWithPooling(pooler_output=rows)},
            use_cache=False,
            **({"concept_attention": recorder} if recorder else {}),
        ).last_hidden_state

    def _layout(self, rows: list[Tensor], concepts: list[int], ids: list[list[int]]) -> Layout:
        image = self.model.config.image_token_id
        lengths = [len(r) + len(i) - 1 for r, i in zip(rows, ids, strict=True)]
        return Layout([i.index(image) for i in ids], [len(r) for r in rows], list(concepts), lengths)

    @torch.inference_mode()
    def concept_attention(self, rows: list[Tensor], concepts: list[int], ids: list[list[int]]) -> list[Tensor]:
        """Attention each concept row pays to each patch of the base tile, which is what `view` shows: (K_i, h, w)
        float32, over layers and heads; their sum is at most 1. The detail tiles of `anyres` are left out.
        """
        recorder = self._layout(rows, concepts, ids).maps()
        self._run(rows, ids, recorder)
        config = self.model.config
        grid = config.vision_config.image_size // config.vision_config.patch_size
        skip = 0 if config.vision_feature_select_strategy == "default" else 1
        return [m[:, skip : skip + grid * grid].reshape(-1, grid, grid) for m in recorder.maps()]

    @torch.inference_mode()
    def generate(self, rows: list[Tensor], ids: list[list[int]], max_new_tokens: int | None = None) -> list[Generation]:
        """Greedy answers to a batch of prompts with different numbers of rows, left-padded."""
        limit = max_new_tokens or self.config.max_new_tokens
        grown = [self._expand(i, len(r), i) for i, r in zip(ids, rows, strict=True)]
        longest = max(len(g) for g in grown)
        input_ids = pad_lines(grown, self.pad_id, self.device, left=True)
        lengths = torch.tensor([len(g) for g in grown], device=self.device)
        mask = torch.arange(longest, device=self.device)[None] >= longest - lengths[:, None]
        out = self.model.generate(
            input_ids=input_ids,
            attention_mask=mask.long(),
            mm_encoder_outputs={"image": BaseModelOutputWithPooling(pooler_output=rows)},
            max_new_tokens=limit,
            do_sample=False,
            pad_token_id=self.pad_id,
        )[:, longest:]
        return self.read(out)

    def _expand(self, ids: list[int], count: int, values: list[int]) -> list[int]:
        at = ids.index(self.model.config.image_token_id)
        return values[:at] + [values[at]] * count + values[at + 1 :]
