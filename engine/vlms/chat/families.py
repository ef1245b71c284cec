"""Say which checkpoints the `chat` backend takes, from the model type in their `config.json`."""

import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from engine.core.errors import EnvironmentFault

_WHAT_WORKS = "See `myvlm models` for what can be used."


@cache
def chat_families() -> dict[str, dict[str, Any]]:
    """Read the facts about each supported family, by transformers' name of its model type."""
    return _document()["supported"]


@cache
def refused_families() -> dict[str, str]:
    """Read why a family cannot be used, by transformers' name of its model type."""
    return _document()["refused"]


def _document() -> dict[str, Any]:
    return json.loads(resources.files("engine.vlms").joinpath("chat_families.json").read_text("utf-8"))


def check_chat_family(name: str, folder: Path, model_type: str) -> None:
    """Check that a folder holds a checkpoint that transformers loads as a VLM, and that is not refused.

    A family that is in neither list is allowed: what it lacks is found when it is loaded.

    Raises:
        EnvironmentFault: it is refused, has no model type, or is no VLM of this transformers.
    """
    if not model_type:
        raise EnvironmentFault(
            f"{name} in {folder} has a config.json without a model_type, so it is no checkpoint of transformers",
            hint="The files may be incomplete, or not in the hub's format; fetch them again.",
        )
    if model_type in refused_families():
        raise EnvironmentFault(f"{name} in {folder} cannot be used: {refused_families()[model_type]}", hint=_WHAT_WORKS)
    what = None if model_type in _vlm_types() else _other_kind(model_type)
    if what:
        raise EnvironmentFault(f"{name} in {folder} is {what}, not a VLM that myvlm can load", hint=_WHAT_WORKS)


def _vlm_types() -> set[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)


def _other_kind(model_type: str) -> str:
    """Say what a model is that is no VLM of the transformers that is installed."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return f"a language model without vision (type {model_type!r})"
    return f"of type {model_type!r}, which transformers {transformers.__version__} has no VLM for"
