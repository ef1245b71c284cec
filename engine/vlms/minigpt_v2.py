"""MiniGPT-v2: patches of a squashed photo are merged in fours, and concept rows follow them (docs/method.md, 4)."""

from pathlib import Path
from typing import Any, ClassVar, cast

import engine.core.device  # noqa: F401

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    Blip2VisionConfig,
    Blip2VisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from engine.core.errors import UsageError
from engine.vlms import attention
from engine.vlms.attention import Layout, Recorder
from engine.vlms.base import IGNORED, Generation, ImageFeatures, Losses, Tiles, pad_lines
from engine.vlms.config import VlmConfig
from engine.vlms.decoder_prefixes import DecoderPrefixes
from engine.vlms.frozen import SquashingVlm, load_model, load_processors
from engine.vlms.model_types import AnyTokenizer, ImageProcessor, MiniGpt

FINAL_EPS = 1e-5
"""Epsilon of the layer norm after the vision blocks; within them it is the config's (docs/method.md, section 4)."""
PLACEHOLDER = "<ImageHere>"
IMAGE = -1
"""The id that stands for the image in a prompt; the vocabulary has no such id."""
_NORMS = ("mean", "all-but-last")


class MiniGptConfig(PreTrainedConfig):
    """Shapes of a converted MiniGPT-v2; `merge` is the number of consecutive patches that become one row."""

    model_type = "minigpt_v2"
    sub_configs: ClassVar[dict[str, type[PreTrainedConfig]]] = {
        "vision_config": Blip2VisionConfig,
        "text_config": LlamaConfig,
    }

    vision_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    merge: int = 4

    def __post_init__(self, **kwargs: Any) -> None:
        for name, kind in self.sub_configs.items():
            value = getattr(self, name)
            if not isinstance(value, PreTrainedConfig):
                setattr(self, name, kind(**(value or {})))
        super().__post_init__(**kwargs)


