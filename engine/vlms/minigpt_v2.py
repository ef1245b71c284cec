"""MiniGPT-v2: a photo squashed to a square, patches merged in fours, concept rows right behind them."""

from pathlib import Path
from typing import Any, ClassVar

import engine.core.device  # noqa: F401

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    Blip2VisionConfig,
    Blip2VisionModel,
    BlipImageProcessorPil,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from engine.core.errors import UsageError
from engine.vlms import attention
from engine.vlms.attention import Layout, Recorder
from engine.vlms.base import IGNORED, Generation, ImageFeatures, Losses, check_complete, pad_lines
from engine.vlms.config import VlmConfig
from engine.vlms.frozen import SquashingVlm, load_readers

FINAL_EPS = 1e-5
"""Epsilon of the layer norm behind the vision blocks; inside them it is the config's (method.md §4)."""
PLACEHOLDER = "<ImageHere>"
IMAGE = -1
"""Stands for the image among the ids of a prompt."""
_NORMS = ("mean", "all-but-last")


class MiniGptConfig(PreTrainedConfig):
    """Shapes of a converted MiniGPT-v2; `merge`: how many consecutive patches become one row."""

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
            own = getattr(self, name)
            if not isinstance(own, PreTrainedConfig):
                setattr(self, name, kind(**(own or {})))
        super().__post_init__(**kwargs)


class MiniGptModel(PreTrainedModel):
    """Vision tower, projection and language model, under the names that the converter writes."""

    config_class = MiniGptConfig
    base_model_prefix = ""
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: MiniGptConfig) -> None:
        super().__init__(config)
        self.vision_model = Blip2VisionModel._from_config(config.vision_config)
        self.vision_model.post_layernorm.eps = FINAL_EPS
        self.llama_proj = nn.Linear(config.merge * config.vision_config.hidden_size, config.text_config.hidden_size)
        self.language_model = LlamaForCausalLM._from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The language model's."""
        return self.language_model.get_input_embeddings()

    def look(self, pixel_values: Tensor) -> Tensor:
        """Pixels (B, 3, S, S) to image rows (B, N, D): class token dropped, `merge` raster neighbours a row."""
        patches = self.vision_model(pixel_values).last_hidden_state[:, 1:]
        return self.llama_proj(patches.reshape(len(patches), -1, self.llama_proj.in_features))


