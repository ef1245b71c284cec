"""LLaVA-1.6 (LLaVA-NeXT): one base tile of image tokens, concept rows right behind them."""

from pathlib import Path

import engine.device  # noqa: F401

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoImageProcessor, AutoTokenizer, CLIPImageProcessorPil, LlavaNextForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling

from engine.boxes import Box
from engine.errors import ArtefactError
from engine.vlms import attention
from engine.vlms.attention import ConceptAttention
from engine.vlms.base import IGNORED, Generation, ImageFeatures, Losses, not_too_long, pad_lines
from engine.vlms.config import VlmConfig
from engine.vlms.injection import append_rows


class LlavaNext:
    """A frozen LLaVA-NeXT and the places where MyVLM reaches into it."""

    def __init__(
        self,
        model: LlavaNextForConditionalGeneration,
        image_processor: CLIPImageProcessorPil,
        tokenizer: object,
        config: VlmConfig,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.model.set_attn_implementation({"text_config": attention.register()})
        self.image_processor, self.tokenizer, self.config = image_processor, tokenizer, config

    @classmethod
    def load(cls, config: VlmConfig, folder: Path, device: torch.device, dtype: torch.dtype) -> "LlavaNext":
        """Load a checkpoint folder in the hub's layout."""
        model = LlavaNextForConditionalGeneration.from_pretrained(folder, dtype=dtype, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        full = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
        base = CLIPImageProcessorPil(
            size=full.size,
            crop_size=full.crop_size,
            resample=full.resample,
            image_mean=full.image_mean,
            image_std=full.image_std,
        )
        return cls(model.to(device), base, tokenizer, config)

    @property
    def width(self) -> int:
        """Width D of a concept embedding."""
        return int(self.model.config.text_config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.model.device

    @property
    def image_edge(self) -> int:
        """Side in pixels of the base tile."""
        return int(self.image_processor.crop_size["height"])

    def view(self, image: Image.Image) -> Box:
        """The middle square of a photo, which the base tile shows."""
        side = min(image.size)
        x, y = (image.width - side) / 2, (image.height - side) / 2
        return Box(x, y, x + side, y + side)

    def preprocess(self, images: list[Image.Image]) -> Tensor:
        """Upright RGB images to (B, 3, S, S) float32: shortest edge resized, centre crop, one tile."""
        return self.image_processor([not_too_long(i) for i in images], return_tensors="pt")["pixel_values"]

    @torch.no_grad()
    def encode(self, pixel_values: Tensor) -> ImageFeatures:
        """Image features of one base tile a photo: the configured hidden layer, projected (no newline row)."""
        inner = self.model.model
        pixels = pixel_values.to(self.device, self.model.dtype)
        states = inner.vision_tower(pixels, output_hidden_states=True).hidden_states
        hidden = states[self.model.config.vision_feature_layer]
        kept = hidden[:, 1:] if self.model.config.vision_feature_select_strategy == "default" else hidden
        features = inner.multi_modal_projector(kept)
        taken = hidden[:, 0] if self.config.injection.norm == "cls" else features[:, 0]
        return ImageFeatures(features, taken.float().norm(dim=-1))

    def inject(self, seen: ImageFeatures, embeddings: list[Tensor]) -> list[Tensor]:
        """Rows the language model gets for each photo: (N + K_i, D); embeddings[i]: (K_i, D), K_i may be 0.

        Raises:
            ArtefactError: an embedding was trained for another width.
        """
        for e in embeddings:
            if e.shape[-1] != self.width:
                raise ArtefactError(
                    f"an embedding of width {e.shape[-1]} does not fit {self.config.name} ({self.width})"
                )
        devices = [e.to(self.device) for e in embeddings]
        return [append_rows(f, e, n) for f, e, n in zip(seen.features, devices, seen.norms, strict=True)]

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
        """Ids and labels of a training example: the answer and its end token are supervised."""
        prompt = self.prompt(request)
        start = self._encode(prompt)
        ids = self._encode(f"{prompt} {answer}")
        if ids[: len(start)] != start:
            ids = start + self.tokenizer(answer, add_special_tokens=False).input_ids
        ids = [*ids, self.tokenizer.eos_token_id]
        return ids, [IGNORED] * len(start) + ids[len(start) :]

    def _encode(self, text: str) -> list[int]:
        ids = self.tokenizer(text).input_ids
        start = self.tokenizer.bos_token_id
        return ids if start is None or ids[:1] == [start] else [start, *ids]

    def loss(self, rows: list[Tensor], concepts: list[int], ids: list[list[int]], labels: list[list[int]]) -> Losses:
        """Teacher-forced losses of a batch, right-padded.

        rows[i]: (N + K_i, D) from `inject`; concepts[i]: K_i, how many of the last rows are concepts;
        ids[i], labels[i]: one image placeholder each, -100 where nothing is supervised.
        """
        lengths = [len(r) + len(i) - 1 for r, i in zip(rows, ids, strict=True)]
        longest = max(lengths)
        grown = [self._expand(i, len(r), i) for i, r in zip(ids, rows, strict=True)]
        targets = [self._expand(i, len(r), t) for i, r, t in zip(ids, rows, labels, strict=True)]
        input_ids = pad_lines(grown, self._pad_id, self.device)
        padded = pad_lines(targets, IGNORED, self.device)
        mask = torch.arange(longest, device=self.device)[None] < torch.tensor(lengths, device=self.device)[:, None]
        collector = self._collector(rows, concepts, ids, lengths)
        hidden = self.model.model(
            input_ids=input_ids,
            attention_mask=mask.long(),
            mm_encoder_outputs={"image": BaseModelOutputWithPooling(pooler_output=rows)},
            use_cache=False,
            **({"concept_attention": collector} if collector else {}),
        ).last_hidden_state
        supervised = padded[:, 1:] != IGNORED
        logits = self.model.lm_head(hidden[:, :-1][supervised]).float()
        weight = self.config.injection.penalty_weight
        penalty = weight * collector.total() if collector else logits.new_zeros(())
        return Losses(F.cross_entropy(logits, padded[:, 1:][supervised]), penalty)

    def _collector(
        self, rows: list[Tensor], concepts: list[int], ids: list[list[int]], lengths: list[int]
    ) -> ConceptAttention | None:
        image = self.model.config.image_token_id
        ends = [i.index(image) + len(r) for i, r in zip(ids, rows, strict=True)]
        positions = [(b, ends[b] - k) for b, count in enumerate(concepts) for k in range(count, 0, -1)]
        direction = self.config.injection.penalty
        return ConceptAttention(direction, positions, lengths) if positions and direction != "none" else None

    @torch.inference_mode()
    def generate(self, rows: list[Tensor], ids: list[list[int]], max_new_tokens: int | None = None) -> list[Generation]:
        """Greedy answers to a batch of prompts with different numbers of rows, left-padded."""
        limit = max_new_tokens or self.config.max_new_tokens
        grown = [self._expand(i, len(r), i) for i, r in zip(ids, rows, strict=True)]
        longest = max(len(g) for g in grown)
        input_ids = pad_lines(grown, self._pad_id, self.device, left=True)
        lengths = torch.tensor([len(g) for g in grown], device=self.device)
        mask = torch.arange(longest, device=self.device)[None] >= longest - lengths[:, None]
        out = self.model.generate(
            input_ids=input_ids,
            attention_mask=mask.long(),
            mm_encoder_outputs={"image": BaseModelOutputWithPooling(pooler_output=rows)},
            max_new_tokens=limit,
            do_sample=False,
            pad_token_id=self._pad_id,
        )[:, longest:]
        eos = self.tokenizer.eos_token_id
        texts = self.tokenizer.batch_decode(out, skip_special_tokens=True)
        return [Generation(t.strip(), capped=eos not in o.tolist()) for t, o in zip(texts, out, strict=True)]

    @property
    def _pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return self.tokenizer.eos_token_id if pad is None else pad

    def _expand(self, ids: list[int], count: int, values: list[int]) -> list[int]:
        at = ids.index(self.model.config.image_token_id)
        return values[:at] + [values[at]] * count + values[at + 1 :]
