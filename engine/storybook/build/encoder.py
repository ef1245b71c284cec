"""Stage 6: the image encoder of object heads, in open_clip's format.

It starts from the VLM's vision tower and is trained on crops of families of look-alikes, with three losses. Crops of
one individual must be close to each other, and far from those of its look-alikes and of individuals of earlier batches
(supervised contrastive loss, Khosla et al. 2020, with a queue as in MoCo, He et al. 2020). Each crop must predict its
attributes. Crops must match their descriptions (CLIP's loss, Radford et al. 2021), for which open_clip needs a text
tower. Most batches are of one colour, because individuals of different colours are easy to tell apart. Measured in
`docs/experiments.md#encoder`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import engine.core.device  # noqa: F401

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPVisionModel, PreTrainedTokenizerFast

from engine.storybook.build.crop_data import CROP_SIZE, FAMILY, VIEWS
from engine.storybook.build.encoder_start import set_discriminants, start_from_tower
from engine.storybook.build.labels import VALUES
from engine.storybook.build.loop import DEVICE, Schedule, train
from engine.storybook.build.vision import MEAN, STD, normalise, to_pixels
from engine.storybook.world.individuals import Individual, Person
from engine.storybook.world.language import describe, facts_of

EMBEDDING = 128
CONTEXT = 24
_TEMPERATURE = 0.06
_QUEUE = 6144
"""Number of crops of earlier batches that serve as negatives."""
_ONE_COLOR = 0.7
"""Share of batches whose families are of one colour (people: of one category)."""
_DISCRIMINANT_FAMILIES = 1000
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


def encoder_config(vocabulary: int) -> dict[str, Any]:
    """Return open_clip's model config."""
    return {
        "embed_dim": EMBEDDING,
        "vision_cfg": {
            "image_size": CROP_SIZE,
            "layers": 4,
            "width": 192,
            "head_width": 32,
            "pool_type": "avg",
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
    """Labels of F families.

    attributes (F, 3, 9) int64, -1 where one does not apply; texts (F, 3, 24) int64 token ids; groups: indices of the
    families of one colour each (of people: of one category).
    """

    attributes: Tensor
    texts: Tensor
    groups: tuple[np.ndarray, ...]


def label_families(families: list[tuple[Individual, ...]], tokenizer: PreTrainedTokenizerFast) -> CropLabels:
    """Encode the attributes and the description of every individual."""
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
    return CropLabels(attributes, texts, _group(families))


def _group(families: list[tuple[Individual, ...]]) -> tuple[np.ndarray, ...]:
    groups: dict[str, list[int]] = {}
    for row, (first, *_) in enumerate(families):
        groups.setdefault(first.category if isinstance(first, Person) else first.color, []).append(row)
    return tuple(np.array(rows) for rows in groups.values())


def _value(who: Individual, name: str) -> str | None:
    value = getattr(who, name, None)
    if isinstance(who, Person) or value is None:
        return value
    if (name == "pattern_color" and who.pattern == "plain") or (name == "accessory_color" and who.accessory == "none"):
        return None
    return value


class _Heads(nn.Module):
    """Attribute classifiers on the features; they are not shipped."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = [len(VALUES[c]) for c in _COLUMNS]
        self.classify = nn.Linear(EMBEDDING, sum(self.sizes))

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        return self.classify(features).split(self.sizes, -1)


class _Queue(nn.Module):
    """Features of the crops of earlier batches, (Q, D), with their owners' ids, (Q,) int64, -1 in empty rows."""

    features: Tensor
    owners: Tensor
    place: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(_QUEUE, EMBEDDING))
        self.register_buffer("owners", torch.full((_QUEUE,), -1))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, features: Tensor, owners: Tensor) -> None:
        """Replace the oldest rows by features (B, D) of owners (B,)."""
        rows = (self.place + torch.arange(len(features), device=self.place.device)) % _QUEUE
        self.features[rows], self.owners[rows] = features.detach(), owners
        self.place += len(features)


def make_encoder(vocabulary: int) -> open_clip.CLIP:
    """Make a new encoder with initial weights of seed 0."""
    torch.manual_seed(0)
    config = encoder_config(vocabulary)
    text = {k: v for k, v in config["text_cfg"].items() if k != "hf_tokenizer_name"}
    return open_clip.CLIP(EMBEDDING, config["vision_cfg"], text)


