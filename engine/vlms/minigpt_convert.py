"""From the three files that MiniGPT-v2 is published as to one folder that `minigpt_v2` loads.

Tensors are read lazily and written a shard at a time, so memory holds one shard, never a whole copy.
"""

import json
import math
import pickle  # for the name of its error alone: nothing is unpickled
import secrets
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import engine.core.device  # noqa: F401

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import Blip2VisionConfig, BlipImageProcessorPil, LlamaConfig

from engine.core.errors import EnvironmentFault, UsageError, first_line
from engine.core.files import LARGEST_DOCUMENT, TEMPORARY_MARK, open_regular, read_text
from engine.vlms.minigpt_v2 import MiniGptConfig, MiniGptModel

SHARD_BYTES = 2 * 2**30
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_VIT_BLOCK = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.proj": "self_attn.projection",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
"""Modules of a block, upstream and in `Blip2VisionModel`, with a weight and a bias (method.md §4)."""


@dataclass(frozen=True)
class Upstream:
    """What the files do not say of themselves; the defaults are those of the published model (method.md §4).

    `blocks` of the ViT are used, its last one is not; `lora_alpha`: LoRA's scale is alpha / rank.
    """

    blocks: int = 39
    heads: int = 16
    image_size: int = 448
    merge: int = 4
    lora_alpha: float = 16.0


@dataclass(frozen=True)
class _Piece:
    """A tensor to be written: from which file, its shape and bytes, and how to make it."""

    name: str
    path: Path
    shape: tuple[int, ...]
    size: int
    make: Callable[[], Tensor]


def convert(vit: Path, checkpoint: Path, llama: Path, out: Path, *, upstream: Upstream | None = None) -> Path:
    """Write the folder `out` from `eva_vit_g.pth`, `minigptv2_checkpoint.pth` and a Llama folder of the hub.

    Every tensor keeps the type it is stored in; the same files give the same bytes.

    Raises:
        UsageError: a file is not what its option says (the message names file and tensor), or `out` is there already.
        EnvironmentFault: the disk is too small.
    """
    facts = upstream or Upstream()
    if out.exists():
        raise UsageError(f"{out} is there already", hint="Remove it first, or give another --out.")
    eyes, adapter = _Source(vit, _load_pickle(vit)), _Source(checkpoint, _load_model(checkpoint))
    words = _LlamaFolder(llama)
    vision, text = _vision_config(eyes, facts), words.config()
    layers = LlamaConfig(**text).num_hidden_layers
    pieces = [*_vit_pieces(eyes, vision), *_projection_pieces(adapter), *_llama_pieces(words, adapter, facts, layers)]
    config = MiniGptConfig(vision_config=vision.to_dict(), text_config=text, merge=facts.merge)
    _check(pieces, config, llama)
    _write(out, pieces, {"vision_config": vision.to_dict(), "text_config": text}, words, facts)
    return out


class _Source:
    """Tensors of one file, with errors that name it."""

    def __init__(self, path: Path, tensors: dict[str, Tensor]) -> None:
        self.path, self.tensors = path, tensors

    def get(self, name: str, *shape: int) -> Tensor:
        """A tensor of a known shape; -1 is any length, no shape is any shape."""
        found = self.tensors.get(name)
        if not isinstance(found, Tensor):
            raise UsageError(f"{self.path}: the tensor {name} is missing", hint=_HINT)
        fits = len(found.shape) == len(shape) and all(a in (b, -1) for a, b in zip(shape, found.shape, strict=True))
        if shape and not fits:
            raise UsageError(f"{self.path}: {name} is {list(found.shape)}, not {list(shape)}", hint=_HINT)
        return found


_HINT = "Needed: eva_vit_g.pth, minigptv2_checkpoint.pth and the folder of Llama-2-7b-chat-hf, complete."


def _load_pickle(path: Path) -> dict[str, Tensor]:
    """The content of a `.pth` file; nothing in it is ever executed, tensors are mapped, not read."""
    try:
        with open_regular(path):
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (
        OSError,
        RuntimeError,
        ValueError,
        EOFError,
        KeyError,
        AttributeError,
        TypeError,
        pickle.UnpicklingError,
    ) as err:
        raise UsageError(f"{path} cannot be read as tensors: {first_line(err)}", hint=_HINT) from err
    if not isinstance(found, dict):
        raise UsageError(f"{path} does not hold named tensors", hint=_HINT)
    return found


def _load_model(path: Path) -> dict[str, Tensor]:
    found = _load_pickle(path).get("model")
    if not isinstance(found, dict):
        raise UsageError(f"{path} has no entry 'model' with tensors", hint=_HINT)
    return found


