"""Map the tensors of MiniGPT-v2's published files to the weights of `minigpt_v2.MiniGptModel` (docs/method.md, 4)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import engine.core.device  # noqa: F401

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Blip2VisionConfig

from engine.core.errors import UsageError
from engine.vlms.minigpt_sources import HINT, LlamaFolder, Piece, Source, piece_of

_VIT_BLOCK = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.proj": "self_attn.projection",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
"""Modules of a block that have a weight and a bias: upstream's name and that in `Blip2VisionModel`."""
_LORA_PREFIX, _LORA_SUFFIX = "llama_model.base_model.model.", ".lora_A.weight"


@dataclass(frozen=True)
class Upstream:
    """What the files do not say of themselves; the defaults are the published model's (docs/method.md, section 4).

    blocks: how many blocks of the ViT are used (the file has one more); heads: attention heads of the ViT;
    image_size: side of the square image in pixels; merge: patches that become one row; lora_alpha: LoRA's scale is
    lora_alpha / rank.
    """

    blocks: int = 39
    heads: int = 16
    image_size: int = 448
    merge: int = 4
    lora_alpha: float = 16.0


@dataclass(frozen=True)
class VitShape:
    """The shape of the vision tower: width of its rows and of its MLPs, and the side of a patch in pixels."""

    width: int
    mlp_width: int
    patch: int

    def config(self, upstream: Upstream) -> Blip2VisionConfig:
        """Return the config of the `Blip2VisionModel` that holds this tower."""
        return Blip2VisionConfig(
            hidden_size=self.width,
            intermediate_size=self.mlp_width,
            num_hidden_layers=upstream.blocks,
            num_attention_heads=upstream.heads,
            image_size=upstream.image_size,
            patch_size=self.patch,
            hidden_act="gelu",
            layer_norm_eps=1e-6,
            qkv_bias=True,
        )


def vit_shape(vit: Source, upstream: Upstream) -> VitShape:
    """Read the shape of the vision tower from its tensors.

    Raises:
        UsageError: a tensor is missing, or the width is not a multiple of the number of heads.
    """
    width, _, patch, _ = vit.get("patch_embed.proj.weight", -1, 3, -1, -1).shape
    if width % upstream.heads:
        raise UsageError(f"{vit.path}: a width of {width} does not divide into {upstream.heads} heads", hint=HINT)
    return VitShape(width, len(vit.get("blocks.0.mlp.fc1.weight", -1, width)), patch)


def vit_pieces(vit: Source, shape: VitShape, upstream: Upstream) -> list[Piece]:
    """Map the ViT to `Blip2VisionModel`; blocks that are not used, `norm` and `head` are left out.

    Raises:
        UsageError: a tensor is missing or has another shape.
    """
    table = vit.get("pos_embed", 1, -1, shape.width)  # (1, 1 + g², D)
    if math.isqrt(table.shape[1] - 1) ** 2 != table.shape[1] - 1:
        raise UsageError(f"{vit.path}: pos_embed has {table.shape[1]} positions, not a square and one", hint=HINT)
    tensors = {
        "embeddings.class_embedding": vit.get("cls_token"),
        "embeddings.patch_embedding.weight": vit.get("patch_embed.proj.weight"),
        "embeddings.patch_embedding.bias": vit.get("patch_embed.proj.bias"),
        "embeddings.position_embedding": interpolated(table, upstream.image_size // shape.patch),
        "post_layernorm.weight": torch.ones(shape.width, dtype=table.dtype),
        "post_layernorm.bias": torch.zeros(shape.width, dtype=table.dtype),
    }
    for i in range(upstream.blocks):
        tensors |= _block_tensors(vit, i, shape.width)
    return [piece_of(f"vision_model.{name}", vit.path, tensor) for name, tensor in tensors.items()]


def _block_tensors(vit: Source, i: int, width: int) -> dict[str, Tensor]:
    """Return the tensors of block i under the names of `Blip2VisionModel`; the key bias, which upstream lacks, is 0."""
    theirs, ours = f"blocks.{i}", f"encoder.layers.{i}"
    tensors = {}
    for their_module, our_module in _VIT_BLOCK.items():
        for part in ("weight", "bias"):
            tensors[f"{ours}.{our_module}.{part}"] = vit.get(f"{theirs}.{their_module}.{part}")
    tensors[f"{ours}.self_attn.qkv.weight"] = vit.get(f"{theirs}.attn.qkv.weight")
    q_bias, v_bias = (vit.get(f"{theirs}.attn.{n}_bias", width) for n in "qv")
    tensors[f"{ours}.self_attn.qkv.bias"] = torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])  # (3 · D,)
    return tensors


def interpolated(table: Tensor, grid: int) -> Tensor:
    """Resize position embeddings (1, 1 + g², D) to a grid of grid × grid patches, bicubic; the class token's stays.

    Returns (1, 1 + grid², D).
    """
    side = int((table.shape[1] - 1) ** 0.5)
    if side == grid:
        return table
    square = table[:, 1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)  # (1, D, g, g)
    resized = F.interpolate(square, size=(grid, grid), mode="bicubic", align_corners=False)  # (1, D, grid, grid)
    patches = resized.permute(0, 2, 3, 1).reshape(1, grid * grid, -1)  # (1, grid², D)
    return torch.cat([table[:, :1], patches.to(table.dtype)], dim=1)


def projection_pieces(adapter: Source) -> list[Piece]:
    """Map the projection from merged patches to the language model's width."""
    return [piece_of(name, adapter.path, adapter.get(name)) for name in ("llama_proj.weight", "llama_proj.bias")]


def llama_pieces(llama: LlamaFolder, adapter: Source, upstream: Upstream, layers: int) -> list[Piece]:
    """Map the language model's tensors; LoRA is merged into its query and value projections.

    Raises:
        UsageError: the LoRA weights are not those of the query and value projections of `layers` layers.
    """
    tuned = {
        name.removeprefix(_LORA_PREFIX).removesuffix(_LORA_SUFFIX)
        for name in adapter.tensors
        if name.startswith(_LORA_PREFIX) and name.endswith(_LORA_SUFFIX)
    }
    expected = {f"model.layers.{i}.self_attn.{n}_proj" for i in range(layers) for n in "qv"}
    if tuned != expected:
        odd = min(tuned ^ expected)
        what = "is missing" if odd in expected else "does not belong to this Llama"
        raise UsageError(f"{adapter.path}: LoRA of {odd} {what}", hint=HINT)
    pieces = []
    for name in sorted(llama.files):
        if name.endswith("rotary_emb.inv_freq"):  # a constant that older Llama files carry
            continue
        is_tuned = name.removesuffix(".weight") in tuned
        make = _merger(llama, adapter, name, upstream.lora_alpha) if is_tuned else _reader(llama, name)
        pieces.append(llama.piece(name, make))
    return pieces


def _reader(llama: LlamaFolder, name: str) -> Callable[[], Tensor]:
    return lambda: llama.get(name)


def _merger(llama: LlamaFolder, adapter: Source, name: str, alpha: float) -> Callable[[], Tensor]:
    """Return a function that computes W + alpha / r · B A in float32, in the number format of W."""
    module = f"{_LORA_PREFIX}{name.removesuffix('.weight')}"

    def merged() -> Tensor:
        weight = llama.get(name, -1, -1)  # (out, in)
        a = adapter.get(f"{module}.lora_A.weight", -1, weight.shape[1])  # (r, in)
        b = adapter.get(f"{module}.lora_B.weight", weight.shape[0], len(a))  # (out, r)
        return (weight.float() + alpha / len(a) * (b.float() @ a.float())).to(weight.dtype)

    return merged
