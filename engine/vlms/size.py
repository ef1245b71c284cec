"""What the memory of a VLM depends on, and how much it is in each number format; counted from files for any folder."""

import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.core.files import LARGEST_DOCUMENT, open_regular, read_text

LINEAR_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 1.0, "int4": 1.0625, "nf4": 0.516}
"""Bytes for a weight of a linear layer. nf4: 4 bits and 0.127 bits of constants (Dettmers et al. 2023, section 3, with
double quantisation). int4: torchao keeps each weight in a byte, with a 16-bit scale for 32 of them."""
PREFILL_MB = 0.1
"""MB of intermediate results for each row of a batch: 0.14 GB for a photo of 1 MP and its text, 1,400 rows.

Counted for Qwen3-VL-4B: 1,400 rows of 3 × 9,728 numbers in a layer of the language model, and before that 3,888 of 2 ×
4,096 + 6 × 1,024 in one of the vision tower, in 16 bits, are 0.08 and 0.11 GB; the rest is for copies. It is an
estimate that was not measured on a GPU.
"""
RUNTIME_GB = 0.6
"""GB that torch and its libraries take beside the model. An estimate."""
TEXT_TOKENS = 430
"""Tokens of the template, the request, the facts and the new text, beside those of the photo."""
_OTHER_IMAGE_TOKENS = 1024
"""Image tokens of a photo where a family's number is not known: those of 1 MP in the largest common cell, 32 pixels."""


@dataclass(frozen=True)
class Size:
    """How large a VLM is.

    parameters, linear: billions of all weights, and of those in linear layers apart from the output layer, which are
        what a quantisation makes smaller.
    cache_kb: kB of keys and values for one token, in 16 bits.
    image_tokens: tokens of a photo of 1 MP.
    quantised_gb: GB of the weights of a checkpoint that is quantised already; None for any other.
    """

    parameters: float
    linear: float
    cache_kb: float
    image_tokens: int = _OTHER_IMAGE_TOKENS
    quantised_gb: float | None = None

    def weights_gb(self, precision: str) -> float:
        """Return the GB of the weights in a number format."""
        if self.quantised_gb is not None:
            return self.quantised_gb
        rest = 4.0 if precision == "float32" else 2.0
        return (self.parameters - self.linear) * rest + self.linear * LINEAR_BYTES[precision]

    def needed_gb(self, precision: str, batch: int) -> float:
        """Return the GB for captions of a batch of photos: weights, keys and values, and intermediate results."""
        wide = 2.0 if precision == "float32" else 1.0
        photo_gb = (self.image_tokens + TEXT_TOKENS) * (self.cache_kb / 1e6 + PREFILL_MB / 1e3)
        return self.weights_gb(precision) + wide * batch * photo_gb + RUNTIME_GB


def count_size(folder: Path, image_tokens: int | None = None) -> Size | None:
    """Count the size of a checkpoint from the headers of its safetensors and its `config.json`.

    image_tokens: of its family, where known. None where there are no such files, or one is damaged; loading says which.
    """
    try:
        files = _weight_files(folder)
        shapes = [pair for file in files for pair in _shapes(file)]
        facts = json.loads(read_text(folder / "config.json", LARGEST_DOCUMENT))
    except (OSError, ValueError, KeyError, AttributeError, TypeError, struct.error):
        return None
    if not shapes:
        return None
    parameters = sum(math.prod(shape) for _, shape in shapes)
    linear = sum(math.prod(shape) for name, shape in shapes if _is_linear(name, shape))
    stored = sum(file.stat().st_size for file in files)
    return Size(
        parameters / 1e9,
        linear / 1e9,
        _cache_kb(facts),
        image_tokens or _OTHER_IMAGE_TOKENS,
        stored / 1e9 if is_quantised(facts) else None,
    )


def _weight_files(folder: Path) -> list[Path]:
    """List the files that transformers reads: those of the index, or else `model.safetensors`; the folder may hold the
    same weights in another layout, too.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = set(json.loads(read_text(index, LARGEST_DOCUMENT))["weight_map"].values())
        return [folder / Path(name).name for name in sorted(names)]
    return [file for file in (folder / "model.safetensors",) if file.is_file()]


def is_quantised(facts: Mapping[str, object]) -> bool:
    """Return whether a `config.json` says that the weights are quantised already (AWQ, GPTQ, bitsandbytes)."""
    return bool(facts.get("quantization_config"))


def _is_linear(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a weight belongs to a linear layer that a quantisation makes smaller."""
    return len(shape) == 2 and name.endswith(".weight") and "embed" not in name and "lm_head" not in name


def _shapes(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and the shape of each tensor of a safetensors file, from its header."""
    with open_regular(file) as descriptor:
        (length,) = struct.unpack("<Q", os.pread(descriptor, 8, 0))
        header = json.loads(os.pread(descriptor, min(length, LARGEST_DOCUMENT), 8))
    header.pop("__metadata__", None)
    for name, facts in header.items():
        yield name, tuple(int(n) for n in facts["shape"])


def _cache_kb(facts: Mapping[str, object]) -> float:
    """Return the kB of keys and values of one token in 16 bits; 0.0 where the `config.json` does not tell.

    Layers of linear attention and convolutions keep no keys and values.
    """
    text = facts.get("text_config", facts)
    if not isinstance(text, dict):
        return 0.0
    layers, heads = _number(text, "num_hidden_layers"), _number(text, "num_attention_heads")
    kinds = text.get("layer_types")
    if isinstance(kinds, list):
        layers = sum("attention" in str(k) and "linear" not in str(k) for k in kinds)
    width = _number(text, "head_dim") or (_number(text, "hidden_size") // heads if heads else 0)
    return layers * (_number(text, "num_key_value_heads") or heads) * width * 2 * 2 / 1e3


def _number(facts: Mapping[str, object], key: str) -> int:
    value = facts.get(key)
    return value if isinstance(value, int) else 0