class _LlamaFolder:
    """A Llama of the hub: config, tokenizer files, and weights in one or several safetensors files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places: dict[str, Path] = {}
        try:
            for file in sorted(folder.glob("*.safetensors")):
                with open_regular(file), safe_open(file, "pt") as tensors:
                    self.places |= dict.fromkeys(tensors.keys(), file)
        except (OSError, SafetensorError) as err:
            raise UsageError(f"{file} cannot be read: {err}", hint=_HINT) from err
        if not self.places:
            raise UsageError(f"{folder} holds no safetensors files", hint=_HINT)
        if not (folder / "tokenizer.json").is_file() and not (folder / "tokenizer.model").is_file():
            raise UsageError(f"{folder} holds no tokenizer", hint=_HINT)

    def config(self) -> dict[str, object]:
        """Its `config.json`."""
        try:
            found = json.loads(read_text(self.folder / "config.json", LARGEST_DOCUMENT))
        except (OSError, ValueError) as err:
            raise UsageError(f"{self.folder / 'config.json'} cannot be read: {err}", hint=_HINT) from err
        if found.get("model_type") != "llama":
            raise UsageError(f"{self.folder} holds a {found.get('model_type')!r}, not a Llama", hint=_HINT)
        return found

    def source(self, name: str) -> _Source:
        """The file that holds a tensor, with that tensor alone."""
        file = self.places.get(name, self.folder)
        if file is self.folder:
            return _Source(file, {})
        with safe_open(file, "pt") as tensors:
            return _Source(file, {name: tensors.get_tensor(name)})

    def piece(self, name: str, make: Callable[[], Tensor]) -> _Piece:
        """A tensor as the file's header describes it."""
        with safe_open(self.places[name], "pt") as tensors:
            part = tensors.get_slice(name)
            shape, kind = tuple(part.get_shape()), part.get_dtype()
        if kind not in _BYTES:
            raise UsageError(f"{self.places[name]}: {name} is {kind}, not floats", hint=_HINT)
        return _Piece(f"language_model.{name}", self.places[name], shape, math.prod(shape) * _BYTES[kind], make)


_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


def _vision_config(eyes: _Source, facts: Upstream) -> Blip2VisionConfig:
    width, _, patch, _ = eyes.get("patch_embed.proj.weight", -1, 3, -1, -1).shape
    if width % facts.heads:
        raise UsageError(f"{eyes.path}: a width of {width} does not divide into {facts.heads} heads", hint=_HINT)
    return Blip2VisionConfig(
        hidden_size=width,
        intermediate_size=len(eyes.get("blocks.0.mlp.fc1.weight", -1, width)),
        num_hidden_layers=facts.blocks,
        num_attention_heads=facts.heads,
        image_size=facts.image_size,
        patch_size=patch,
        hidden_act="gelu",
        layer_norm_eps=1e-6,
        qkv_bias=True,
    )


def _held(name: str, path: Path, tensor: Tensor) -> _Piece:
    """A tensor that is written as it is."""
    return _Piece(name, path, tuple(tensor.shape), tensor.nbytes, lambda: tensor)


