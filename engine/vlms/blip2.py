"""BLIP-2 with a T5: concept rows join the image rows that the Q-Former's queries look at."""

from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

import engine.core.device  # noqa: F401

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    BlipImageProcessorPil,
    DynamicCache,
    EncoderDecoderCache,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from engine.core.errors import UsageError
from engine.vlms.attention import make_known
from engine.vlms.base import IGNORED, Generation, ImageFeatures, Losses, check_complete, pad_lines
from engine.vlms.config import Penalty, VlmConfig
from engine.vlms.frozen import SquashingVlm, load_readers

IMPLEMENTATION = "myvlm_concept_rows"
_PENALTIES = ("column", "column-sum", "none")


def rescaled(states: Tensor, image_rows: int) -> Tensor:
    """Keys or values of one cross-attention layer, those of concepts at the image's mean length (eq. 3).

    states: (B, H, S, d), split into heads; the L2 norm of a row is that of all its heads together. Rows from
    index `image_rows` on are divided by their own norm and multiplied by the mean norm of the rows before
    them, the class token's included.
    """
    image, concepts = states[:, :, :image_rows], states[:, :, image_rows:]
    norms = torch.linalg.vector_norm(states.float(), dim=(1, 3), keepdim=True)  # (B, 1, S, 1)
    target, own = norms[:, :, :image_rows].mean(2, keepdim=True), norms[:, :, image_rows:]
    unit = concepts.float() / own.clamp_min(torch.finfo(torch.float32).tiny)
    return torch.cat([image, (unit * target).to(states.dtype)], dim=2)


def _empty_cache(language: torch.nn.Module) -> dict[str, EncoderDecoderCache]:
    """Make the argument that gives `generate` a cache of the decoder's depth; its own would have the encoder's.

    transformers 5.18 calls it `past_key_values`, 5.24 calls it `cache` and warns about the old name; each version's
    `forward` has the name that `generate` takes.
    """
    is_renamed = "cache" in signature(language.forward).parameters
    return {"cache" if is_renamed else "past_key_values": EncoderDecoderCache(DynamicCache(), DynamicCache())}


