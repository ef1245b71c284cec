"""Stage 2: the VLM's projector and language model, trained on the frozen vision tower's cached features."""

from dataclasses import dataclass, replace
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

from engine.storybook.build.dialogues import SOFT_ITEMS, Mix, SoftRow, draw_turn
from engine.storybook.build.drawings import Drawings
from engine.storybook.build.loop import DEVICE, Schedule, to_device, train
from engine.storybook.build.packing import Packed, pack, register
from engine.storybook.build.tokenizer import token_id
from engine.storybook.build.vision import GRID, PATCH, WIDTH, normalise, vision_config
from engine.storybook.world.scenes import Scene

IMAGE_TOKENS = GRID * GRID


def make_vlm(
    tokenizer: PreTrainedTokenizerFast, tower: CLIPVisionModel | None = None
) -> LlavaNextForConditionalGeneration:
    """Make a LLaVA-NeXT with the trained tower (frozen), and a projector and a Llama with initial weights."""
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
        image_token_index=token_id(tokenizer, "<image>"),
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
    """A vector for each fact and name; a soft row is the normalised sum of the vectors of what it states."""

    def __init__(self) -> None:
        super().__init__()
        self.items = nn.Embedding(len(SOFT_ITEMS), WIDTH)
        nn.init.normal_(self.items.weight, std=1.0)

    def forward(self, rows: list[SoftRow]) -> Tensor:
        """Embed R soft rows as unit vectors, (R, 192)."""
        return torch.stack([F.normalize(self.items.weight[list(row)].sum(0), dim=0) for row in rows])


def answer_loss(vlm: LlavaNextForConditionalGeneration, soft: SoftRows, features: Tensor, packed: Packed) -> Tensor:
    """Compute the cross-entropy over the answers of a packed batch; features (B, 64, 192) are the tower's."""
    with torch.autocast(packed.ids.device.type, torch.bfloat16):
        image = vlm.model.multi_modal_projector(features).float()  # (B, 64, 192)
        norms = image[:, 0].norm(dim=-1)  # (B,)
        return language_loss(vlm.model.language_model, vlm.lm_head, image, norms, soft, packed)


def language_loss(
    llama: LlamaModel, head: nn.Linear, image: Tensor, norms: Tensor, soft: SoftRows, packed: Packed
) -> Tensor:
    """Compute the cross-entropy over the answers from image rows (B, N, 192) and the soft rows' norms (B,)."""
    embeds = llama.embed_tokens(packed.ids)  # (B, S, 192)
    is_image = torch.zeros_like(packed.ids, dtype=torch.bool)
    is_image[:, packed.prefix - image.shape[1] : packed.prefix] = True
    embeds = embeds.masked_scatter(is_image[..., None], image)
    if packed.soft_rows:
        rows = soft(packed.soft_rows) * norms[packed.soft_at[:, 0], None]  # (R, 192)
        embeds = embeds.index_put((packed.soft_at[:, 0], packed.soft_at[:, 1]), rows)
    hidden = llama(
        inputs_embeds=embeds, position_ids=packed.positions, use_cache=False, packed=packed
    ).last_hidden_state
    supervised = packed.targets >= 0
    logits = head(hidden[supervised])
    return F.cross_entropy(logits.float(), packed.targets[supervised])


@torch.inference_mode()
def encode_images(tower: CLIPVisionModel, images: Tensor) -> np.ndarray:
    """Compute the tower's features, (n, 64, 192) float16, of images (n, 3, 128, 128) in 0..1."""
    with torch.autocast(DEVICE.type, torch.bfloat16):
        hidden = to_device(tower)(pixel_values=normalise(images).to(DEVICE)).last_hidden_state  # (n, 65, 192)
    return hidden[:, 1:].float().cpu().numpy().astype(np.float16)


@dataclass(frozen=True)
class Crowds:
    """N scenes of four, which the other sets lack, with features (N, 64, 192) and boxes (N, 4, 4) in 0..1."""

    scenes: list[Scene]
    features: np.ndarray
    boxes: np.ndarray


@dataclass(frozen=True)
class LanguageSettings:
    """Settings of the language stage.

    `augmented` and `crowds` are shares of the batches; `late` replaces `mix` from step `late_from` on.
    """

    schedule: Schedule
    batch: int = 16
    turns: int = 7
    augmented: float = 0.35
    hard_from: int = 1_000  # the step from which names appear whose description fits no character
    late_from: int = 1_000_000  # the step from which crowds of four and more of the hard questions appear
    crowds: float = 0.15
    mix: Mix = Mix()
    late: Mix = Mix(question=2.0, named_question=2.0, two_names=1.0, hard=4.0)


def trained_modules(vlm: LlavaNextForConditionalGeneration) -> dict[str, nn.Module]:
    """Return the modules that the language stage trains, under the names of its checkpoint."""
    return {"projector": vlm.model.multi_modal_projector, "lm": vlm.model.language_model, "head": vlm.lm_head}


def train_language(
    folder: Path,
    vlm: LlavaNextForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    data: Drawings,
    scenes: list[Scene],
    features: tuple[np.ndarray, np.ndarray],
    crowds: Crowds,
    settings: LanguageSettings,
) -> SoftRows:
    """Train projector, language model and soft rows, or continue from their checkpoint.

    features: of all scenes, (N, 64, 192) each, plain and augmented.
    """
    torch.manual_seed(0)
    soft = to_device(SoftRows())
    to_device(vlm)
    early = replace(settings.mix, wrong_name=0.0, bare_name=0.05)

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((5, step))
        late = step >= settings.late_from
        mix = settings.late if late else settings.mix if step >= settings.hard_from else early
        crowded = late and bool(rng.random() < settings.crowds)
        mirrored = not crowded and bool(rng.random() < settings.augmented)
        pool, boxes = (crowds.scenes, crowds.boxes) if crowded else (scenes, data.boxes)
        rows = np.sort(rng.choice(len(pool), settings.batch, replace=False))
        turns = [
            [draw_turn(rng, pool[k], boxes[k], mix, mirrored=mirrored) for _ in range(settings.turns)] for k in rows
        ]
        stored = crowds.features if crowded else features[int(mirrored)]
        batch = torch.from_numpy(stored[rows]).float().to(DEVICE)  # (B, 64, 192)
        return {"answers": answer_loss(vlm, soft, batch, pack(tokenizer, turns, IMAGE_TOKENS).to(DEVICE))}

    train("language", folder, {**trained_modules(vlm), "soft": soft}, settings.schedule, step_losses)
    vlm.cpu()
    return soft.cpu()
