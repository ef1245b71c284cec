"""BLIP-2 with a T5: concept rows join the image rows that the Q-Former attends to (docs/method.md, section 2)."""

from inspect import signature
from pathlib import Path
from typing import cast

import engine.core.device  # noqa: F401

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    DynamicCache,
    EncoderDecoderCache,
    PreTrainedConfig,
)

from engine.core.errors import UsageError
from engine.vlms.base import IGNORED, Generation, ImageFeatures, Losses, Tiles, pad_lines
from engine.vlms.config import VlmConfig
from engine.vlms.frozen import SquashingVlm, load_model, load_processors
from engine.vlms.model_types import AnyTokenizer, Blip2Model, EncoderDecoder, ImageProcessor
from engine.vlms.qformer_attention import ConceptRows, register

_PENALTIES = ("column", "column-sum", "none")


class Blip2(SquashingVlm[Blip2Model]):
    """A frozen BLIP-2 with MyVLM's injection and penalty."""

    def __init__(
        self,
        model: Blip2ForConditionalGeneration,
        image_processor: ImageProcessor | None,
        tokenizer: AnyTokenizer,
        config: VlmConfig,
    ) -> None:
        if config.injection.penalty not in _PENALTIES:
            raise UsageError(
                f"{config.name} cannot penalise {config.injection.penalty!r} attention: a concept row asks nothing",
                hint=f"Possible for BLIP-2: {', '.join(_PENALTIES)}.",
            )
        super().__init__(model, image_processor, tokenizer, config)
        self.model.set_attn_implementation({"qformer_config": register()})

    @classmethod
    def load(cls, config: VlmConfig, folder: Path, device: torch.device, dtype: torch.dtype) -> "Blip2":
        """Load a checkpoint folder in the hub's layout.

        Raises:
            UsageError: its language model is not a T5.
            ValueError: weights are missing from it.
        """
        # The config class makes a config of every sub-config, whatever its annotation allows.
        text_config = cast(PreTrainedConfig, Blip2Config.from_pretrained(folder, local_files_only=True).text_config)
        if text_config.model_type != "t5":
            raise UsageError(
                f"{config.name} is a BLIP-2 with the language model {text_config.model_type!r}; only T5 is supported",
                hint="Use a BLIP-2 with a Flan-T5, for example Salesforce/blip2-flan-t5-xl.",
            )
        model = load_model(Blip2ForConditionalGeneration, folder, device, dtype)
        return cls(model, *load_processors(folder), config)

    @property
    def width(self) -> int:
        """Return the width D of a concept embedding: the vision encoder's."""
        return int(self.model.config.vision_config.hidden_size)

    @property
    def _grid(self) -> int:
        """Return the number of patches along each side of the image."""
        return self.image_edge // int(self.model.config.vision_config.patch_size)

    @property
    def _image_rows(self) -> int:
        """Return N: the patches and the class token."""
        return self._grid**2 + 1

    @torch.no_grad()
    def encode(self, pixel_values: Tensor | Tiles) -> ImageFeatures:
        """Return the output of the last vision block, before `post_layernorm`: (B, N, D), the class token first.

        A concept row has unit length there: the layer norm that follows would undo any other length.
        """
        vision = self.model.vision_model
        embedded = vision.embeddings(self.to_model(pixel_values))  # (B, N, D)
        features = vision.encoder(inputs_embeds=embedded).last_hidden_state  # (B, N, D)
        return ImageFeatures(features, torch.ones(len(features), device=self.device))

    def prompt(self, request: str) -> str:
        """Return the text that follows the queries: none for a caption, else the request as a question."""
        if not request or not self.config.template:
            return request
        return self.config.template.format(request=request)

    def encode_prompt(self, request: str) -> list[int]:
        """Return the token ids that follow the queries in the T5 encoder, with the end token."""
        return self._encode(self.prompt(request))

    def encode_example(self, request: str, answer: str) -> tuple[list[int], list[int]]:
        """Return ids for the encoder (the prompt) and labels for the decoder (the answer), each with its end token."""
        return self.encode_prompt(request), self._encode(answer)

    def _encode(self, text: str) -> list[int]:
        ids = self.tokenizer(text).input_ids
        end = self.tokenizer.eos_token_id
        return ids if ids[-1:] == [end] else [*ids, end]

    def loss(
        self,
        rows: list[Tensor],
        concepts: list[int],
        ids: list[list[int]],
        labels: list[list[int]],
        penalty_weight: float | None = None,
    ) -> Losses:
        """Compute the teacher-forced losses of a right-padded batch.

        rows[i]: (N + K_i, D) from `inject`; concepts[i]: K_i; ids[i]: the encoder's prompt; labels[i]: the decoder's
        text, -100 where nothing is supervised. penalty_weight: used instead of the config's λ.
        """
        concept_rows = self._concept_rows(rows)
        inputs_embeds, mask = self._encoder_inputs(rows, ids, concept_rows)  # (B, Q + L, D_text), (B, Q + L)
        targets = pad_lines(labels, IGNORED, self.device)  # (B, T)
        language_model = self.model.language_model
        logits = language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=mask,
            decoder_input_ids=language_model.prepare_decoder_input_ids_from_labels(targets),
            use_cache=False,
        ).logits.float()  # (B, T, V)
        cross_entropy = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        injection = self.config.injection
        if concept_rows is None or injection.penalty == "none":
            return Losses(cross_entropy, logits.new_zeros(()))
        weight = injection.penalty_weight if penalty_weight is None else penalty_weight
        return Losses(cross_entropy, weight * concept_rows.penalty(injection.penalty))

    def _concept_rows(self, rows: list[Tensor]) -> ConceptRows | None:
        """Make the record for one Q-Former call; None when no photo has a concept."""
        concepts = [len(r) - self._image_rows for r in rows]
        if not any(concepts):
            return None
        blocks = self.model.qformer.encoder.layer
        layers = frozenset(b.crossattention.attention for b in blocks if b.has_cross_attention)
        return ConceptRows(layers, self._image_rows, concepts)

    def _query(self, rows: list[Tensor], concept_rows: ConceptRows | None) -> Tensor:
        """Run the Q-Former over rows (N + K_i, D); returns (B, Q, D_qformer)."""
        states = self.model.vision_model.post_layernorm(pad_sequence(rows, batch_first=True))  # (B, N + max K, D)
        return self.model.qformer(
            query_embeds=self.model.query_tokens.expand(len(rows), -1, -1),
            encoder_hidden_states=states,
            encoder_attention_mask=torch.ones(states.shape[:2], dtype=torch.long, device=states.device),
            **({"concept_rows": concept_rows} if concept_rows else {}),
        ).last_hidden_state

    def _encoder_inputs(
        self, rows: list[Tensor], ids: list[list[int]], concept_rows: ConceptRows | None
    ) -> tuple[Tensor, Tensor]:
        """Return projected queries and prompt, right-padded: (B, Q + L, D_text), and their mask (B, Q + L) int64."""
        projection = self.model.language_projection
        queries = projection(self._query(rows, concept_rows).to(projection.weight.dtype))  # (B, Q, D_text)
        prompt = self.model.language_model.get_input_embeddings()(pad_lines(ids, self.pad_id, self.device))
        mask = pad_lines([[1] * (queries.shape[1] + len(i)) for i in ids], 0, self.device)
        return torch.cat([queries.to(prompt.dtype), prompt], dim=1), mask

    @torch.inference_mode()
    def generate(self, rows: list[Tensor], ids: list[list[int]], max_new_tokens: int | None = None) -> list[Generation]:
        """Generate greedy answers to a batch of prompts; photos may have different numbers of rows."""
        inputs_embeds, mask = self._encoder_inputs(rows, ids, self._concept_rows(rows))
        language_model = self.model.language_model
        generated = language_model.generate(
            inputs_embeds=inputs_embeds,
            attention_mask=mask,
            **_empty_cache(language_model),
            max_new_tokens=max_new_tokens or self.config.max_new_tokens,
            do_sample=False,
            num_beams=1,
        )
        return self.decode(generated)

    @torch.inference_mode()
    def concept_attention(self, rows: list[Tensor], concepts: list[int], ids: list[list[int]]) -> list[Tensor]:
        """Map where the queries that attend to a concept look: (K_i, h, w) float32, non-negative, for each photo.

        This is our reading of the paper's fig. 3 for BLIP-2, in which image rows never attend to a concept
        (`ConceptRows.maps`). It does not depend on `ids`: the Q-Former does not see the prompt.
        """
        concept_rows = self._concept_rows(rows)
        if concept_rows is None:
            return [torch.zeros(0, self._grid, self._grid, device=self.device) for _ in rows]
        self._query(rows, concept_rows)
        return [m.unflatten(1, (self._grid, self._grid)) for m in concept_rows.maps()]


def _empty_cache(language_model: EncoderDecoder) -> dict[str, EncoderDecoderCache]:
    """Make the argument that gives `generate` a cache of the decoder's depth; by default it has the encoder's depth.

    transformers 5.18 calls the argument `past_key_values`; 5.24 calls it `cache` and warns about the old name. Each
    version's `forward` has a parameter of the name that `generate` takes.
    """
    is_renamed = "cache" in signature(language_model.forward).parameters
    return {"cache" if is_renamed else "past_key_values": EncoderDecoderCache(DynamicCache(), DynamicCache())}
