"""Stage 1: the VLM's vision tower, a CLIP tower with supervision in every patch.

Every patch that shows a character must predict all attributes and the box of that character, so the language model
can read an individual from any patch of it. This makes a tower of 2 million parameters useful within minutes
(`docs/storybook.md`, "The models").
"""

from dataclasses import dataclass
from pathlib import Path

import engine.core.device  # noqa: F401

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel

from engine.storybook.build.drawings import Drawings
from engine.storybook.build.labels import COLUMNS, VALUES
from engine.storybook.build.loop import DEVICE, Schedule, to_device, train
from engine.storybook.world import attributes as words
from engine.storybook.world.population import SCENES_PER_HERO

PATCH, GRID, WIDTH = 16, 8, 192
OWNER_CELLS = 64
MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's normalisation (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)
STD = (0.26862954, 0.26130258, 0.27577711)
MAIN_KINDS = len(words.CATEGORIES)


def vision_config() -> CLIPVisionConfig:
    """Return the tower's config: 128 px, 64 patches, width 192, 4 layers."""
    return CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=4,
        num_attention_heads=6,
        image_size=PATCH * GRID,
        patch_size=PATCH,
        projection_dim=WIDTH,
        hidden_act="gelu",
    )


def to_pixels(images: np.ndarray) -> Tensor:
    """Convert images (B, H, W, 3) uint8 to pixels (B, 3, H, W) float32 in 0..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def normalise(images: Tensor) -> Tensor:
    """Normalise pixels (B, 3, H, W) in 0..1 with CLIP's mean and standard deviation."""
    mean = images.new_tensor(MEAN).view(1, 3, 1, 1)
    std = images.new_tensor(STD).view(1, 3, 1, 1)
    return (images - mean) / std


