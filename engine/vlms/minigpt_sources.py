"""Read the three files that MiniGPT-v2 is published as: vision tower, adapter checkpoint and Llama-2 folder.

Tensors are mapped or read lazily, so that memory holds what is being written and not a whole copy. Nothing in a pickle
is executed.
"""

import json
import math
import pickle  # for the name of its error alone: nothing is unpickled
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import engine.core.device  # noqa: F401

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from engine.core.errors import UsageError, first_line
from engine.core.files import LARGEST_DOCUMENT, open_regular, read_text

HINT = "Needed: eva_vit_g.pth, minigptv2_checkpoint.pth and the folder of Llama-2-7b-chat-hf, complete."
_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
"""Bytes of a number, for each format of safetensors that weights may have."""


@dataclass(frozen=True)
class Piece:
    """A tensor to write: its name, the file it comes from, its shape, its size in bytes, and how to make it."""

    name: str
    path: Path
    shape: tuple[int, ...]
    size: int
    make: Callable[[], Tensor]


def piece_of(name: str, path: Path, tensor: Tensor) -> Piece:
    """Make the piece of a tensor that is written as it is."""
    return Piece(name, path, tuple(tensor.shape), tensor.nbytes, lambda: tensor)


class Source:
    """The tensors of one file; errors name the file."""

    def __init__(self, path: Path, tensors: dict[str, Tensor]) -> None:
        self.path, self.tensors = path, tensors

    def get(self, name: str, *shape: int) -> Tensor:
        """Return a tensor of a given shape; -1 allows any length, and no shape allows any shape.

        Raises:
            UsageError: the tensor is missing or has another shape.
        """
        tensor = self.tensors.get(name)
        if not isinstance(tensor, Tensor):
            raise UsageError(f"{self.path}: the tensor {name} is missing", hint=HINT)
        fits = len(tensor.shape) == len(shape) and all(a in (b, -1) for a, b in zip(shape, tensor.shape, strict=True))
        if shape and not fits:
            raise UsageError(f"{self.path}: {name} is {list(tensor.shape)}, not {list(shape)}", hint=HINT)
        return tensor


def load_vit(path: Path) -> Source:
    """Load the vision tower, `eva_vit_g.pth`.

    Raises:
        UsageError: the file cannot be read as tensors.
    """
    return Source(path, _load_pickle(path))


def load_adapter(path: Path) -> Source:
    """Load the projection and the LoRA weights, `minigptv2_checkpoint.pth`.

    Raises:
        UsageError: the file cannot be read as tensors, or has no entry `model`.
    """
    tensors = _load_pickle(path).get("model")
    if not isinstance(tensors, dict):
        raise UsageError(f"{path} has no entry 'model' with tensors", hint=HINT)
    return Source(path, tensors)


def _load_pickle(path: Path) -> dict[str, Any]:
    """Read a `.pth` file; nothing in it is executed, and tensors are mapped where the format allows it."""
    try:
        with open_regular(path):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
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
        raise UsageError(f"{path} cannot be read as tensors: {first_line(err)}", hint=HINT) from err
    if not isinstance(content, dict):
        raise UsageError(f"{path} does not hold named tensors", hint=HINT)
    return content


class LlamaFolder:
    """A Llama in the hub's layout: config, tokenizer files, and weights in one or several safetensors files."""

    def __init__(self, folder: Path) -> None:
        """List the tensors of a folder.

        Raises:
            UsageError: there are no safetensors files, no tokenizer, or a file cannot be read.
        """
        self.folder = folder
        self.files: dict[str, Path] = {}
        try:
            for file in sorted(folder.glob("*.safetensors")):
                with open_regular(file), safe_open(file, "pt") as tensors:
                    self.files |= dict.fromkeys(tensors.keys(), file)
        except (OSError, SafetensorError) as err:
            raise UsageError(f"{file} cannot be read: {err}", hint=HINT) from err
        if not self.files:
            raise UsageError(f"{folder} holds no safetensors files", hint=HINT)
        if not (folder / "tokenizer.json").is_file() and not (folder / "tokenizer.model").is_file():
            raise UsageError(f"{folder} holds no tokenizer", hint=HINT)

    def config(self) -> dict[str, Any]:
        """Read `config.json`.

        Raises:
            UsageError: it cannot be read, or is not a Llama's.
        """
        try:
            facts = json.loads(read_text(self.folder / "config.json", LARGEST_DOCUMENT))
        except (OSError, ValueError) as err:
            raise UsageError(f"{self.folder / 'config.json'} cannot be read: {err}", hint=HINT) from err
        if facts.get("model_type") != "llama":
            raise UsageError(f"{self.folder} holds a {facts.get('model_type')!r}, not a Llama", hint=HINT)
        return facts

    def get(self, name: str, *shape: int) -> Tensor:
        """Read one tensor of a given shape, as `Source.get`."""
        file = self.files.get(name)
        if file is None:
            return Source(self.folder, {}).get(name, *shape)
        with safe_open(file, "pt") as tensors:
            return Source(file, {name: tensors.get_tensor(name)}).get(name, *shape)

    def piece(self, name: str, make: Callable[[], Tensor]) -> Piece:
        """Make the piece of a tensor, with the shape and format that the file's header gives.

        Raises:
            UsageError: the tensor does not hold floating-point numbers.
        """
        file = self.files[name]
        with safe_open(file, "pt") as tensors:
            header = tensors.get_slice(name)
            shape, number_format = tuple(header.get_shape()), header.get_dtype()
        if number_format not in _BYTES:
            raise UsageError(f"{file}: {name} is {number_format}, not floats", hint=HINT)
        return Piece(f"language_model.{name}", file, shape, math.prod(shape) * _BYTES[number_format], make)