@dataclass
class ConceptRows:
    """The cross-attention of one Q-Former call whose photos have concept rows.

    layers: the attention modules that look at the image; image_rows: N; concepts[i]: K_i, how many rows of
    photo i follow its N; probabilities: what each layer's queries attended to, (B, H, Q, N + max K) float32.
    """

    layers: frozenset[torch.nn.Module]
    image_rows: int
    concepts: list[int]
    probabilities: list[Tensor] = field(default_factory=list)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Attend to image and concept rows; padding behind a photo's last concept gets nothing.

        query: (B, H, Q, d); key, value: (B, H, N + max K, d). Returns (B, Q, H, d).
        """
        key, value = rescaled(key, self.image_rows), rescaled(value, self.image_rows)
        ends = self.image_rows + torch.tensor(self.concepts, device=key.device)
        padding = torch.arange(key.shape[2], device=key.device) >= ends[:, None]  # (B, S)
        scores = (query @ key.transpose(2, 3)).float() * scaling
        received = scores.masked_fill(padding[:, None, None], -torch.inf).softmax(-1)
        self.probabilities.append(received)
        return (received.to(value.dtype) @ value).transpose(1, 2)

    def penalty(self, form: Penalty) -> Tensor:
        """What the queries' attention to concepts costs, a scalar without its weight (eq. 4).

        column (reference): per layer the mean of p² over (photo, head, query, concept); column-sum (paper):
        the sum over head, query and concept, mean over photos. Both are summed over layers, and only photos
        with a concept count.
        """
        squares = torch.stack(self.probabilities)[..., self.image_rows :].square()  # (L, B, H, Q, max K)
        counts = torch.tensor(self.concepts, device=squares.device)
        sums = squares.sum((0, 2, 3, 4))[counts > 0]
        if form == "column":
            sums = sums / (counts[counts > 0] * squares.shape[2] * squares.shape[3])
        return sums.mean()

    def maps(self) -> list[Tensor]:
        """Where the queries that look at a concept look in the image: (K_i, N - 1) float32 for each photo.

        With p averaged over layers and heads: the sum over queries of p[query, concept] · p[query, patch].
        """
        mean = torch.stack(self.probabilities).mean((0, 2))  # (B, Q, S)
        n = self.image_rows
        return [p[:, n : n + k].T @ p[:, 1:n] for p, k in zip(mean, self.concepts, strict=True)]


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    concept_rows: ConceptRows | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    if concept_rows is None or module not in concept_rows.layers:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    return concept_rows.attend(query, key, value, kwargs["scaling"]), None


def register() -> str:
    """Make the attention with concept rows known to transformers; returns its name."""
    return make_known(IMPLEMENTATION, _attend)


class Blip2(SquashingVlm):
    """A frozen BLIP-2 and the places where MyVLM reaches into it."""

    def __init__(
        self,
        model: Blip2ForConditionalGeneration,
        image_processor: BlipImageProcessorPil,
        tokenizer: object,
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
        text = Blip2Config.from_pretrained(folder, local_files_only=True).text_config
        if text.model_type != "t5":
            raise UsageError(
                f"{config.name} is a BLIP-2 with the language model {text.model_type!r}; only T5 is supported",
                hint="Use a BLIP-2 with a Flan-T5, for example Salesforce/blip2-flan-t5-xl.",
            )
        model, found = Blip2ForConditionalGeneration.from_pretrained(
            folder, dtype=dtype, local_files_only=True, output_loading_info=True
        )
        check_complete(found)
        return cls(model.to(device), *load_readers(folder), config)

    @property
    def width(self) -> int:
        """Width D of a concept embedding: that of the vision encoder."""
        return int(self.model.config.vision_config.hidden_size)

    @property
    def _grid(self) -> int:
        return self.image_edge // int(self.model.config.vision_config.patch_size)

    @property
    def _image_rows(self) -> int:
        return self._grid**2 + 1  # patches and the class token

    @torch.no_grad()
    def encode(self, pixel_values: Tensor) -> ImageFeatures:
        """Output of the last vision block, before `post_layernorm`: (B, N, D), the class token first.

        A concept row has unit length there: the layer norm behind it would undo any other.
        """
        vision = self.model.vision_model
        embedded = vision.embeddings(pixel_values.to(self.device, self.model.dtype))
        features = vision.encoder(inputs_embeds=embedded).last_hidden_state
        return ImageFeatures(features, torch.ones(len(features), device=self.device))

    def prompt(self, request: str) -> str:
        """The text behind the queries: none for a caption, else the request as a question."""
        if not request or not self.config.template:
            return request
        return self.config.template.format(request=request)

    def encode_prompt(self, request: str) -> list[int]:
        """Token ids that the T5 encoder gets behind the queries, the end token included."""
        return self._encode(self.prompt(request))

    def encode_example(self, request: str, answer: str) -> tuple[list[int], list[int]]:
        """Ids for the encoder (the prompt) and for the decoder (the answer), each with its end token."""
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
        """Teacher-forced losses of a batch, right-padded.

        rows[i]: (N + K_i, D) from `inject`; concepts[i]: K_i; ids[i]: the encoder's prompt; labels[i]: what
        the decoder says, a line of its own, -100 where nothing is supervised.
        `penalty_weight` takes the place of the config's λ.
        """
        looked = self._concept_rows(rows)
        embeds, mask = self._encoder_inputs(rows, ids, looked)
        targets = pad_lines(labels, IGNORED, self.device)
        language = self.model.language_model
        logits = language(
            inputs_embeds=embeds,
            attention_mask=mask,
            decoder_input_ids=language.prepare_decoder_input_ids_from_labels(targets),
            use_cache=False,
        ).logits.float()
        entropy = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        injection = self.config.injection
        if looked is None or injection.penalty == "none":
            return Losses(entropy, logits.new_zeros(()))
        weight = injection.penalty_weight if penalty_weight is None else penalty_weight
        return Losses(entropy, weight * looked.penalty(injection.penalty))

    def _concept_rows(self, rows: list[Tensor]) -> ConceptRows | None:
        concepts = [len(r) - self._image_rows for r in rows]
        if not any(concepts):
            return None
        blocks = self.model.qformer.encoder.layer
        layers = frozenset(b.crossattention.attention for b in blocks if b.has_cross_attention)
        return ConceptRows(layers, self._image_rows, concepts)

    def _query(self, rows: list[Tensor], looked: ConceptRows | None) -> Tensor:
        """What the queries found in each photo: (B, Q, width of the Q-Former)."""
        states = self.model.vision_model.post_layernorm(pad_sequence(rows, batch_first=True))
        return self.model.qformer(
            query_embeds=self.model.query_tokens.expand(len(rows), -1, -1),
            encoder_hidden_states=states,
            encoder_attention_mask=torch.ones(states.shape[:2], dtype=torch.long, device=states.device),
            **({"concept_rows": looked} if looked else {}),
        ).last_hidden_state

    def _encoder_inputs(
        self, rows: list[Tensor], ids: list[list[int]], looked: ConceptRows | None
    ) -> tuple[Tensor, Tensor]:
        """Projected queries and prompt, right-padded: (B, Q + L, width of the T5), mask (B, Q + L) int64."""
        projection = self.model.language_projection
        queries = projection(self._query(rows, looked).to(projection.weight.dtype))
        prompt = self.model.language_model.get_input_embeddings()(pad_lines(ids, self.pad_id, self.device))
        mask = pad_lines([[1] * (queries.shape[1] + len(i)) for i in ids], 0, self.device)
        return torch.cat([queries.to(prompt.dtype), prompt], dim=1), mask

    @torch.inference_mode()
    def generate(self, rows: list[Tensor], ids: list[list[int]], max_new_tokens: int | None = None) -> list[Generation]:
        """Greedy answers to a batch of prompts with different numbers of rows."""
        embeds, mask = self._encoder_inputs(rows, ids, self._concept_rows(rows))
        language = self.model.language_model
        out = language.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            **_empty_cache(language),
            max_new_tokens=max_new_tokens or self.config.max_new_tokens,
            do_sample=False,
            num_beams=1,
        )
        return self.read(out)

    @torch.inference_mode()
    def concept_attention(self, rows: list[Tensor], concepts: list[int], ids: list[list[int]]) -> list[Tensor]:
        """What each concept row has to do with each patch: (K_i, h, w) float32, non-negative.

        Our reading of the paper's fig. 3 for BLIP-2, where no image row ever meets a concept: the queries
        that attend to the concept say where else they look (`ConceptRows.maps`). It does not depend on `ids`,
        because the Q-Former does not see the prompt.
        """
        looked = self._concept_rows(rows)
        if looked is None:
            return [torch.zeros(0, self._grid, self._grid, device=self.device) for _ in rows]
        self._query(rows, looked)
        return [m.unflatten(1, (self._grid, self._grid)) for m in looked.maps()]