def augment(
    images: Tensor, owners: Tensor, boxes: Tensor, generator: torch.Generator, closeups: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Augment as the method does (flip 0.5, rotation up to ±45°, brightness 0.6), with mild zoom.

    images (B, 3, S, S) in 0..1, owners (B, 64, 64), boxes (B, 3, 4) in 0..1; returns the same three. A share `closeups`
    of the pictures is cropped around one character (no gain: `docs/experiments.md#close-up-crops`). Boxes of rotated
    pictures are computed from the cells that the characters own afterwards, so they stay tight. Source of the settings:
    `docs/method.md`, "Concepts, embeddings and training".
    """
    n = len(images)
    theta, angle = _draw_maps(boxes, generator, closeups)
    bright = torch.where(
        torch.rand(n, generator=generator) < 0.35, _uniform(generator, n, 0.4, 1.6), torch.ones(n)
    ).view(-1, 1, 1, 1)
    grid = F.affine_grid(theta, [n, 1, images.shape[2], images.shape[3]], align_corners=False)
    images = (F.grid_sample(images, grid, align_corners=False) * bright).clamp(0, 1)
    cells = F.affine_grid(theta, [n, 1, OWNER_CELLS, OWNER_CELLS], align_corners=False)
    turned = F.grid_sample(owners[:, None].float(), cells, mode="nearest", align_corners=False)[:, 0]
    return images, turned.round().to(owners.dtype), _turned_boxes(boxes, theta, angle, turned)


def _uniform(generator: torch.Generator, n: int, low: float, high: float) -> Tensor:
    return torch.rand(n, generator=generator) * (high - low) + low  # (N,)


def _draw_maps(boxes: Tensor, generator: torch.Generator, closeups: float) -> tuple[Tensor, Tensor]:
    """Draw an affine map for each picture: theta (B, 2, 3) as `affine_grid` takes it, and its angle (B,) in degrees."""
    n = len(boxes)

    def draw(low: float, high: float) -> Tensor:
        return _uniform(generator, n, low, high)

    flip = torch.where(draw(0, 1) < 0.5, -1.0, 1.0)
    luck = draw(0, 1)
    angle = torch.where(luck < 0.2, draw(-45, 45), torch.where(luck < 0.4, draw(-8, 8), torch.zeros(n)))
    zoom = torch.where(draw(0, 1) < 0.4, draw(0.85, 1.15), torch.ones(n))
    near = draw(0, 1) < closeups
    sides = (boxes[..., 2:] - boxes[..., :2]).amax(-1)  # (B, 3)
    chosen = (torch.rand(sides.shape, generator=generator) + (sides > 0)).argmax(1)
    box = boxes[torch.arange(n), chosen]  # (B, 4)
    zoom = torch.where(near, (box[:, 2:] - box[:, :2]).amax(-1) * draw(1.1, 1.8), zoom)
    middle = torch.where(near[:, None], (box[:, :2] + box[:, 2:]) - 1, torch.zeros(n, 2))
    c, s = torch.cos(torch.deg2rad(angle)) * zoom, torch.sin(torch.deg2rad(angle)) * zoom
    rows = [torch.stack([c * flip, s, middle[:, 0]], 1), torch.stack([-s * flip, c, middle[:, 1]], 1)]
    return torch.stack(rows, 1), angle


def _turned_boxes(boxes: Tensor, theta: Tensor, angle: Tensor, owners: Tensor) -> Tensor:
    inverse = torch.linalg.inv(theta[:, :, :2])
    corners = boxes[..., [[0, 1], [2, 3]]] * 2 - 1
    moved = torch.einsum("bij,bckj->bcki", inverse, corners - theta[:, None, None, :, 2])
    plain = torch.cat([moved.amin(2), moved.amax(2)], -1)
    cells = (torch.arange(OWNER_CELLS) + 0.5) / OWNER_CELLS * 2 - 1
    tight = []
    for i in range(boxes.shape[1]):
        mine = owners == i + 1
        xs, ys = mine.any(1), mine.any(2)
        low = [torch.where(v, cells, torch.inf).amin(1) for v in (xs, ys)]
        high = [torch.where(v, cells, -torch.inf).amax(1) for v in (xs, ys)]
        tight.append(torch.stack([*low, *high], 1))
    turned = torch.where(angle.abs()[:, None, None] > 0, torch.stack(tight, 1), plain)
    return ((turned + 1) / 2).clamp(0, 1).nan_to_num(0, 0, 0)


def patch_owners(owners: Tensor) -> tuple[Tensor, Tensor]:
    """Return the owner of each patch: (B, 64) character index or -1, and (B, 64) index of an object's holder or -1."""
    n = len(owners)
    cells = owners.view(n, GRID, OWNER_CELLS // GRID, GRID, -1).transpose(2, 3).reshape(n, GRID * GRID, -1)
    counts = torch.stack([(cells == k).sum(-1) for k in (1, 2, 3, 250, 251, 252)], -1)
    best, who = counts.max(-1)
    who = torch.where(best >= 0.15 * cells.shape[-1], who, torch.full_like(who, -1))
    return torch.where(who < 3, who, -1), torch.where(who >= 3, who - 3, -1)


class Supervision(nn.Module):
    """Heads that predict attributes, boxes and places from the tower's tokens; they are not shipped."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.sizes = [len(VALUES[name]) for name in COLUMNS]
        self.attributes = nn.Linear(WIDTH, sum(self.sizes))
        self.kind = nn.Linear(WIDTH, MAIN_KINDS + len(words.OBJECTS) + 1)
        self.place = nn.Linear(WIDTH, len(words.PLACES))
        self.box = nn.Linear(WIDTH, 4)
        self.identity = nn.Linear(WIDTH, 96)

    def forward(self, hidden: Tensor) -> dict[str, Tensor]:
        """Predict from hidden states (B, 65, 192): logits, boxes and identity vectors of each token, by name."""
        x = self.norm(hidden.float())
        patches = x[:, 1:]
        return {
            "attributes": self.attributes(patches),
            "kind": self.kind(patches),
            "place": self.place(x),
            "box": self.box(patches),
            "identity": self.identity(patches),
        }


def supervised_losses(
    heads: Supervision, out: dict[str, Tensor], owners: Tensor, labels: Tensor, boxes: Tensor, places: Tensor
) -> dict[str, Tensor]:
    """Compute the supervised terms of one batch from the heads' output, by name."""
    who, holder = patch_owners(owners)
    batch = torch.arange(len(who), device=who.device)[:, None].expand_as(who)
    mine = who >= 0
    rows = labels[batch[mine], who[mine]].long()
    terms: dict[str, Tensor] = {}
    kind = torch.full_like(who, MAIN_KINDS + len(words.OBJECTS))
    kind[mine] = rows[:, 0]
    held = holder >= 0
    kind[held] = MAIN_KINDS + labels[batch[held], holder[held], COLUMNS.index("holds")].long() - 1
    terms["kind"] = F.cross_entropy(out["kind"].flatten(0, 1), kind.flatten())
    logits = out["attributes"][mine].split(heads.sizes, -1)
    for name, values, target in zip(COLUMNS, logits, rows.unbind(1), strict=True):
        if (target >= 0).any():
            terms[name] = F.cross_entropy(values, target, ignore_index=-1)
    terms["box"] = 4 * F.l1_loss(out["box"][mine], boxes[batch[mine], who[mine]])
    tokens = out["place"].shape[1]
    terms["place"] = F.cross_entropy(out["place"].flatten(0, 1), places.long().repeat_interleave(tokens))
    return terms


def identity_loss(identity: Tensor, who: Tensor, individuals: Tensor) -> Tensor:
    """Compute the supervised contrastive loss over characters (Khosla et al. 2020, eq. 2).

    Each character has one vector, the mean over its patches; its positives are the same individual in other scenes of
    the batch. identity (B, 64, 96), who (B, 64), individuals (B, 3): an id for each character; ids that occur once have
    no positives.
    """
    weights = torch.stack([(who == i).float() for i in range(3)], 1)
    present = weights.sum(-1) > 0
    pooled = torch.einsum("bcp,bpd->bcd", weights / weights.sum(-1, keepdim=True).clamp(min=1), identity)
    vectors = F.normalize(pooled[present], dim=-1)
    ids = individuals[present]
    logits = vectors @ vectors.T / 0.1
    eye = torch.eye(len(ids), dtype=torch.bool, device=ids.device)
    same = (ids[:, None] == ids[None]) & ~eye
    log_p = logits - torch.logsumexp(logits.masked_fill(eye, -torch.inf), 1, keepdim=True)
    has = same.any(1)
    return -(log_p.masked_fill(~same, 0).sum(1)[has] / same.sum(1)[has]).mean()


def make_tower() -> CLIPVisionModel:
    """Make a new tower with eager attention, which is faster here (`docs/experiments.md#eager-attention-and-sdpa`)."""
    tower = CLIPVisionModel(vision_config())
    tower.set_attn_implementation("eager")
    return tower


def draw_batch(data: Drawings, size: int, seed: int) -> np.ndarray:
    """Draw the indices of `size` scenes: two of each hero of consecutive pairs, so that twins share a batch."""
    rng = np.random.default_rng(seed)
    groups = len(data) // SCENES_PER_HERO
    firsts = 2 * rng.choice((groups - 2) // 2, size // 4, replace=False) + 1
    heroes = np.concatenate([firsts, firsts + 1])
    two = np.argsort(rng.random((len(heroes), SCENES_PER_HERO)), axis=1)[:, :2]
    return np.sort((heroes[:, None] * SCENES_PER_HERO + two).ravel())


def individual_ids(data: Drawings, rows: np.ndarray) -> Tensor:
    """Return an id for every character, (B, 3): the hero's group, or a number that occurs once."""
    ids = 10_000_000 + 3 * torch.arange(len(rows))[:, None] + torch.arange(3)[None]
    ids[torch.arange(len(rows)), torch.from_numpy(data.hero_index[rows].astype(np.int64))] = torch.from_numpy(
        data.heroes[rows].astype(np.int64)
    )
    return ids


@dataclass(frozen=True)
class Batch:
    """Scenes as tensors: images (B, 3, 128, 128) in 0..1; owners, boxes, labels and places as in `Drawings`."""

    images: Tensor
    owners: Tensor
    boxes: Tensor
    labels: Tensor
    places: Tensor


def load_batch(data: Drawings, rows: np.ndarray) -> Batch:
    """Load some scenes of a set."""
    arrays = (data.owners, data.boxes, data.labels, data.places)
    return Batch(to_pixels(data.images[rows]), *(torch.from_numpy(np.ascontiguousarray(a[rows])) for a in arrays))


def train_vision(folder: Path, data: Drawings, schedule: Schedule, batch: int = 48) -> CLIPVisionModel:
    """Train the tower, or continue from its checkpoint; returns it in evaluation mode."""
    torch.manual_seed(0)
    tower, heads = to_device(make_tower()), to_device(Supervision())

    def step_losses(step: int) -> dict[str, Tensor]:
        rows = draw_batch(data, batch, step)
        drawn = load_batch(data, rows)
        augmented = augment(drawn.images, drawn.owners, drawn.boxes, torch.Generator().manual_seed(step))
        images, owners, boxes = (t.to(DEVICE) for t in augmented)
        labels, places, ids = (t.to(DEVICE) for t in (drawn.labels, drawn.places, individual_ids(data, rows)))
        with torch.autocast(DEVICE.type, torch.bfloat16):
            hidden = tower(pixel_values=normalise(images)).last_hidden_state
        out = heads(hidden)
        terms = supervised_losses(heads, out, owners, labels, boxes, places)
        terms["identity"] = 0.3 * identity_loss(out["identity"], patch_owners(owners)[0], ids)
        return terms

    train("vision", folder, {"tower": tower, "heads": heads}, schedule, step_losses)
    return tower.cpu().eval()
