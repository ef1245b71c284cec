"""Stage 2: the VLM's tongue. Projector and language model on the frozen tower's cached features.

Several turns about one picture share its image tokens in one sequence; a block mask and restarted
positions make every turn see the image and itself only, exactly as when it is asked alone.
"""

from dataclasses import dataclass
from pathlib import Path

import engine.device  # noqa: F401

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    CLIPVisionModel,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from engine.storybook.build.dialogues import SOFT_ITEMS, Mix, Turn, draw_turn
from engine.storybook.build.drawings import Drawings
from engine.storybook.build.loop import Schedule, train
from engine.storybook.build.vision import GRID, PATCH, WIDTH, augment, normalise, vision_config
from engine.storybook.world.scenes import Scene

IMAGE_TOKENS = GRID * GRID
_PAD_TO = 16


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
    vlm.set_attn_implementation("eager")
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


@dataclass(frozen=True)
class Packed:
    """A batch of pictures with their turns in one sequence each; S includes image and padding."""

    ids: Tensor  # (B, S) int64, image placeholders included
    blocks: Tensor  # (B, S) int64: 0 shared prefix, k the k-th turn, -1 padding
    positions: Tensor  # (B, S) int64
    targets: Tensor  # (B, S) int64: the next token where it is supervised, else -100
    soft_at: Tensor  # (R, 2) int64: batch row and sequence index of every soft row
    soft_rows: list[tuple[int, ...]]


def pack(tokenizer: PreTrainedTokenizerFast, turns: list[list[Turn]]) -> Packed:
    """Lay out the turns of each picture behind its image tokens."""
    image = tokenizer.convert_tokens_to_ids("<image>")
    prefix = [tokenizer.bos_token_id, *_encode(tokenizer, "USER:"), *[image] * IMAGE_TOKENS]
    lines, soft_at, soft_rows = [], [], []
    for b, own in enumerate(turns):
        ids, blocks = list(prefix), [0] * len(prefix)
        positions, targets = list(range(len(prefix))), [-100] * len(prefix)
        for k, turn in enumerate(own, 1):
            for row in turn.rows:
                soft_at.append((b, len(ids) + turn.rows.index(row)))
                soft_rows.append(row)
            request = [tokenizer.pad_token_id] * len(turn.rows)
            request += _encode(tokenizer, f"{turn.request} ASSISTANT:")
            answer = [*_encode(tokenizer, turn.answer), tokenizer.eos_token_id]
            text = request + answer
            ids += text
            blocks += [k] * len(text)
            positions += range(len(prefix), len(prefix) + len(text))
            targets += [-100] * (len(request) - 1) + answer + [-100]
        lines.append((ids, blocks, positions, targets))
    longest = max(len(line[0]) for line in lines)
    longest = -(-longest // _PAD_TO) * _PAD_TO
    fills = (tokenizer.pad_token_id, -1, 0, -100)
    columns = [
        torch.tensor([line[i] + [fill] * (longest - len(line[i])) for line in lines]) for i, fill in enumerate(fills)
    ]
    return Packed(*columns, torch.tensor(soft_at).reshape(-1, 2), soft_rows)


def _encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False).input_ids


def block_mask(blocks: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, 1, S, S) additive mask: causal, and a turn sees the prefix and itself."""
    q, k = blocks[:, :, None], blocks[:, None, :]
    causal = torch.ones(blocks.shape[1], blocks.shape[1], dtype=torch.bool).tril()
    allowed = causal & ((k == 0) | (k == q)) & (k >= 0)
    allowed |= torch.eye(blocks.shape[1], dtype=torch.bool)
    return torch.zeros(allowed.shape, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)[:, None]


def answer_loss(vlm: LlavaNextForConditionalGeneration, soft: SoftRows, features: Tensor, packed: Packed) -> Tensor:
    """Cross-entropy over the answers of a packed batch; features (B, 64, 192) from the tower."""
    with torch.autocast("cpu", torch.bfloat16):
        image = vlm.model.multi_modal_projector(features).float()
        embeds = vlm.get_input_embeddings()(packed.ids)
        embeds = embeds.masked_scatter((packed.ids == vlm.config.image_token_id)[..., None], image)
        if packed.soft_rows:
            norms = image[packed.soft_at[:, 0], 0].norm(dim=-1, keepdim=True)
            rows = soft(packed.soft_rows) * norms
            embeds = embeds.index_put((packed.soft_at[:, 0], packed.soft_at[:, 1]), rows)
        hidden = vlm.model.language_model(
            inputs_embeds=embeds,
            attention_mask=block_mask(packed.blocks, torch.bfloat16),
            position_ids=packed.positions,
            use_cache=False,
        ).last_hidden_state
        supervised = packed.targets >= 0
        logits = vlm.lm_head(hidden[supervised])
    return F.cross_entropy(logits.float(), packed.targets[supervised])


@torch.inference_mode()
def cache_features(
    folder: Path, tower: CLIPVisionModel, data: Drawings, name: str, seed: int | None = None
) -> np.ndarray:
    """Tower features of every drawing, (N, 64, 192) float16, augmented when a seed is given."""
    path = folder / f"features_{name}.npy"
    if path.is_file():
        return np.load(path, mmap_mode="r")
    temporary = path.with_suffix(".tmp")
    found = np.lib.format.open_memmap(temporary, "w+", np.float16, (len(data), IMAGE_TOKENS, WIDTH))
    for start in range(0, len(data), 100):
        images = torch.from_numpy(data.images[start : start + 100]).permute(0, 3, 1, 2).float() / 255
        if seed is not None:
            owners = torch.from_numpy(data.owners[start : start + 100])
            boxes = torch.from_numpy(data.boxes[start : start + 100])
            images, _, _ = augment(images, owners, boxes, torch.Generator().manual_seed(seed + start))
        with torch.autocast("cpu", torch.bfloat16):
            hidden = tower(pixel_values=normalise(images)).last_hidden_state
        found[start : start + 100] = hidden[:, 1:].float().numpy().astype(np.float16)
    found.flush()
    temporary.replace(path)
    return np.load(path, mmap_mode="r")


@dataclass(frozen=True)
class Lesson:
    """Settings of the language stage."""

    schedule: Schedule
    batch: int = 16
    turns: int = 7
    augmented: float = 0.35
    hard_from: float = 0.2  # share of the steps before names that fit nobody appear
    mix: Mix = Mix()


def train_language(
    folder: Path,
    vlm: LlavaNextForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    data: Drawings,
    scenes: list[Scene],
    features: tuple[np.ndarray, np.ndarray],
    lesson: Lesson,
) -> SoftRows:
    """Train projector, language model and soft rows, or finish training them."""
    torch.manual_seed(0)
    soft = SoftRows()
    early = Mix(**{**vars(lesson.mix), "wrong_name": 0.0, "bare_name": 0.05})

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((5, step))
        rows = np.sort(rng.choice(len(data), lesson.batch, replace=False))
        mix = lesson.mix if step >= lesson.hard_from * lesson.schedule.steps else early
        mirrored = bool(rng.random() < lesson.augmented)
        turns = [
            [draw_turn(rng, scenes[k], data.boxes[k], mix, mirrored=mirrored) for _ in range(lesson.turns)]
            for k in rows
        ]
        seen = torch.from_numpy(features[int(mirrored)][rows]).float()
        return {"answers": answer_loss(vlm, soft, seen, pack(tokenizer, turns))}

    modules = {"projector": vlm.model.multi_modal_projector, "lm": vlm.model.language_model, "head": vlm.lm_head}
    train("language", folder, {**modules, "soft": soft}, lesson.schedule, step_losses)
    return soft
