"""Read the files that the paper's authors publish: concept embeddings and linear heads, as tensors only."""

import io
import pickle  # only for its exception class: nothing is unpickled
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import engine.core.device  # noqa: F401

import numpy as np
import torch

from engine.core.errors import ArtefactError, UsageError, first_line
from engine.core.files import read_bytes
from engine.core.tensors import LARGEST

_EMBEDDINGS = "{iteration: {keys, values}}"


@dataclass(frozen=True)
class PublishedEmbedding:
    """A concept embedding.

    iteration: the training step; vector: (R, D) float32, rows of unit length, because only their direction matters
    (`docs/method.md`, section 1).
    """

    iteration: int
    vector: np.ndarray


def read_embeddings(path: Path, iteration: int | None = None) -> PublishedEmbedding:
    """Read a concept embedding from `concept_embeddings_<VLM>_<TASK>.pt`.

    The file holds `{iteration: {keys, values}}` with values (D,) or (R, D), or with additional axes of length 1.
    Without an iteration the last one is read.

    Raises:
        UsageError: the file cannot be read, has another form, or lacks the iteration.
    """
    content = _load(path)
    iterations = {int(k): v for k, v in content.items() if str(k).isdecimal()} if isinstance(content, dict) else {}
    if not iterations or not all(isinstance(v, dict) and "values" in v for v in iterations.values()):
        raise UsageError(f"{path} does not hold concept embeddings", hint=f"Expected: {_EMBEDDINGS}.")
    chosen = max(iterations) if iteration is None else iteration
    if chosen not in iterations:
        available = ", ".join(map(str, sorted(iterations)))
        raise UsageError(f"{path} has no iteration {chosen}", hint=f"It has: {available}.")
    values = _numbers(iterations[chosen]["values"], path, "values")
    if values.ndim == 0 or values.size == 0:
        raise UsageError(f"{path}: the values have no length", hint=f"Expected: {_EMBEDDINGS}, values (1, D).")
    if sum(n > 1 for n in values.shape[:-1]) > 1:
        raise UsageError(f"{path}: the values have shape {values.shape}", hint="Expected (1, D) or (R, D).")
    rows = values.reshape(-1, values.shape[-1])
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(rows).all() or not (norms > 0).all():
        raise UsageError(f"{path}: the embedding has a row without a direction", hint="The file is damaged.")
    return PublishedEmbedding(chosen, (rows / norms).astype(np.float32))


def read_classifier(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a linear head: `classifier.weight` (1 or 2, D) and `classifier.bias`, as weight (2, D), bias (2,).

    Two outputs are logits of "another thing" and "the concept". Their softmax is a logistic function of the
    difference, p = sigmoid((w1 - w0) x + b1 - b0), and so a head with one output w, b is the one with rows
    0 and w, biases 0 and b.

    Raises:
        UsageError: the file cannot be read or has another form.
    """
    content = _load(path)
    content = content.get("state_dict", content) if isinstance(content, dict) else {}
    expected = "Expected: {classifier.weight (1 or 2, D), classifier.bias (1 or 2)}."
    if not isinstance(content, dict) or not {"classifier.weight", "classifier.bias"} <= set(content):
        raise UsageError(f"{path} does not hold a linear head", hint=expected)
    weight = _numbers(content["classifier.weight"], path, "classifier.weight")
    bias = _numbers(content["classifier.bias"], path, "classifier.bias").reshape(-1)
    if weight.ndim != 2 or len(weight) not in (1, 2) or len(bias) != len(weight):
        raise UsageError(f"{path}: the head has shapes {weight.shape} and {bias.shape}", hint=expected)
    if not np.isfinite(weight).all() or not np.isfinite(bias).all():
        raise UsageError(f"{path}: the head has numbers that are not finite", hint="The file is damaged.")
    if len(weight) == 1:
        weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.concatenate([np.zeros_like(bias), bias])
    return weight.astype(np.float32), bias.astype(np.float32)


def check_width(found: int, wanted: int, path: Path, model: str) -> None:
    """Check that the width of an imported tensor is that of the model.

    Raises:
        ArtefactError: the widths differ.
    """
    if found != wanted:
        raise ArtefactError(
            f"{path} has width {found}, {model} has {wanted}", hint="It was made for another model; name that one."
        )


def _load(path: Path) -> Any:
    """Load tensors and plain containers; no code in the file is run."""
    try:
        return torch.load(io.BytesIO(read_bytes(path, LARGEST)), map_location="cpu", weights_only=True)
    except OSError as err:
        raise UsageError(f"{path}: {err.strerror or err}", hint="Give the file itself.") from err
    except pickle.UnpicklingError as err:
        raise UsageError(
            f"{path} is refused: it holds more than tensors (pickled Python objects), or is no .pt file",
            hint="Save plain tensors with torch.save; myvlm runs no code from files.",
        ) from err
    except (RuntimeError, ValueError, EOFError, KeyError, AttributeError, TypeError) as err:
        raise UsageError(f"{path} cannot be read as a .pt file: {first_line(err)}") from err


def _numbers(value: Any, path: Path, what: str) -> np.ndarray:
    if not isinstance(value, torch.Tensor):
        raise UsageError(f"{path}: {what} is not a tensor", hint=f"Expected: {_EMBEDDINGS}.")
    return value.detach().float().cpu().numpy()