class MiniGptModel(PreTrainedModel):
    """Vision tower, projection and language model, under the names that the converter writes."""

    config_class = MiniGptConfig
    base_model_prefix = ""
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: MiniGptConfig) -> None:
        super().__init__(config)
        # `MiniGptConfig.__post_init__` makes a config of every dict.
        vision_config = cast(Blip2VisionConfig, config.vision_config)
        text_config = cast(LlamaConfig, config.text_config)
        self.vision_model = Blip2VisionModel._from_config(vision_config)
        self.vision_model.post_layernorm.eps = FINAL_EPS
        self.llama_proj = nn.Linear(config.merge * vision_config.hidden_size, text_config.hidden_size)
        self.language_model = LlamaForCausalLM._from_config(text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the language model's table of token embeddings."""
        return self.language_model.get_input_embeddings()

    def embed_images(self, pixel_values: Tensor) -> Tensor:
        """Convert pixels (B, 3, S, S) to image rows (B, N, D).

        The class token is dropped, and `merge` consecutive patches in raster order become one row.
        """
        patches = self.vision_model(pixel_values).last_hidden_state[:, 1:]  # (B, merge · N, D_vision)
        merged = patches.reshape(len(patches), -1, self.llama_proj.in_features)  # (B, N, merge · D_vision)
        return self.llama_proj(merged)  # (B, N, D)


class MiniGptV2(DecoderPrefixes, SquashingVlm[MiniGpt]):
    """A frozen MiniGPT-v2 with MyVLM's injection and penalty."""

    averages_penalty = True
    placeholder = IMAGE

    def __init__(
        self, model: MiniGptModel, image_processor: ImageProcessor | None, tokenizer: AnyTokenizer, config: VlmConfig
    ) -> None:
        attention.check_decoder(config, _NORMS)
        self._segments = _segments(config, config.template)
        self._training_segments = _segments(config, config.training_template or config.template)
        super().__init__(model, image_processor, tokenizer, config)
        self.model.language_model.set_attn_implementation(attention.register())

    @classmethod
    def load(cls, config: VlmConfig, folder: Path, device: torch.device, dtype: torch.dtype) -> "MiniGptV2":
        """Load a folder that `minigpt_convert` wrote.

        Raises:
            ValueError: weights are missing from it or have other shapes than its config says.
        """
        model = load_model(MiniGptModel, folder, device, dtype)
        return cls(model, *load_processors(folder, config=model.config.text_config), config)

    @property
    def decoder(self) -> Any:
        """The language model without its output layer."""
        return self.model.language_model.model

    @property
    def output_layer(self) -> Any:
        """Hidden states (T, D) to logits (T, V)."""
        return self.model.language_model.lm_head

    @torch.no_grad()
    def encode(self, pixel_values: Tensor | Tiles) -> ImageFeatures:
        """Compute the projected rows (B, N, D) of merged patches, and their mean L2 norm (B,)."""
        features = self.model.embed_images(self.to_model(pixel_values))  # (B, N, D)
        return ImageFeatures(features, features.float().norm(dim=-1).mean(1))

    def prompt(self, request: str) -> str:
        """Return the prompt with its image placeholder."""
        head, tail = self._segments
        return head + PLACEHOLDER + tail.format(request=request)

    def encode_prompt(self, request: str) -> list[int]:
        """Return the token ids of a prompt; `IMAGE` stands in the place of the image rows."""
        return self._encode(self._segments, request)

    def encode_example(self, request: str, answer: str) -> tuple[list[int], list[int]]:
        """Return ids and labels of a training example; the answer is supervised, and its end token with `end_token`."""
        start = self._encode(self._training_segments, request)
        target = self._tokens(answer)
        if self.config.injection.end_token:
            target = [*target, self.tokenizer.eos_token_id]
        return start + target, [IGNORED] * len(start) + target

    def _encode(self, segments: tuple[str, str], request: str) -> list[int]:
        """Tokenize the text before and after the image separately, as upstream does; one more `<s>` comes first."""
        head, tail = segments
        bos = self.tokenizer.bos_token_id
        start = [] if bos is None else [bos]
        return [*start, *self._tokens(head), IMAGE, *self._tokens(tail.format(request=request))]

    def _tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _embed(self, ids: list[int], rows: Tensor) -> Tensor:
        """Embed a prompt of L ids with rows (N + K, D) in the place of the image: (L - 1 + N + K, D)."""
        at = ids.index(IMAGE)
        text = torch.tensor(ids[:at] + ids[at + 1 :], device=self.device)  # (L - 1,)
        embedded = self.model.get_input_embeddings()(text)  # (L - 1, D)
        return torch.cat([embedded[:at], rows.to(embedded.dtype), embedded[at:]])

    def _run(self, rows: list[Tensor], ids: list[list[int]], recorder: Recorder | None) -> Tensor:
        """Return the last hidden states of right-padded sequences: (B, S, D)."""
        sequences = [self._embed(i, r) for i, r in zip(ids, rows, strict=True)]
        inputs_embeds = pad_sequence(sequences, batch_first=True)  # (B, S, D)
        lengths = torch.tensor([len(s) for s in sequences], device=self.device)  # (B,)
        mask = torch.arange(inputs_embeds.shape[1], device=self.device)[None] < lengths[:, None]  # (B, S)
        return self.model.language_model.model(
            inputs_embeds=inputs_embeds,
            attention_mask=mask.long(),
            use_cache=False,
            **({"concept_attention": recorder} if recorder else {}),
        ).last_hidden_state

    @staticmethod
    def _layout(rows: list[Tensor], concepts: list[int], ids: list[list[int]]) -> Layout:
        lengths = [len(r) + len(i) - 1 for r, i in zip(rows, ids, strict=True)]
        return Layout([i.index(IMAGE) for i in ids], [len(r) for r in rows], list(concepts), lengths)

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
        ids[i], labels[i]: with one `IMAGE` each; labels are -100 where nothing is supervised. The penalty is a mean
        over the photos that have a concept. penalty_weight: used instead of the config's λ.
        """
        injection = self.config.injection
        recorder = self._layout(rows, concepts, ids).penalty(injection.penalty)
        hidden = self._run(rows, ids, recorder)  # (B, S, D)
        expanded = [_expand(i, len(r), t) for i, r, t in zip(ids, rows, labels, strict=True)]
        targets = pad_lines(expanded, IGNORED, self.device)[:, 1:]  # (B, S - 1)
        supervised = targets != IGNORED  # (B, S - 1)
        logits = self.model.language_model.lm_head(hidden[:, :-1][supervised]).float()  # (T, V), T supervised tokens
        weight = injection.penalty_weight if penalty_weight is None else penalty_weight
        penalty = weight * recorder.mean() if recorder else logits.new_zeros(())
        return Losses(F.cross_entropy(logits, targets[supervised]), penalty)

    @torch.inference_mode()
    def generate(self, rows: list[Tensor], ids: list[list[int]], max_new_tokens: int | None = None) -> list[Generation]:
        """Generate greedy answers to a left-padded batch of prompts; photos may have different numbers of rows."""
        count, rows, ids = len(rows), self.decoding.fill(rows), self.decoding.fill(ids)
        sequences = [self._embed(i, r) for i, r in zip(ids, rows, strict=True)]
        inputs_embeds = pad_sequence(sequences, batch_first=True, padding_side="left")  # (B, S, D)
        longest = inputs_embeds.shape[1]
        lengths = torch.tensor([len(s) for s in sequences], device=self.device)  # (B,)
        mask = torch.arange(longest, device=self.device)[None] >= longest - lengths[:, None]  # (B, S)
        generated = self.decoding.generate(
            self.model.language_model,
            prompt=longest,
            inputs_embeds=inputs_embeds,
            attention_mask=mask.long(),
            max_new_tokens=max_new_tokens or self.config.max_new_tokens,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.pad_id,
        )
        return self.decode(generated[:count])

    @torch.inference_mode()
    def concept_attention(self, rows: list[Tensor], concepts: list[int], ids: list[list[int]]) -> list[Tensor]:
        """Map the attention from each concept row to the patches: (K_i, h, w) float32 for each photo.

        It is averaged over layers and heads; the sum of a map is at most 1. A row stands for `merge` consecutive
        patches, each of which gets an equal share of its attention.
        """
        recorder = self._layout(rows, concepts, ids).maps()
        self._run(rows, ids, recorder)
        vision, merge = self.model.config.vision_config, self.model.config.merge
        grid = int(vision.image_size) // int(vision.patch_size)
        return [(m / merge).repeat_interleave(merge, 1).reshape(-1, grid, grid) for m in recorder.maps()]


def _expand(ids: list[int], count: int, labels: list[int]) -> list[int]:
    """Replace the label at the image by `count` labels that are not supervised."""
    at = ids.index(IMAGE)
    return labels[:at] + [IGNORED] * count + labels[at + 1 :]


def _segments(config: VlmConfig, template: str | None) -> tuple[str, str]:
    """Split a prompt template into the text before and after the image.

    Raises:
        UsageError: the template does not have one placeholder.
    """
    parts = (template or "").split(PLACEHOLDER)
    if len(parts) != 2:
        raise UsageError(f"a prompt of {config.name} needs one {PLACEHOLDER}: {template!r}")
    return parts[0], parts[1]
