"""Convert the three files that MiniGPT-v2 is published as to one folder that `minigpt_v2` loads.

A shard is written at a time, so that memory holds one shard and never a whole copy of the model.
"""

import json
import secrets
import shutil
from pathlib import Path
from typing import Any

import engine.core.device  # noqa: F401

import torch
from safetensors.torch import save_file
from transformers import BlipImageProcessorPil, LlamaConfig

from engine.core.errors import EnvironmentFault, UsageError
from engine.core.files import TEMPORARY_MARK
from engine.vlms.minigpt_sources import HINT, LlamaFolder, Piece, load_adapter, load_vit
from engine.vlms.minigpt_v2 import MiniGptConfig, MiniGptModel
from engine.vlms.minigpt_weights import Upstream, llama_pieces, projection_pieces, vit_pieces, vit_shape

SHARD_BYTES = 2 * 2**30
"""The largest size of a weights file; one tensor may be larger."""
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)


def convert(vit: Path, checkpoint: Path, llama: Path, out: Path, *, upstream: Upstream | None = None) -> Path:
    """Write the folder `out` from `eva_vit_g.pth`, `minigptv2_checkpoint.pth` and a Llama folder of the hub.

    Every tensor keeps the number format in which it is stored; the same files give the same bytes.

    Raises:
        UsageError: a file is not what its option says (the message names file and tensor), or `out` exists.
        EnvironmentFault: the disk is too small.
    """
    upstream = upstream or Upstream()
    if out.exists():
        raise UsageError(f"{out} is there already", hint="Remove it first, or give another --out.")
    vit_source, adapter, llama_folder = load_vit(vit), load_adapter(checkpoint), LlamaFolder(llama)
    shape, text_config = vit_shape(vit_source, upstream), llama_folder.config()
    vision_config, layers = shape.config(upstream).to_dict(), LlamaConfig(**text_config).num_hidden_layers
    pieces = [
        *vit_pieces(vit_source, shape, upstream),
        *projection_pieces(adapter),
        *llama_pieces(llama_folder, adapter, upstream, layers),
    ]
    _check(pieces, MiniGptConfig(vision_config=vision_config, text_config=text_config, merge=upstream.merge), llama)
    document = {
        "architectures": ["MiniGptV2"],
        "merge": upstream.merge,
        "model_type": "minigpt_v2",
        "vision_config": vision_config,
        "text_config": text_config,
    }
    _write(out, pieces, document, llama_folder.folder, upstream.image_size)
    return out


def _check(pieces: list[Piece], config: MiniGptConfig, llama: Path) -> None:
    """Check that the pieces are exactly the model's weights, in its shapes, before anything is written.

    Raises:
        UsageError: one is missing, superfluous or of another shape.
    """
    with torch.device("meta"):
        expected = {name: tuple(weight.shape) for name, weight in MiniGptModel(config).state_dict().items()}
    for piece in pieces:
        name = piece.name.removeprefix("language_model.")
        if piece.name not in expected:
            raise UsageError(f"{piece.path}: the tensor {name} does not belong to this Llama", hint=HINT)
        if piece.shape != expected[piece.name]:
            raise UsageError(
                f"{piece.path}: {name} is {list(piece.shape)}, not {list(expected[piece.name])}", hint=HINT
            )
    absent = sorted(expected.keys() - {piece.name for piece in pieces})
    if absent:
        raise UsageError(f"{llama}: the tensor {absent[0].removeprefix('language_model.')} is missing", hint=HINT)


def _write(out: Path, pieces: list[Piece], document: dict[str, Any], llama: Path, image_size: int) -> None:
    """Write the folder completely or not at all; the tokenizer's files are copied from the Llama folder.

    Raises:
        EnvironmentFault: the disk is too small.
    """
    total = sum(p.size for p in pieces)
    out.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(out.parent).free < total:
        raise EnvironmentFault(f"{out.parent} has less than {total / 1e9:.1f} GB free", hint="Give another --out.")
    temporary = out.with_name(f"{TEMPORARY_MARK}{secrets.token_hex(8)}")
    temporary.mkdir()
    try:
        _write_shards(temporary, pieces, total)
        (temporary / "config.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", "utf-8")
        BlipImageProcessorPil(size={"height": image_size, "width": image_size}).save_pretrained(temporary)
        for name in _TOKENIZER_FILES:
            if (llama / name).is_file():
                shutil.copyfile(llama / name, temporary / name)
        temporary.replace(out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write_shards(folder: Path, pieces: list[Piece], total: int) -> None:
    """Write the weights, in several files with an index where they are larger than one shard."""
    shards: list[list[Piece]] = [[]]
    for piece in pieces:
        if shards[-1] and sum(p.size for p in shards[-1]) + piece.size > SHARD_BYTES:
            shards.append([])
        shards[-1].append(piece)
    file_of: dict[str, str] = {}
    for i, shard in enumerate(shards, 1):
        name = f"model-{i:05d}-of-{len(shards):05d}.safetensors" if len(shards) > 1 else "model.safetensors"
        save_file({p.name: p.make().contiguous().clone() for p in shard}, folder / name, {"format": "pt"})
        (folder / name).chmod(0o644)
        file_of |= {p.name: name for p in shard}
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": file_of}
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (folder / "model.safetensors.index.json").write_text(text, "utf-8")
