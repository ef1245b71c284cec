"""Where the image encoder starts: the VLM's tower, read out through linear discriminants of individuals.

The tower was taught every attribute of what stands in each patch; the mean over patches, projected on the directions
in which individuals differ most for how much their views do (Fisher 1936), already tells look-alikes apart better
than an encoder trained from nothing for an hour on two cores.
"""

from collections.abc import Iterable

import engine.core.device  # noqa: F401

import numpy as np
import open_clip
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPVisionModel

from engine.storybook.build.loop import DEVICE
from engine.storybook.build.vision import normalise

_RIDGE = 0.02
"""Of the mean variance within individuals: keeps directions without any from being infinitely good."""

_SAME = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
"""Parts of a block: open_clip's names, and those of transformers."""


def start_from_tower(model: open_clip.CLIP, tower: CLIPVisionModel) -> None:
    """Copy a CLIP vision tower of transformers into open_clip's; positions are resampled to its grid."""
    old = {k.removeprefix("vision_model."): v.detach().float().cpu() for k, v in tower.state_dict().items()}
    own = model.visual
    side = own.grid_size[0]
    position = old["embeddings.position_embedding.weight"]
    width, cells = position.shape[1], int((len(position) - 1) ** 0.5)
    grid = position[1:].T.reshape(1, width, cells, cells)
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=True)
    state = {
        "class_embedding": old["embeddings.class_embedding"],
        "conv1.weight": old["embeddings.patch_embedding.weight"],
        "positional_embedding": torch.cat([position[:1], grid[0].reshape(width, side * side).T]),
    }
    for ours, theirs in (("ln_pre", "pre_layrnorm"), ("ln_post", "post_layernorm")):
        state |= {f"{ours}.{k}": old[f"{theirs}.{k}"] for k in ("weight", "bias")}
    for i in range(len(own.transformer.resblocks)):
        state |= _block(old, f"encoder.layers.{i}.", f"transformer.resblocks.{i}.")
    missing, unexpected = own.load_state_dict(state, strict=False)
    assert missing == ["proj"], missing
    assert not unexpected, unexpected


def _block(old: dict[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    found, a, b = {}, f"{ours}attn.", f"{theirs}self_attn."
    for k in ("weight", "bias"):
        found[f"{a}in_proj_{k}"] = torch.cat([old[f"{b}{part}_proj.{k}"] for part in "qkv"])
        found[f"{a}out_proj.{k}"] = old[f"{b}out_proj.{k}"]
        for x, y in (
            ("ln_1", "layer_norm1"),
            ("ln_2", "layer_norm2"),
            ("mlp.c_fc", "mlp.fc1"),
            ("mlp.c_proj", "mlp.fc2"),
        ):
            found[f"{ours}{x}.{k}"] = old[f"{theirs}{y}.{k}"]
    return found


@torch.no_grad()
def project_on_differences(model: open_clip.CLIP, views: Iterable[Tensor]) -> None:
    """Set the projection to the linear discriminants of individuals, and the last bias so that features are centred.

    views: batches (N, V, 3, S, S) in 0..1, V views of each of N individuals.
    """
    own = model.visual
    seen = np.concatenate([_mean_of_patches(model, part.to(DEVICE)) for part in views])
    n, v = seen.shape[:2]
    within = (seen - seen.mean(axis=1, keepdims=True)).reshape(n * v, -1)
    scatter = within.T @ within / (n * (v - 1))
    between = np.cov(seen.mean(axis=1).T) - scatter / v
    scatter += _RIDGE * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
    whiten = np.linalg.inv(np.linalg.cholesky(scatter))
    values, vectors = np.linalg.eigh(whiten @ between @ whiten.T)
    order = np.argsort(-values)[: own.proj.shape[1]]
    gain = np.clip(values[order], 0.0, None)
    directions = (whiten.T @ vectors[:, order]) * np.sqrt(gain / (1.0 + gain))
    own.proj.copy_(torch.from_numpy(directions * 2.0 / np.sqrt(len(order))).float())
    own.ln_post.bias.sub_(torch.from_numpy(seen.reshape(n * v, -1).mean(axis=0)).float().to(own.ln_post.bias.device))


def _mean_of_patches(model: open_clip.CLIP, views: Tensor) -> np.ndarray:
    """What the tower says before it is projected, (N, V, width) float64."""
    own = model.visual
    projection, own.proj = own.proj, None
    try:
        found = own(normalise(views.flatten(0, 1))).double().cpu().numpy()
    finally:
        own.proj = projection
    return found.reshape(*views.shape[:2], -1)
