"""Reading the files that the paper's authors publish: concept embeddings and linear heads, tensors only."""

import io
import pickle  # for the name of its error alone: nothing is unpickled
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
    """A published embedding. vector: (R, D) float32, rows of unit length (docs/method.md, 1)."""

    iteration: int
    vector: np.ndarray


def read_embeddings(path: Path, iteration: int | None = None) -> PublishedEmbedding:
    """Read `concept_embeddings_<VLM>_<TASK>.pt`: `{iteration: {keys, values}}`, values (D,), (R, D) or with
    axes of length 1 between. Without an iteration the last one is taken.

    Raises:
        UsageError: the file cannot be read, has another form, or lacks the iteration.
    """
    found = _load(path)
    form = {int(k): v for k, v in found.items() if str(k).isdecimal()} if isinstance(found, dict) else {}
    if not form or not all(isinstance(v, dict) and "values" in v for v in form.values()):
        raise UsageError(f"{path} does not hold concept embeddings", hint=f"Expected: {_EMBEDDINGS}.")
    taken = max(form) if iteration is None else iteration
    if taken not in form:
        known = ", ".join(map(str, sorted(form)))
        raise UsageError(f"{path} has no iteration {taken}", hint=f"It has: {known}.")
    values = _numbers(form[taken]["values"], path, "values")
    if values.ndim == 0 or values.size == 0:
        raise UsageError(f"{path}: the values have no length", hint=f"Expected: {_EMBEDDINGS}, values (1, D).")
    if sum(n > 1 for n in values.shape[:-1]) > 1:
        raise UsageError(f"{path}: the values have shape {values.shape}", hint="Expected (1, D) or (R, D).")
    rows = values.reshape(-1, values.shape[-1])
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(rows).all() or not (norms > 0).all():
        raise UsageError(f"{path}: the embedding has a row without a direction", hint="The file is damaged.")
    return PublishedEmbedding(taken, (rows / norms).astype(np.float32))


def read_classifier(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a linear head: `classifier.weight` (1 or 2, D) and `classifier.bias`, as weight (2, D), bias (2,).

    Two outputs are logits of "another thing" and "the concept". Their softmax is a logistic function of the
    difference, p = sigmoid((w1 - w0) x + b1 - b0), and so a head with one output w, b is the one with rows
    0 and w, biases 0 and b.

    Raises:
        UsageError: the file cannot be read or has another form.
    """
    found = _load(path)
    found = found.get("state_dict", found) if isinstance(found, dict) else {}
    form = "Expected: {classifier.weight (1 or 2, D), classifier.bias (1 or 2)}."
    if not isinstance(found, dict) or not {"classifier.weight", "classifier.bias"} <= set(found):
        raise UsageError(f"{path} does not hold a linear head", hint=form)
    weight = _numbers(found["classifier.weight"], path, "classifier.weight")
    bias = _numbers(found["classifier.bias"], path, "classifier.bias").reshape(-1)
    if weight.ndim != 2 or len(weight) not in (1, 2) or len(bias) != len(weight):
        raise UsageError(f"{path}: the head has shapes {weight.shape} and {bias.shape}", hint=form)
    if not np.isfinite(weight).all() or not np.isfinite(bias).all():
        raise UsageError(f"{path}: the head has numbers that are not finite", hint="The file is damaged.")
    if len(weight) == 1:
        weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.concatenate([np.zeros_like(bias), bias])
    return weight.astype(np.float32), bias.astype(np.float32)


def check_width(found: int, wanted: int, path: Path, model: str) -> None:
    """Make sure that imported numbers fit the model they are for.

    Raises:
        ArtefactError: they were made for another width.
    """
    if found != wanted:
        raise ArtefactError(
            f"{path} has width {found}, {model} has {wanted}", hint="It was made for another model; name that one."
        )


def _load(path: Path) -> Any:
    """Load tensors and plain containers; nothing that a file could run."""
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
