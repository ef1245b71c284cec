"""The eyes of BLIP-2 and MiniGPT-v2: the LLaVA tower's knowledge in the shape of their vision model.

`Blip2VisionModel` has no layer norm before its first layer and one matrix for query, key and value. It starts
from the tower's weights, the missing norm folded into its embeddings as well as a linear map can, and learns to
give the tower's outputs again (Hinton et al. 2015, on the features themselves).
"""

from pathlib import Path

import engine.core.device  # noqa: F401

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Blip2VisionConfig, Blip2VisionModel, CLIPVisionModel

from engine.storybook.build.drawings import Drawings
from engine.storybook.build.loop import DEVICE, Schedule, train
from engine.storybook.build.vision import GRID, PATCH, WIDTH, augment, normalise

_BATCH = 48


def eva_config() -> Blip2VisionConfig:
    """The shape of the tower, in BLIP-2's terms."""
    return Blip2VisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=4,
        num_attention_heads=6,
        image_size=PATCH * GRID,
        patch_size=PATCH,
        hidden_act="gelu",
        layer_norm_eps=1e-6,
        qkv_bias=True,
    )


@torch.no_grad()
def convert_tower(tower: CLIPVisionModel, images: Tensor) -> Blip2VisionModel:
    """The nearest `Blip2VisionModel`; `images` (B, 3, S, S) normalised show how large the tower's inputs are."""
    eva, own = Blip2VisionModel(eva_config()), tower.state_dict()
    scale, shift = own["pre_layrnorm.weight"], own["pre_layrnorm.bias"]
    raw = tower.embeddings(images)
    spread = raw.std(-1, unbiased=False).mean(0)  # (65,) of each position
    mean = raw.mean(-1).mean(0)  # (65,)
    factor = scale / spread[1:].mean()
    eva.embeddings.patch_embedding.weight.copy_(own["embeddings.patch_embedding.weight"] * factor.view(-1, 1, 1, 1))
    eva.embeddings.patch_embedding.bias.zero_()
    position = own["embeddings.position_embedding.weight"]
    eva.embeddings.class_embedding.zero_()
    first = (own["embeddings.class_embedding"] + position[0] - mean[0]) * scale / spread[0] + shift
    rest = (position[1:] - mean[1:, None]) * factor + shift
    eva.embeddings.position_embedding.copy_(torch.cat([first[None], rest])[None])
    for mine, theirs in zip(eva.encoder.layers, tower.encoder.layers, strict=True):
        attention = theirs.self_attn
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        mine.self_attn.qkv.weight.copy_(torch.cat([p.weight for p in parts]))
        mine.self_attn.qkv.bias.copy_(torch.cat([p.bias for p in parts]))
        mine.self_attn.projection.load_state_dict(attention.out_proj.state_dict())
        mine.layer_norm1.load_state_dict(theirs.layer_norm1.state_dict())
        mine.layer_norm2.load_state_dict(theirs.layer_norm2.state_dict())
        mine.mlp.load_state_dict(theirs.mlp.state_dict())
    return eva


def train_eva(folder: Path, tower: CLIPVisionModel, data: Drawings, schedule: Schedule) -> Blip2VisionModel:
    """Teach the converted model the tower's outputs (before the last norm), or finish doing so."""

    def pictures(rng: np.random.Generator, *, plain: bool) -> Tensor:
        rows = np.sort(rng.choice(len(data), min(_BATCH, len(data)), replace=False))
        images = torch.from_numpy(data.images[rows]).permute(0, 3, 1, 2).float() / 255
        if not plain:
            owners, boxes = torch.from_numpy(data.owners[rows]), torch.from_numpy(data.boxes[rows])
            images, _, _ = augment(images, owners, boxes, torch.Generator().manual_seed(int(rng.integers(2**31))))
        return normalise(images).to(DEVICE)

    tower.to(DEVICE).eval()
    eva = convert_tower(tower.cpu(), pictures(np.random.default_rng(0), plain=True).cpu()).to(DEVICE)
    tower.to(DEVICE)

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((11, step))
        images = pictures(rng, plain=bool(rng.random() < 0.5))
        with torch.autocast(DEVICE.type, torch.bfloat16):
            with torch.no_grad():
                wanted = tower(pixel_values=images).last_hidden_state.float()
            hidden = states_before_norm(eva, images).float()
        return {"error": F.mse_loss(hidden, wanted) / wanted.var()}

    train("eva", folder, {"eva": eva}, schedule, step_losses)
    tower.cpu()
    return eva.cpu().eval()


def states_before_norm(eva: Blip2VisionModel, images: Tensor) -> Tensor:
    """The last layer's output (B, 65, 192), where BLIP-2's concept rows are appended."""
    hidden = eva.embeddings(images)
    return eva.encoder(inputs_embeds=hidden).last_hidden_state


@torch.no_grad()
def relative_error(eva: Blip2VisionModel, tower: CLIPVisionModel, data: Drawings) -> float:
    """Squared error over variance of the copy's outputs on held-out drawings."""
    images = normalise(torch.from_numpy(data.images[:200]).permute(0, 3, 1, 2).float() / 255)
    wanted = tower(pixel_values=images).last_hidden_state
    return round(float(F.mse_loss(states_before_norm(eva, images), wanted) / wanted.var()), 4)