class MiniGptV2(SquashingVlm):
    """A frozen MiniGPT-v2 and the places where MyVLM reaches into it."""

    def __init__(
        self, model: MiniGptModel, image_processor: BlipImageProcessorPil, tokenizer: object, config: VlmConfig
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
        model, found = MiniGptModel.from_pretrained(
            folder, dtype=dtype, local_files_only=True, output_loading_info=True
        )
        check_complete(found)
        return cls(model.to(device), *load_readers(folder, config=model.config.text_config), config)

    @torch.no_grad()
    def encode(self, pixel_values: Tensor) -> ImageFeatures:
        """Projected rows (B, N, D) of merged patches, and their mean L2 norm."""
        features = self.model.look(pixel_values.to(self.device, self.model.dtype))
        return ImageFeatures(features, features.float().norm(dim=-1).mean(1))

    def prompt(self, request: str) -> str:
        """The whole prompt with its image placeholder."""
        head, tail = self._segments
        return head + PLACEHOLDER + tail.format(request=request)

    def encode_prompt(self, request: str) -> list[int]:
        """Token ids of a prompt; `IMAGE` stands where the rows go."""
        return self._encode(self._segments, request)

    def encode_example(self, request: str, answer: str) -> tuple[list[int], list[int]]:
        """Ids and labels of a training example: the answer and its end token are supervised."""
        start = self._encode(self._training_segments, request)
        target = self._tokens(answer)
        if self.config.injection.end_token:
            target = [*target, self.tokenizer.eos_token_id]
        return start + target, [IGNORED] * len(start) + target

    def _encode(self, segments: tuple[str, str], request: str) -> list[int]:
        """Text before and behind the image is tokenised on its own, as upstream does; one more `<s>` opens it."""
        head, tail = segments
        start = self.tokenizer.bos_token_id
        return [start, *self._tokens(head), IMAGE, *self._tokens(tail.format(request=request))]

    def _tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _embed(self, ids: list[int], rows: Tensor) -> Tensor:
        """A sequence with the rows in the place of the image: (L - 1 + N + K, D)."""
        at = ids.index(IMAGE)
        text = torch.tensor(ids[:at] + ids[at + 1 :], device=self.device)
        embedded = self.model.get_input_embeddings()(text)
        return torch.cat([embedded[:at], rows.to(embedded.dtype), embedded[at:]])

    def _run(self, rows: list[Tensor], ids: list[list[int]], recorder: Recorder | None) -> Tensor:
        """Last hidden states of right-padded sequences: (B, S, D)."""
        sequences = [self._embed(i, r) for i, r in zip(ids, rows, strict=True)]
        embeds = pad_sequence(sequences, batch_first=True)
        lengths = torch.tensor([len(s) for s in sequences], device=self.device)
        mask = torch.arange(embeds.shape[1], device=self.device)[None] < lengths[:, None]
        return self.model.language_model.model(
            inputs_embeds=embeds,
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
        """Teacher-forced losses of a batch, right-padded.

        rows[i]: (N + K_i, D) from `inject`; concepts[i]: K_i, how many of the last rows are concepts;
        ids[i], labels[i]: one `IMAGE` each, -100 where nothing is supervised. The penalty is a mean over the
        photos that have a concept; `penalty_weight` takes the place of the config's λ.
        """
        injection = self.config.injection
        recorder = self._layout(rows, concepts, ids).penalty(injection.penalty)
        hidden = self._run(rows, ids, recorder)
        targets = []
        for line, own, r in zip(ids, labels, rows, strict=True):
            at = line.index(IMAGE)
            targets.append(own[:at] + [IGNORED] * len(r) + own[at + 1 :])
        padded = pad_lines(targets, IGNORED, self.device)[:, 1:]
        supervised = padded != IGNORED
        logits = self.model.language_model.lm_head(hidden[:, :-1][supervised]).float()
        weight = injection.penalty_weight if penalty_weight is None else penalty_weight
        penalty = weight * recorder.mean() if recorder else logits.new_zeros(())
        return Losses(F.cross_entropy(logits, padded[supervised]), penalty)

    @torch.inference_mode()
    def generate(self, rows: list[Tensor], ids: list[list[int]], max_new_tokens: int | None = None) -> list[Generation]:
        """Greedy answers to a batch of prompts with different numbers of rows, left-padded."""
        sequences = [self._embed(i, r) for i, r in zip(ids, rows, strict=True)]
        embeds = pad_sequence(sequences, batch_first=True, padding_side="left")
        longest = embeds.shape[1]
        lengths = torch.tensor([len(s) for s in sequences], device=self.device)
        mask = torch.arange(longest, device=self.device)[None] >= longest - lengths[:, None]
        out = self.model.language_model.generate(
            inputs_embeds=embeds,
            attention_mask=mask.long(),
            max_new_tokens=max_new_tokens or self.config.max_new_tokens,
            do_sample=False,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.pad_id,
        )
        return self.read(out)

    @torch.inference_mode()
    def concept_attention(self, rows: list[Tensor], concepts: list[int], ids: list[list[int]]) -> list[Tensor]:
        """Attention each concept row pays to each patch, over layers and heads: (K_i, S/p, S/p) float32, sum <= 1.

        A row stands for `merge` consecutive patches; each of them gets its share.
        """
        recorder = self._layout(rows, concepts, ids).maps()
        self._run(rows, ids, recorder)
        vision, merge = self.model.config.vision_config, self.model.config.merge
        grid = int(vision.image_size) // int(vision.patch_size)
        return [(m / merge).repeat_interleave(merge, 1).reshape(-1, grid, grid) for m in recorder.maps()]


def _segments(config: VlmConfig, template: str | None) -> tuple[str, str]:
    """The text before and behind the image.

    Raises:
        UsageError: the template does not have one placeholder.
    """
    parts = (template or "").split(PLACEHOLDER)
    if len(parts) != 2:
        raise UsageError(f"a prompt of {config.name} needs one {PLACEHOLDER}: {template!r}")
    return parts[0], parts[1]
