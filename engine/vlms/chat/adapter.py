"""Any VLM of transformers that is asked by chat: concept rows stand in slots behind the image (docs/vlms.md)."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import engine.core.device  # noqa: F401

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from engine.core.boxes import Box
from engine.core.errors import ArtefactError, UsageError
from engine.vlms.base import IGNORED, Generation, Losses
from engine.vlms.chat import recording
from engine.vlms.chat.batching import Batch, make_batch
from engine.vlms.chat.encoding import BESIDE, encode_photo, to_device
from engine.vlms.chat.examples import example_line
from engine.vlms.chat.grids import Grid, map_grid
from engine.vlms.chat.inputs import ProcessorInputs
from engine.vlms.chat.loading import check_injection, end_ids, load_checkpoint, slot_id_of
from engine.vlms.chat.model import ChatModel
from engine.vlms.chat.one_tile import OneTileInputs
from engine.vlms.chat.pixels import working_edge
from engine.vlms.chat.slots import ConceptSlots, text_norm
from engine.vlms.chat.values import ChatFeatures, ChatPhoto, ChatRows, EncodedPhoto, Line
from engine.vlms.config import VlmConfig
from engine.vlms.decoding import Decoding
from engine.vlms.halving import BatchLimit
from engine.vlms.injection import rescaled_rows
from engine.vlms.llava_next import LlavaNext
from engine.vlms.prompt_config import Chat

_THOUGHTS = re.compile(r"(?:<think>|\A)(?:(?!<think>).)*</think>|<think>.*\Z", re.DOTALL)
"""What a VLM thinks before it answers, whether its prompt or its text opens the block; an open one has no answer."""


class ChatVlm:
    """A frozen VLM with concept slots, prompted through its own processor and chat template.

    A prompt is the request, and labels are the answer, as text: their ids depend on the photo's number of tokens.
    """

    def __init__(self, model: PreTrainedModel, processor: Any, config: VlmConfig) -> None:
        self.config = config
        self.chat = config.chat or Chat()
        self.model = cast(ChatModel, model)
        self._text = model.config.get_text_config()
        self.inputs = self._make_inputs(model, processor)
        self.tokenizer: Any = self.inputs.tokenizer
        self._batch_limit = BatchLimit()
        self.decoding = Decoding() if self.chat.static_cache else Decoding(device_types=())
        self._records = recording.install(model, self._text)
        embedding = self.model.get_input_embeddings()
        self._slots = ConceptSlots(embedding)
        self._norm = text_norm(embedding, min(len(self.tokenizer), self._text.vocab_size), self.device)
        check_injection(config, self.chat)

    @classmethod
    def load(
        cls, config: VlmConfig, folder: Path, device: torch.device, dtype: torch.dtype, quantise: str = "none"
    ) -> "ChatVlm":
        """Load a checkpoint folder in the hub's layout.

        Raises:
            EnvironmentFault: it holds no VLM that the `chat` backend takes, or a package is missing.
            ValueError, OSError: files are missing or damaged.
        """
        model, processor = load_checkpoint(config, folder, device, dtype, quantise)
        return cls(model, processor, config)

    def _make_inputs(self, model: PreTrainedModel, processor: Any) -> ProcessorInputs | OneTileInputs:
        if self.chat.one_tile:
            return OneTileInputs(LlavaNext.of_one_tile(model, processor, self.config))
        return ProcessorInputs(processor, self.model.config, self.chat.max_pixels, self.chat.template_kwargs)

    @property
    def width(self) -> int:
        """Return the width D of a concept embedding: the language model's."""
        return int(self._text.hidden_size)

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""
        return self.model.device

    @property
    def image_edge(self) -> int:
        """Return the side in pixels of the largest square photo that is not made smaller, about 1 MP as a rule."""
        if isinstance(self.inputs, OneTileInputs):
            return self.inputs.native.image_edge
        return working_edge(self.chat.max_pixels)

    @property
    def pad_id(self) -> int:
        """Return the id that pads shorter sequences: the end token where there is no padding token."""
        pad = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad is None else pad)

    def view(self, image: Image.Image) -> Box:
        """Return the part of an upright photo that the checkpoint sees, in the photo's pixels."""
        return self.inputs.view(image)

    def preprocess(self, images: list[Image.Image]) -> list[ChatPhoto]:
        """Convert upright RGB images with the checkpoint's processor, once for all prompts."""
        return self.inputs.preprocess(images)

    def encode(self, pixel_values: list[ChatPhoto]) -> ChatFeatures:
        """Encode each photo once, one after the other: photos have different sizes and numbers of tiles."""
        if isinstance(self.inputs, OneTileInputs):
            return ChatFeatures(self.inputs.encode(pixel_values))
        return ChatFeatures([self._encode(photo) for photo in pixel_values])

    def _encode(self, photo: ChatPhoto) -> EncodedPhoto:
        pixels = to_device(photo.pixels, self.device, self.model.dtype)
        beside = {name: value for name, value in pixels.items() if name in BESIDE}
        return EncodedPhoto(photo, encode_photo(self.model, pixels), beside, self._norm, self.model.dtype)

    def inject(self, image_features: ChatFeatures, embeddings: list[Tensor]) -> list[ChatRows]:
        """Give each photo its concept rows, scaled to the config's norm; embeddings[i]: (K_i, D) raw, K_i may be 0.

        Raises:
            ArtefactError: an embedding was trained for another width.
        """
        for vectors in embeddings:
            if vectors.shape[-1] != self.width:
                raise ArtefactError(
                    f"an embedding of width {vectors.shape[-1]} does not fit {self.config.name} ({self.width})"
                )
        return [
            ChatRows(photo, rescaled_rows(vectors.to(self.device), photo.norm))
            for photo, vectors in zip(image_features.photos, embeddings, strict=True)
        ]

    def encode_prompt(self, request: str) -> str:
        """Return the request itself."""
        return request

    def encode_example(self, request: str, answer: str) -> tuple[str, str]:
        """Return the request and the answer themselves."""
        return request, answer

    def loss(
        self,
        rows: list[ChatRows],
        concepts: list[int],
        ids: list[str],
        labels: list[str],
        penalty_weight: float | None = None,
    ) -> Losses:
        """Compute the teacher-forced losses of a right-padded batch; see `Vlm.loss`.

        The penalty is a sum over photos, as for LLaVA.

        Raises:
            UsageError: there is a penalty, and this family's attention cannot be measured.
        """
        injection = self.config.injection
        weight = injection.penalty_weight if penalty_weight is None else penalty_weight
        batch = make_batch(rows, self._example_lines(rows, ids, labels), self.pad_id)
        recorder = self._recorder(batch, injection.penalty) if weight else None
        targets = batch.labels[:, 1:]  # (B, S - 1)
        supervised = targets != IGNORED  # (B, S - 1)
        with self._only(supervised):
            logits = self._run(batch, recorder).float()  # (T, V), T supervised tokens
        penalty = weight * recorder.total() if recorder else logits.new_zeros(())
        return Losses(F.cross_entropy(logits, targets[supervised]), penalty)

    def _example_lines(self, rows: Sequence[ChatRows], requests: Sequence[str], answers: Sequence[str]) -> list[Line]:
        ends = end_ids(self.model, self.tokenizer)
        end_token = self.config.injection.end_token
        lines = [
            example_line(self.inputs, row.photo.photo, request, answer, ends, end_token=end_token)
            for row, request, answer in zip(rows, requests, answers, strict=True)
        ]
        return self._with_slots(rows, lines)

    def _prompt_lines(self, rows: Sequence[ChatRows], requests: Sequence[str]) -> list[Line]:
        lines = [
            self.inputs.line(row.photo.photo, self.inputs.template(request))
            for row, request in zip(rows, requests, strict=True)
        ]
        return self._with_slots(rows, lines)

    def _with_slots(self, rows: Sequence[ChatRows], lines: Sequence[Line]) -> list[Line]:
        slot_id = slot_id_of(self._text, self.pad_id)
        return [line.with_slots(len(row.concepts), slot_id) for row, line in zip(rows, lines, strict=True)]

    def _run(self, batch: Batch, recorder: recording.ChatAttention | None) -> Tensor:
        """Run the model over a batch; returns logits (B, S, V), or those of the rows that `_only` lets through."""
        self._forget_positions()
        with self._slots.filled(batch.slots, batch.concepts), recording.recording(recorder):
            return self.model(**batch.inputs(), use_cache=False).logits

    def _forget_positions(self) -> None:
        """Drop the offsets of positions (M-RoPE) that a family keeps from its last call."""
        if hasattr(self.model.model, "rope_deltas"):
            self.model.model.rope_deltas = None

    @contextmanager
    def _only(self, supervised: Tensor) -> Iterator[None]:
        """Compute logits where something is supervised only, (B, S - 1) bool: a whole batch's would fill the memory."""

        def select(head: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
            return (args[0][:, :-1][supervised],)

        handle = self.model.get_output_embeddings().register_forward_pre_hook(select)
        try:
            yield
        finally:
            handle.remove()

    def _recorder(self, batch: Batch, direction: Any, *, maps: bool = False) -> recording.ChatAttention | None:
        """Make a recorder of the concepts' attention; None where there is nothing to measure."""
        if not batch.positions or (direction == "none" and not maps):
            return None
        self._check_records()
        images = [line.image for line in batch.lines] if maps else None
        return recording.ChatAttention(direction, batch.positions, batch.valid, images)

    def _check_records(self) -> None:
        """Check that the family's attention can be measured.

        Raises:
            UsageError: it cannot.
        """
        if not self._records:
            raise UsageError(
                f"the attention of {self.config.name} cannot be measured", hint='Set its "penalty" to "none".'
            )

    def _grids(self, batch: Batch) -> list[Grid]:
        name, config = self.config.name, self.model.config
        return [map_grid(name, config, r.photo, line) for r, line in zip(batch.rows, batch.lines, strict=True)]

    @torch.inference_mode()
    def concept_attention(self, rows: list[ChatRows], concepts: list[int], ids: list[str]) -> list[Tensor]:
        """Map each concept row's attention over the part of the photo that `view` returns (paper fig. 3).

        Returns for each photo (K_i, h, w) float32, averaged over layers and heads.

        Raises:
            UsageError: the image's tokens of this family form no grid over the photo.
        """
        batch = make_batch(rows, self._prompt_lines(rows, ids), self.pad_id)
        grids = self._grids(batch)
        recorder = self._recorder(batch, "none", maps=True)
        if recorder is None:
            return [torch.zeros(0, *grid.shape) for grid in grids]
        with self._only(torch.zeros_like(batch.valid[:, 1:])):
            self._run(batch, recorder)
        return [grid.of(maps) for grid, maps in zip(grids, recorder.mean_maps(), strict=True)]

    def generate(self, rows: list[ChatRows], ids: list[str], max_new_tokens: int | None = None) -> list[Generation]:
        """Generate greedy answers; photos may have different numbers of rows. Where memory runs out, batches halve."""
        most = max_new_tokens or self.config.max_new_tokens
        return self._batch_limit.run(lambda pairs: self._generate(pairs, most), list(zip(rows, ids, strict=True)))

    def _generate(self, pairs: list[tuple[ChatRows, str]], most: int) -> list[Generation]:
        return self._decode(self.generate_ids(pairs, most))

    @torch.inference_mode()
    def generate_ids(self, pairs: list[tuple[ChatRows, str]], most: int) -> Tensor:
        """Generate the ids of answers to a left-padded batch of photos and requests: (B, L), L at most `most`."""
        count, pairs = len(pairs), self.decoding.fill(pairs)
        rows, requests = [row for row, _ in pairs], [request for _, request in pairs]
        batch = make_batch(rows, self._prompt_lines(rows, requests), self.pad_id, left=True)
        self._forget_positions()
        with self._slots.filled(batch.slots, batch.concepts):
            generated = self.decoding.generate(
                self.model, prompt=batch.valid.shape[1], max_new_tokens=most, pad_token_id=self.pad_id, **batch.inputs()
            )
        return generated[:count, batch.valid.shape[1] :]  # generate returns the prompt, too

    def _decode(self, generated: Tensor) -> list[Generation]:
        """Convert generated ids (B, L) to texts without thoughts."""
        ends = end_ids(self.model, self.tokenizer)
        texts = self.tokenizer.batch_decode(generated, skip_special_tokens=True)
        return [
            Generation(self._without_thoughts(text), capped=ends.isdisjoint(ids.tolist()))
            for text, ids in zip(texts, generated, strict=True)
        ]

    def _without_thoughts(self, text: str) -> str:
        """Remove what the VLM thinks; "" where it was cut off before it answered."""
        opened_by_prompt = self.inputs.template("").rstrip().endswith("<think>")
        if opened_by_prompt and "</think>" not in text:
            return ""
        return _THOUGHTS.sub("", text).strip()
