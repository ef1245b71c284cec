"""Load a checkpoint folder in the hub's layout with transformers' Auto classes, and say what it lacks."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import engine.core.device  # noqa: F401

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel

from engine.core.errors import EnvironmentFault, UsageError, first_line
from engine.vlms.base import check_complete
from engine.vlms.chat.encoding import encodes_once
from engine.vlms.config import VlmConfig
from engine.vlms.prompt_config import Chat
from engine.vlms.quantise import load_options, prepare

_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_h")
"""The settings of a GenerationConfig that have a meaning for sampling only."""


def load_checkpoint(
    config: VlmConfig, folder: Path, device: torch.device, dtype: torch.dtype, quantise: str = "none"
) -> tuple[PreTrainedModel, Any]:
    """Load the model and the processor of a folder.

    Raises:
        EnvironmentFault: the folder holds no VLM that the `chat` backend takes, or a package is missing.
        ValueError, OSError: files are missing or damaged.
    """
    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        _check_processor(config, folder, processor)
        return _load_model(config, folder, device, dtype, quantise), processor
    except ImportError as err:
        raise _missing_package(config, err) from err
    except (TypeError, AttributeError, StrictDataclassError) as err:  # settings of an unexpected type
        raise ValueError(first_line(err)) from err


def _load_model(
    config: VlmConfig, folder: Path, device: torch.device, dtype: torch.dtype, quantise: str
) -> PreTrainedModel:
    options = load_options(config, device, dtype, quantise)
    model, loading_info = cast(
        tuple[PreTrainedModel, dict[str, Any]],
        AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype, local_files_only=True, output_loading_info=True, **options
        ),
    )
    newline = ("model.image_newline",) if config.chat and config.chat.one_tile else ()
    check_complete(loading_info, newline)  # the newline row stands between tiles only
    if "device_map" not in options:
        cast(torch.nn.Module, model).to(device)
    _check_model(config, folder, model)
    _never_sample(model)
    return prepare(model.eval().requires_grad_(False))


def _never_sample(model: Any) -> None:
    """Generate greedily, whatever the checkpoint's own settings are; its penalties and end tokens stay."""
    settings = deepcopy(model.generation_config)
    settings.do_sample = False
    for name in _SAMPLING:
        if getattr(settings, name, None) is not None:
            setattr(settings, name, None)
    model.generation_config = settings


def _check_processor(config: VlmConfig, folder: Path, processor: Any) -> None:
    """Check that a processor takes images and writes chats.

    Raises:
        EnvironmentFault: it does not.
    """
    where = f"{config.name} in {folder}"
    if not hasattr(processor, "image_processor"):
        raise EnvironmentFault(
            f"{where} has no processor for images",
            hint="Its preprocessor_config.json or processor_config.json may be missing; fetch the files again.",
        )
    one_tile = config.chat is not None and config.chat.one_tile
    if not one_tile and not getattr(processor, "chat_template", None):
        raise EnvironmentFault(
            f"{where} has no chat template, which says how prompts are written",
            hint="Use an instruct or chat version of it; or fetch the files again: chat_template.jinja may be missing.",
        )


def _check_model(config: VlmConfig, folder: Path, model: PreTrainedModel) -> None:
    """Check that a model puts text tokens through a table of embeddings, behind which concepts can be put.

    Raises:
        EnvironmentFault: it does not.
    """
    if model.config.is_encoder_decoder or not encodes_once(model):
        kind = model.config.model_type
        raise EnvironmentFault(
            f"{config.name} in {folder} (type {kind!r}) does not put image tokens among text tokens, so that concepts"
            " have no place in it",
            hint="See `myvlm models` for what can be used.",
        )


def _missing_package(config: VlmConfig, err: ImportError) -> EnvironmentFault:
    """Make the error for a package that a checkpoint's processor needs."""
    wanted = re.search(r"pip install [`'\"]?([\w.-]+)", str(err)) or re.search(r"`([\w.-]+)`", str(err))
    name = err.name or (wanted[1] if wanted else "")
    if not name:
        return EnvironmentFault(f"{config.name} cannot be loaded: {first_line(err)}", hint="Install what it names.")
    return EnvironmentFault(
        f"{config.name} needs the package {name}, which is not installed", hint=f"Run: pip install {name}"
    )


def check_injection(config: VlmConfig, chat: Chat) -> None:
    """Check that the norm and the penalty of a config have a meaning for the `chat` backend.

    Raises:
        UsageError: they have none.
    """
    injection = config.injection
    if injection.norm != "text" and not chat.one_tile:
        raise UsageError(f"{config.name} has no norm {injection.norm!r}", hint="Possible: text.")
    if injection.penalty not in ("row", "column", "none"):
        raise UsageError(f"{config.name} has no penalty {injection.penalty!r}", hint="Possible: row, column, none.")


def end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the ids that end a text: those of the generation settings, else of the tokenizer."""
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = tokenizer.eos_token_id
    return frozenset([ends] if isinstance(ends, int) else ends or [])


def slot_id_of(text_config: Any, pad_id: int) -> int:
    """Return the id that stands at slots: the one that the language model itself has for what is no text."""
    own = text_config.pad_token_id
    return own if isinstance(own, int) and 0 <= own < text_config.vocab_size else pad_id
