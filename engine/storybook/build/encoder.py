"""Stage 3: the image encoder of object heads, in open_clip's format.

Trained on crops of families of look-alikes: an individual's views must be near each other and far
from its look-alike's (supervised contrastive), every view must tell the attributes, and views must
match descriptions (CLIP's loss), which is what makes it an open_clip model.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import engine.device  # noqa: F401

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from engine.storybook.build.crop_data import CROP_SIZE, FAMILY, VIEWS
from engine.storybook.build.labels import VALUES
from engine.storybook.build.loop import DEVICE, Schedule, train
from engine.storybook.build.vision import MEAN, STD, normalise
from engine.storybook.world.individuals import Individual, Person
from engine.storybook.world.language import describe, facts_of

EMBEDDING = 128
CONTEXT = 24
_TEMPERATURE = 0.07
_COLUMNS = (
    "category",
    "color",
    "pattern",
    "pattern_color",
    "accessory",
    "accessory_color",
    "detail",
    "hair_color",
    "hair_style",
)


def encoder_config(vocabulary: int) -> dict:
    """open_clip's model config."""
    return {
        "embed_dim": EMBEDDING,
        "vision_cfg": {
            "image_size": CROP_SIZE,
            "layers": 4,
            "width": 160,
            "head_width": 32,
            "mlp_ratio": 4.0,
            "patch_size": 16,
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": vocabulary,
            "hf_tokenizer_name": "../vlm",
            "width": 96,
            "heads": 3,
            "layers": 1,
            "pool_type": "eos",
            "pad_id": 0,
            "eos_id": 2,
        },
    }


@dataclass(frozen=True)
class CropLabels:
    """Labels of families: attributes (F, 3, 9) int64 (-1: does not apply), texts (F, 3, 24) int64 token ids."""

    attributes: Tensor
    texts: Tensor


def label_families(families: list[tuple[Individual, ...]], tokenizer: PreTrainedTokenizerFast) -> CropLabels:
    """Attributes and descriptions of every individual."""
    attributes = torch.full((len(families), FAMILY, len(_COLUMNS)), -1)
    texts = torch.zeros(len(families), FAMILY, CONTEXT, dtype=torch.int64)
    for f, family in enumerate(families):
        for k, who in enumerate(family):
            for c, name in enumerate(_COLUMNS):
                value = _value(who, name)
                if value is not None:
                    attributes[f, k, c] = VALUES[name].index(value)
            ids = tokenizer(f"a photo of a {describe(facts_of(who)).phrase}", add_special_tokens=False).input_ids
            ids = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id][:CONTEXT]
            texts[f, k, : len(ids)] = torch.tensor(ids)
    return CropLabels(attributes, texts)


def _value(who: Individual, name: str) -> str | None:
    value = getattr(who, name, None)
    if isinstance(who, Person) or value is None:
        return value
    if (name == "pattern_color" and who.pattern == "plain") or (name == "accessory_color" and who.accessory == "none"):
        return None
    return value


class _Heads(nn.Module):
    """Attribute classifiers on the class token's projection; thrown away afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = [len(VALUES[c]) for c in _COLUMNS]
        self.classify = nn.Linear(EMBEDDING, sum(self.sizes))

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        return self.classify(features).split(self.sizes, -1)


def make_encoder(vocabulary: int) -> open_clip.CLIP:
    """A fresh encoder."""
    torch.manual_seed(0)
    config = encoder_config(vocabulary)
    text = {k: v for k, v in config["text_cfg"].items() if k != "hf_tokenizer_name"}
    return open_clip.CLIP(EMBEDDING, config["vision_cfg"], text)


def train_encoder(
    folder: Path,
    crops: np.ndarray,
    labels: CropLabels,
    vocabulary: int,
    schedule: Schedule,
    families: int = 8,
    views: int = 4,
) -> open_clip.CLIP:
    """Train the encoder, or finish training it."""
    model, heads = make_encoder(vocabulary).to(DEVICE), _Heads().to(DEVICE)

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((6, step))
        rows = np.sort(rng.choice(len(crops), families, replace=False))
        chosen = np.argsort(rng.random((families, FAMILY, VIEWS)), axis=-1)[..., :views]
        picked = np.take_along_axis(crops[rows], chosen[..., None, None, None], axis=2)
        pixels = torch.from_numpy(picked.reshape(-1, CROP_SIZE, CROP_SIZE, 3)).permute(0, 3, 1, 2).float() / 255
        pixels = _vary(pixels, torch.Generator().manual_seed(step)).to(DEVICE)
        with torch.autocast(DEVICE.type, torch.bfloat16):
            raw = model.encode_image(normalise(pixels)).float()
            words = model.encode_text(labels.texts[rows].flatten(0, 1).to(DEVICE)).float()
        return _losses(raw, words, heads, labels.attributes[rows].to(DEVICE), views, model.logit_scale)

    train("encoder", folder, {"model": model, "heads": heads}, schedule, step_losses)
    return model.cpu().eval()


def _losses(
    raw: Tensor, words: Tensor, heads: _Heads, attributes: Tensor, views: int, scale: Tensor
) -> dict[str, Tensor]:
    features = F.normalize(raw, dim=-1)
    ids = torch.arange(len(raw) // views, device=raw.device).repeat_interleave(views)
    logits = features @ features.T / _TEMPERATURE
    eye = torch.eye(len(ids), dtype=torch.bool, device=ids.device)
    same = (ids[:, None] == ids[None]) & ~eye
    log_p = logits - torch.logsumexp(logits.masked_fill(eye, -torch.inf), 1, keepdim=True)
    found = {"identity": -(log_p.masked_fill(~same, 0).sum(1) / same.sum(1)).mean()}
    targets = attributes.flatten(0, 1).repeat_interleave(views, 0)
    for name, values, target in zip(_COLUMNS, heads(raw), targets.unbind(1), strict=True):
        if (target >= 0).any():
            found[name] = 0.3 * F.cross_entropy(values, target, ignore_index=-1)
    first = features.view(-1, views, features.shape[-1])[:, 0]
    match = scale.exp().clamp(max=50) * first @ F.normalize(words, dim=-1).T
    pairs = torch.arange(len(match), device=match.device)
    found["text"] = 0.15 * (F.cross_entropy(match, pairs) + F.cross_entropy(match.T, pairs))
    return found


def _vary(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Flip, turn a little, change the light."""
    n = len(pixels)
    angle = torch.where(
        torch.rand(n, generator=generator) < 0.5, (torch.rand(n, generator=generator) - 0.5) * 30, torch.zeros(n)
    )
    flip = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    c, s, zero = torch.cos(torch.deg2rad(angle)), torch.sin(torch.deg2rad(angle)), torch.zeros(n)
    theta = torch.stack([torch.stack([c * flip, s, zero], 1), torch.stack([-s * flip, c, zero], 1)], 1)
    grid = F.affine_grid(theta, [n, 1, CROP_SIZE, CROP_SIZE], align_corners=False)
    light = 0.65 + 0.7 * torch.rand(n, 1, 1, 1, generator=generator)
    return (F.grid_sample(pixels, grid, padding_mode="border", align_corners=False) * light).clamp(0, 1)


def save_encoder(model: open_clip.CLIP, vocabulary: int, folder: Path) -> None:
    """Write the encoder as open_clip's `local-dir:` expects it, in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    preprocess = {"mean": list(MEAN), "std": list(STD), "interpolation": "bicubic", "resize_mode": "squash"}
    config = {"model_cfg": encoder_config(vocabulary), "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    state = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
