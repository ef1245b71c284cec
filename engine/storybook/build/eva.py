"""Stage 3: the vision model that BLIP-2 and MiniGPT-v2 share, distilled from the LLaVA's vision tower.

`Blip2VisionModel` has no layer norm before its first layer, and one matrix for query, key and value. It starts from the
tower's weights, with the mean effect of the missing norm folded into its embeddings, and is trained to give the tower's
outputs (Hinton et al. 2015, on features instead of logits; `docs/experiments.md#llava-tower-in-blip-2s-shape`).
"""

from pathlib import Path

import engine.core.device  # noqa: F401

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Blip2VisionConfig, Blip2VisionModel, CLIPVisionModel

from engine.storybook.build.drawings import Drawings
from engine.storybook.build.loop import DEVICE, Schedule, to_device, train
from engine.storybook.build.vision import GRID, PATCH, WIDTH, augment, normalise, to_pixels

_BATCH = 48


def eva_config() -> Blip2VisionConfig:
    """Return the tower's shape as BLIP-2's config."""
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
    """Make the `Blip2VisionModel` nearest to a tower.

    images (B, 3, S, S), normalised: the scale of the missing norm is measured on them.
    """
    eva, weights = Blip2VisionModel(eva_config()), tower.state_dict()
    scale, shift = weights["pre_layrnorm.weight"], weights["pre_layrnorm.bias"]  # (W,)
    raw = tower.embeddings(images)  # (B, 65, W)
    spread = raw.std(-1, unbiased=False).mean(0)  # (65,)
    mean = raw.mean(-1).mean(0)  # (65,)
    factor = scale / spread[1:].mean()
    patches = weights["embeddings.patch_embedding.weight"] * factor.view(-1, 1, 1, 1)
    eva.embeddings.patch_embedding.load_state_dict({"weight": patches, "bias": torch.zeros(WIDTH)})
    position = weights["embeddings.position_embedding.weight"]  # (65, W)
    eva.embeddings.class_embedding.zero_()
    first = (weights["embeddings.class_embedding"] + position[0] - mean[0]) * scale / spread[0] + shift
    rest = (position[1:] - mean[1:, None]) * factor + shift
    eva.embeddings.position_embedding.copy_(torch.cat([first[None], rest])[None])
    for target, source in zip(eva.encoder.layers, tower.encoder.layers, strict=True):
        parts = [source.get_submodule(f"self_attn.{part}_proj").state_dict() for part in "qkv"]
        joined = {k: torch.cat([part[k] for part in parts]) for k in ("weight", "bias")}
        target.get_submodule("self_attn.qkv").load_state_dict(joined)
        target.get_submodule("self_attn.projection").load_state_dict(
            source.get_submodule("self_attn.out_proj").state_dict()
        )
        for name in ("layer_norm1", "layer_norm2", "mlp"):
            target.get_submodule(name).load_state_dict(source.get_submodule(name).state_dict())
    return eva


def train_eva(folder: Path, tower: CLIPVisionModel, data: Drawings, schedule: Schedule) -> Blip2VisionModel:
    """Train the converted model on the tower's outputs before the last norm, or continue from its checkpoint."""

    def load_images(rng: np.random.Generator, *, plain: bool) -> Tensor:
        rows = np.sort(rng.choice(len(data), min(_BATCH, len(data)), replace=False))
        images = to_pixels(data.images[rows])  # (B, 3, S, S)
        if not plain:
            owners, boxes = torch.from_numpy(data.owners[rows]), torch.from_numpy(data.boxes[rows])
            images, _, _ = augment(images, owners, boxes, torch.Generator().manual_seed(int(rng.integers(2**31))))
        return normalise(images).to(DEVICE)

    to_device(tower).eval()
    eva = to_device(convert_tower(tower.cpu(), load_images(np.random.default_rng(0), plain=True).cpu()))
    to_device(tower)

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((11, step))
        images = load_images(rng, plain=bool(rng.random() < 0.5))
        with torch.autocast(DEVICE.type, torch.bfloat16):
            with torch.no_grad():
                targets = tower(pixel_values=images).last_hidden_state.float()  # (B, 65, W)
            states = states_before_norm(eva, images).float()
        return {"error": F.mse_loss(states, targets) / targets.var()}

    train("eva", folder, {"eva": eva}, schedule, step_losses)
    tower.cpu()
    return eva.cpu().eval()


def states_before_norm(eva: Blip2VisionModel, images: Tensor) -> Tensor:
    """Compute the last layer's output, (B, 65, 192), to which BLIP-2's concept rows are appended."""
    hidden = eva.embeddings(images)
    return eva.encoder(inputs_embeds=hidden).last_hidden_state


@torch.no_grad()
def relative_error(eva: Blip2VisionModel, tower: CLIPVisionModel, data: Drawings) -> float:
    """Measure the squared error of the copy's outputs, over their variance, on 200 held-out drawings."""
    images = normalise(to_pixels(data.images[:200]))
    targets = tower(pixel_values=images).last_hidden_state
    return round(float(F.mse_loss(states_before_norm(eva, images), targets) / targets.var()), 4)