def _vit_pieces(eyes: _Source, vision: Blip2VisionConfig) -> list[_Piece]:
    """The ViT under the names of `Blip2VisionModel`; blocks beyond `num_hidden_layers`, `norm`, `head` stay behind."""
    width = vision.hidden_size
    table = eyes.get("pos_embed", 1, -1, width)
    if math.isqrt(table.shape[1] - 1) ** 2 != table.shape[1] - 1:
        raise UsageError(f"{eyes.path}: pos_embed has {table.shape[1]} positions, not a square and one", hint=_HINT)
    found = {
        "embeddings.class_embedding": eyes.get("cls_token"),
        "embeddings.patch_embedding.weight": eyes.get("patch_embed.proj.weight"),
        "embeddings.patch_embedding.bias": eyes.get("patch_embed.proj.bias"),
        "embeddings.position_embedding": interpolated(table, vision.image_size // vision.patch_size),
        "post_layernorm.weight": torch.ones(width, dtype=table.dtype),
        "post_layernorm.bias": torch.zeros(width, dtype=table.dtype),
    }
    for i in range(vision.num_hidden_layers):
        theirs, ours = f"blocks.{i}", f"encoder.layers.{i}"
        for name, own in _VIT_BLOCK.items():
            for part in ("weight", "bias"):
                found[f"{ours}.{own}.{part}"] = eyes.get(f"{theirs}.{name}.{part}")
        found[f"{ours}.self_attn.qkv.weight"] = eyes.get(f"{theirs}.attn.qkv.weight")
        q, v = (eyes.get(f"{theirs}.attn.{n}_bias", width) for n in "qv")
        found[f"{ours}.self_attn.qkv.bias"] = torch.cat([q, torch.zeros_like(q), v])
    return [_held(f"vision_model.{name}", eyes.path, tensor) for name, tensor in found.items()]


def interpolated(table: Tensor, grid: int) -> Tensor:
    """Position embeddings (1, 1 + g², D) for a grid of grid × grid patches, bicubic; the class token's is kept."""
    side = int((table.shape[1] - 1) ** 0.5)
    if side == grid:
        return table
    square = table[:, 1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    grown = F.interpolate(square, size=(grid, grid), mode="bicubic", align_corners=False)
    patches = grown.permute(0, 2, 3, 1).reshape(1, grid * grid, -1)
    return torch.cat([table[:, :1], patches.to(table.dtype)], dim=1)


def _projection_pieces(adapter: _Source) -> list[_Piece]:
    return [_held(name, adapter.path, adapter.get(name)) for name in ("llama_proj.weight", "llama_proj.bias")]


def _llama_pieces(words: _LlamaFolder, adapter: _Source, facts: Upstream, layers: int) -> list[_Piece]:
    """The language model, its query and value projections with LoRA merged."""
    prefix, suffix = "llama_model.base_model.model.", ".lora_A.weight"
    tuned = {k[len(prefix) : -len(suffix)] for k in adapter.tensors if k.startswith(prefix) and k.endswith(suffix)}
    expected = {f"model.layers.{i}.self_attn.{n}_proj" for i in range(layers) for n in "qv"}
    if tuned != expected:
        odd = sorted(tuned ^ expected)[0]
        what = "is missing" if odd in expected else "does not belong to this Llama"
        raise UsageError(f"{adapter.path}: LoRA of {odd} {what}", hint=_HINT)
    pieces = []
    for name in sorted(words.places):
        if name.endswith("rotary_emb.inv_freq"):  # a constant that older Llama files carry
            continue
        merged = name.removesuffix(".weight") in tuned
        make = _merger(words, adapter, name, facts.lora_alpha) if merged else _reader(words, name)
        pieces.append(words.piece(name, make))
    return pieces


def _check(pieces: list[_Piece], config: MiniGptConfig, llama: Path) -> None:
    """Make sure that the pieces are the model's weights, all of them and in its shapes, before anything is written.

    Raises:
        UsageError: one is missing, superfluous or of another shape.
    """
    with torch.device("meta"):
        expected = {name: tuple(weight.shape) for name, weight in MiniGptModel(config).state_dict().items()}
    shapes = {p.name: p.shape for p in pieces}
    for piece in pieces:
        name = piece.name.removeprefix("language_model.")
        if piece.name not in expected:
            raise UsageError(f"{piece.path}: the tensor {name} does not belong to this Llama", hint=_HINT)
        if piece.shape != expected[piece.name]:
            raise UsageError(
                f"{piece.path}: {name} is {list(piece.shape)}, not {list(expected[piece.name])}", hint=_HINT
            )
    absent = sorted(expected.keys() - shapes.keys())
    if absent:
        raise UsageError(f"{llama}: the tensor {absent[0].removeprefix('language_model.')} is missing", hint=_HINT)


def _reader(words: _LlamaFolder, name: str) -> Callable[[], Tensor]:
    return lambda: words.source(name).get(name)


def _merger(words: _LlamaFolder, adapter: _Source, name: str, alpha: float) -> Callable[[], Tensor]:
    """W + alpha / r · B A, computed in float32 and stored in the type of W."""
    module = f"llama_model.base_model.model.{name.removesuffix('.weight')}"

    def merged() -> Tensor:
        weight = words.source(name).get(name, -1, -1)
        a = adapter.get(f"{module}.lora_A.weight", -1, weight.shape[1])
        b = adapter.get(f"{module}.lora_B.weight", weight.shape[0], len(a))
        return (weight.float() + alpha / len(a) * (b.float() @ a.float())).to(weight.dtype)

    return merged


def _write(out: Path, pieces: list[_Piece], configs: dict[str, object], words: _LlamaFolder, facts: Upstream) -> None:
    """The folder as a whole or not at all."""
    total = sum(p.size for p in pieces)
    out.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(out.parent).free < total:
        raise EnvironmentFault(f"{out.parent} has less than {total / 1e9:.1f} GB free", hint="Give another --out.")
    temporary = out.with_name(f"{TEMPORARY_MARK}{secrets.token_hex(8)}")
    temporary.mkdir()
    try:
        _write_shards(temporary, pieces, total)
        document = {"architectures": ["MiniGptV2"], "merge": facts.merge, "model_type": "minigpt_v2"} | configs
        (temporary / "config.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", "utf-8")
        size = {"height": facts.image_size, "width": facts.image_size}
        BlipImageProcessorPil(size=size).save_pretrained(temporary)
        for name in _TOKENIZER_FILES:
            if (words.folder / name).is_file():
                shutil.copyfile(words.folder / name, temporary / name)
        temporary.replace(out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write_shards(folder: Path, pieces: list[_Piece], total: int) -> None:
    shards: list[list[_Piece]] = [[]]
    for piece in pieces:
        if shards[-1] and sum(p.size for p in shards[-1]) + piece.size > SHARD_BYTES:
            shards.append([])
        shards[-1].append(piece)
    places = {}
    for i, shard in enumerate(shards, 1):
        name = f"model-{i:05d}-of-{len(shards):05d}.safetensors" if len(shards) > 1 else "model.safetensors"
        save_file({p.name: p.make().contiguous().clone() for p in shard}, folder / name, {"format": "pt"})
        (folder / name).chmod(0o644)
        places |= {p.name: name for p in shard}
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": places}
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (folder / "model.safetensors.index.json").write_text(text, "utf-8")
