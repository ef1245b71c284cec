"""Stage 2: the VLM's tongue. Projector and language model on the frozen tower's cached features."""

from dataclasses import dataclass
from pathlib import Path

import engine.core.device  # noqa: F401

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    CLIPVisionModel,
    LlamaConfig,
    LlamaModel,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from engine.storybook.build.dialogues import SOFT_ITEMS, Mix, draw_turn
from engine.storybook.build.drawings import Drawings
from engine.storybook.build.loop import DEVICE, Schedule, train
from engine.storybook.build.packing import Packed, pack, register
from engine.storybook.build.vision import GRID, PATCH, WIDTH, normalise, vision_config
from engine.storybook.world.scenes import Scene

IMAGE_TOKENS = GRID * GRID


def make_vlm(
    tokenizer: PreTrainedTokenizerFast, tower: CLIPVisionModel | None = None
) -> LlavaNextForConditionalGeneration:
    """A LLaVA-NeXT with the trained tower (frozen) and a fresh projector and Llama."""
    size = PATCH * GRID
    config = LlavaNextConfig(
        vision_config=vision_config().to_dict(),
        text_config=LlamaConfig(
            vocab_size=-(-len(tokenizer) // 8) * 8,
            hidden_size=WIDTH,
            intermediate_size=512,
            num_hidden_layers=5,
            num_attention_heads=6,
            num_key_value_heads=6,
            max_position_embeddings=1024,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            tie_word_embeddings=False,
        ).to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=[[size, 2 * size], [2 * size, size], [2 * size, 2 * size]],
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=IMAGE_TOKENS,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    vlm = LlavaNextForConditionalGeneration(config)
    vlm.set_attn_implementation({"text_config": register(), "vision_config": "eager"})
    if tower is not None:
        vlm.model.vision_tower.load_state_dict(tower.state_dict())
    vlm.model.vision_tower.requires_grad_(False)
    return vlm


class SoftRows(nn.Module):
    """A vector for every fact and name; a soft row is the normalised sum of what it states."""

    def __init__(self) -> None:
        super().__init__()
        self.items = nn.Embedding(len(SOFT_ITEMS), WIDTH)
        nn.init.normal_(self.items.weight, std=1.0)

    def forward(self, rows: list[tuple[int, ...]]) -> Tensor:
        """(R, 192) unit vectors."""
        return torch.stack([F.normalize(self.items.weight[list(row)].sum(0), dim=0) for row in rows])


def answer_loss(vlm: LlavaNextForConditionalGeneration, soft: SoftRows, features: Tensor, packed: Packed) -> Tensor:
    """Cross-entropy over the answers of a packed batch; features (B, 64, 192) from the tower."""
    with torch.autocast(packed.ids.device.type, torch.bfloat16):
        image = vlm.model.multi_modal_projector(features).float()
        norms = image[:, 0].norm(dim=-1)
        return spoken_loss(vlm.model.language_model, vlm.lm_head, image, norms, soft, packed)


def spoken_loss(
    llama: LlamaModel, head: nn.Linear, image: Tensor, norms: Tensor, soft: SoftRows, packed: Packed
) -> Tensor:
    """Cross-entropy over the answers, given image rows (B, N, 192) and the norm (B,) that soft rows take."""
    embeds = llama.embed_tokens(packed.ids)
    spots = torch.zeros_like(packed.ids, dtype=torch.bool)
    spots[:, packed.prefix - image.shape[1] : packed.prefix] = True
    embeds = embeds.masked_scatter(spots[..., None], image)
    if packed.soft_rows:
        rows = soft(packed.soft_rows) * norms[packed.soft_at[:, 0], None]
        embeds = embeds.index_put((packed.soft_at[:, 0], packed.soft_at[:, 1]), rows)
    hidden = llama(
        inputs_embeds=embeds, position_ids=packed.positions, use_cache=False, packed=packed
    ).last_hidden_state
    supervised = packed.targets >= 0
    logits = head(hidden[supervised])
    return F.cross_entropy(logits.float(), packed.targets[supervised])


@torch.inference_mode()
def see(tower: CLIPVisionModel, images: Tensor) -> np.ndarray:
    """Tower features (n, 64, 192) float16 of images (n, 3, 128, 128) in 0..1."""
    with torch.autocast(DEVICE.type, torch.bfloat16):
        hidden = tower.to(DEVICE)(pixel_values=normalise(images).to(DEVICE)).last_hidden_state
    return hidden[:, 1:].float().cpu().numpy().astype(np.float16)


@dataclass(frozen=True)
class Crowds:
    """Scenes of four, which the other sets lack: scenes, features (N, 64, 192) and boxes (N, 4, 4) in 0..1."""

    scenes: list[Scene]
    features: np.ndarray
    boxes: np.ndarray


@dataclass(frozen=True)
class Lesson:
    """Settings of the language stage."""

    schedule: Schedule
    batch: int = 16
    turns: int = 7
    augmented: float = 0.35
    hard_from: int = 1_000  # the step from which names that fit nobody appear
    late_from: int = 1_000_000  # the step from which crowds of four and more of the hard questions appear
    crowds: float = 0.15
    mix: Mix = Mix()
    late: Mix = Mix(question=2.0, named_question=2.0, two_names=1.0, hard=4.0)


def train_language(
    folder: Path,
    vlm: LlavaNextForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    data: Drawings,
    scenes: list[Scene],
    features: tuple[np.ndarray, np.ndarray],
    crowds: Crowds,
    lesson: Lesson,
) -> SoftRows:
    """Train projector, language model and soft rows, or finish training them."""
    torch.manual_seed(0)
    soft = SoftRows().to(DEVICE)
    vlm.to(DEVICE)
    early = Mix(**{**vars(lesson.mix), "wrong_name": 0.0, "bare_name": 0.05})

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((5, step))
        late = step >= lesson.late_from
        mix = lesson.late if late else lesson.mix if step >= lesson.hard_from else early
        crowded = late and bool(rng.random() < lesson.crowds)
        mirrored = not crowded and bool(rng.random() < lesson.augmented)
        cast, boxes = (crowds.scenes, crowds.boxes) if crowded else (scenes, data.boxes)
        rows = np.sort(rng.choice(len(cast), lesson.batch, replace=False))
        turns = [[draw_turn(rng, cast[k], boxes[k], mix, mirrored=mirrored) for _ in range(lesson.turns)] for k in rows]
        found = crowds.features if crowded else features[int(mirrored)]
        seen = torch.from_numpy(found[rows]).float().to(DEVICE)
        return {"answers": answer_loss(vlm, soft, seen, pack(tokenizer, turns, IMAGE_TOKENS).to(DEVICE))}

    modules = {"projector": vlm.model.multi_modal_projector, "lm": vlm.model.language_model, "head": vlm.lm_head}
    train("language", folder, {**modules, "soft": soft}, lesson.schedule, step_losses)
    vlm.cpu()
    return soft.cpu()