def train_encoder(
    folder: Path,
    tower: CLIPVisionModel,
    crops: np.ndarray,
    labels: CropLabels,
    vocabulary: int,
    schedule: Schedule,
    families: int = 8,
    views: int = 4,
) -> open_clip.CLIP:
    """Train the encoder from the VLM's vision tower, or continue from its checkpoint."""
    model, heads, queue = make_encoder(vocabulary).to(DEVICE), _Heads().to(DEVICE), _Queue().to(DEVICE)
    if not (folder / "encoder.checkpoint").is_file():
        start_from_tower(model, tower)
        batches = map(_augmented_crops, crops[:_DISCRIMINANT_FAMILIES], range(_DISCRIMINANT_FAMILIES))
        set_discriminants(model, batches)
    odds = np.array([len(g) for g in labels.groups]) / len(crops)

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((6, step))
        group = labels.groups[rng.choice(len(odds), p=odds)] if rng.random() < _ONE_COLOR else np.arange(len(crops))
        rows = np.sort(rng.choice(group, families, replace=len(group) < families))
        chosen = np.argsort(rng.random((families, FAMILY, VIEWS)), axis=-1)[..., :views]
        batch = np.take_along_axis(crops[rows], chosen[..., None, None, None], axis=2)
        pixels = _to_pixels(batch.reshape(-1, CROP_SIZE, CROP_SIZE, 3))  # (B, 3, S, S), B = families · 3 · views
        pixels = _augment(pixels, torch.Generator().manual_seed(step)).to(DEVICE)
        with torch.autocast(DEVICE.type, torch.bfloat16):
            raw = model.encode_image(normalise(pixels)).float()  # (B, D)
            texts = model.encode_text(labels.texts[rows].flatten(0, 1).to(DEVICE)).float()  # (B / views, D)
        features = F.normalize(raw, dim=-1)
        owners = (FAMILY * torch.from_numpy(rows)[:, None] + torch.arange(FAMILY)).flatten().to(DEVICE)
        identity = _contrastive_loss(features, owners.repeat_interleave(views), queue)
        queue.push(features, owners.repeat_interleave(views))
        targets = labels.attributes[rows].flatten(0, 1).repeat_interleave(views, 0).to(DEVICE)
        attributes = _attribute_losses(heads(raw), targets)
        return {"identity": identity, **attributes, "text": _text_loss(features[::views], texts, model.logit_scale)}

    train("encoder", folder, {"model": model, "heads": heads, "queue": queue}, schedule, step_losses)
    return model.cpu().eval()


def _augmented_crops(family: np.ndarray, seed: int) -> Tensor:
    """Augment all crops of a family, (3, V, S, S, 3) uint8: (3, V, 3, S, S) in 0..1."""
    pixels = _to_pixels(family.reshape(-1, CROP_SIZE, CROP_SIZE, 3))
    return _augment(pixels, torch.Generator().manual_seed(seed)).unflatten(0, (-1, VIEWS))


def _to_pixels(crops: np.ndarray) -> Tensor:
    return to_pixels(np.array(crops))  # a copy: memory-mapped arrays are read-only


def _contrastive_loss(features: Tensor, owners: Tensor, queue: _Queue) -> Tensor:
    """Compute the supervised contrastive loss of features (B, D) of owners (B,), with the queue as more negatives.

    Positives are an owner's other crops in the batch; its crops in the queue are left out.
    """
    n = len(features)
    logits = features @ torch.cat([features, queue.features]).T / _TEMPERATURE  # (B, B + Q)
    same = owners[:, None] == torch.cat([owners, queue.owners])[None]
    hidden = same.clone()
    hidden[:, n:] |= (queue.owners < 0)[None]
    eye = torch.eye(n, dtype=torch.bool, device=features.device)
    hidden[:, :n] = eye
    positive = same[:, :n] & ~eye
    log_p = logits[:, :n] - torch.logsumexp(logits.masked_fill(hidden, -torch.inf), 1, keepdim=True)
    return -(log_p.masked_fill(~positive, 0).sum(1) / positive.sum(1)).mean()


def _attribute_losses(values: tuple[Tensor, ...], targets: Tensor) -> dict[str, Tensor]:
    """Compute the cross-entropy of each attribute over the crops (B,) that it applies to."""
    losses = {}
    for name, logits, target in zip(_COLUMNS, values, targets.unbind(1), strict=True):
        if (target >= 0).any():
            losses[name] = 0.2 * F.cross_entropy(logits, target, ignore_index=-1)
    return losses


def _text_loss(features: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Compute CLIP's loss of crops (N, D) and their descriptions (N, D)."""
    match = scale.exp().clamp(max=50) * features @ F.normalize(texts, dim=-1).T  # (N, N)
    pairs = torch.arange(len(match), device=match.device)
    return 0.15 * (F.cross_entropy(match, pairs) + F.cross_entropy(match.T, pairs))


def _augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Flip (0.5), rotate by up to ±15° (0.5) and change the brightness (0.65 to 1.35) of pixels (B, 3, S, S)."""
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
