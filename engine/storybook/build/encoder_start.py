"""Initialise the image encoder from the VLM's vision tower, with linear discriminants of individuals as projection.

The tower was trained to predict all attributes of what each patch shows. The mean over patches, projected on the
directions in which individuals differ most relative to the crops of one individual (Fisher 1936), tells look-alikes
apart better than an encoder that was trained without this start for an hour on two cores.
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
"""Share of the mean variance within individuals that is added to it, so that no direction has zero variance."""

_LAYER_NAMES = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
"""Parts of a layer: open_clip's names, and those of transformers."""


def start_from_tower(model: open_clip.CLIP, tower: CLIPVisionModel) -> None:
    """Copy a CLIP vision tower of transformers into open_clip's; positions are resampled to its grid.

    Raises:
        ValueError: the two towers do not have the same layers.
    """
    weights = {k.removeprefix("vision_model."): v.detach().float().cpu() for k, v in tower.state_dict().items()}
    visual = model.visual
    side = visual.grid_size[0]
    position = weights["embeddings.position_embedding.weight"]  # (1 + cells², W)
    width, cells = position.shape[1], int((len(position) - 1) ** 0.5)
    grid = position[1:].T.reshape(1, width, cells, cells)
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=True)
    state = {
        "class_embedding": weights["embeddings.class_embedding"],
        "conv1.weight": weights["embeddings.patch_embedding.weight"],
        "positional_embedding": torch.cat([position[:1], grid[0].reshape(width, side * side).T]),
    }
    for ours, theirs in (("ln_pre", "pre_layrnorm"), ("ln_post", "post_layernorm")):
        state |= {f"{ours}.{k}": weights[f"{theirs}.{k}"] for k in ("weight", "bias")}
    for i in range(len(visual.transformer.resblocks)):
        state |= _layer(weights, f"encoder.layers.{i}.", f"transformer.resblocks.{i}.")
    missing, unexpected = visual.load_state_dict(state, strict=False)
    if missing != ["proj"] or unexpected:
        raise ValueError(f"the towers differ: {missing} missing, {unexpected} not expected")


def _layer(weights: dict[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    """Return one layer's weights under open_clip's names."""
    state, a, b = {}, f"{ours}attn.", f"{theirs}self_attn."
    for k in ("weight", "bias"):
        state[f"{a}in_proj_{k}"] = torch.cat([weights[f"{b}{part}_proj.{k}"] for part in "qkv"])
        state[f"{a}out_proj.{k}"] = weights[f"{b}out_proj.{k}"]
        for x, y in _LAYER_NAMES.items():
            state[f"{ours}{x}.{k}"] = weights[f"{theirs}{y}.{k}"]
    return state


@torch.no_grad()
def set_discriminants(model: open_clip.CLIP, batches: Iterable[Tensor]) -> None:
    """Set the projection to the linear discriminants of individuals, and the last bias so that features are centred.

    batches: crops (N, V, 3, S, S) in 0..1, V of each of N individuals.
    """
    visual = model.visual
    features = np.concatenate([_mean_of_patches(model, batch.to(DEVICE)) for batch in batches])  # (N, V, W)
    n, v = features.shape[:2]
    within = (features - features.mean(axis=1, keepdims=True)).reshape(n * v, -1)
    scatter = within.T @ within / (n * (v - 1))  # (W, W)
    between = np.cov(features.mean(axis=1).T) - scatter / v
    scatter += _RIDGE * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
    whiten = np.linalg.inv(np.linalg.cholesky(scatter))
    values, vectors = np.linalg.eigh(whiten @ between @ whiten.T)
    order = np.argsort(-values)[: visual.proj.shape[1]]
    gain = np.clip(values[order], 0.0, None)
    directions = (whiten.T @ vectors[:, order]) * np.sqrt(gain / (1.0 + gain))
    visual.proj.copy_(torch.from_numpy(directions * 2.0 / np.sqrt(len(order))).float())
    centre = torch.from_numpy(features.reshape(n * v, -1).mean(axis=0)).float()
    visual.ln_post.bias.sub_(centre.to(visual.ln_post.bias.device))


def _mean_of_patches(model: open_clip.CLIP, crops: Tensor) -> np.ndarray:
    """Compute the tower's output before its projection, (N, V, W) float64, of crops (N, V, 3, S, S)."""
    visual = model.visual
    projection, visual.proj = visual.proj, None
    try:
        features = visual(normalise(crops.flatten(0, 1))).double().cpu().numpy()
    finally:
        visual.proj = projection
    return features.reshape(*crops.shape[:2], -1)
