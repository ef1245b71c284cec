"""Finding and loading VLMs: by name, hub id or folder, from this disk only."""

import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.errors import EnvironmentFault, UsageError, WeightsMissingError, first_line, is_out_of_memory
from engine.core.files import LARGEST_DOCUMENT, open_regular, read_bytes, sha256_of
from engine.core.paths import STORYBOOK, home
from engine.vlms.config import VlmConfig, family_of, find_config, model_type_of
from engine.vlms.memory import memory_fault

if TYPE_CHECKING:
    import torch

    from engine.vlms.base import Vlm

BACKENDS = {
    "llava-next": "engine.vlms.llava_next:LlavaNext",
    "blip-2": "engine.vlms.blip2:Blip2",
    "minigpt-v2": "engine.vlms.minigpt_v2:MiniGptV2",
}
EMBEDDED = "embedded:"
CONVERTED = "converted:"
"""Weights that no hub repository holds as a whole; `myvlm models convert` makes their folder."""
NO_VLM = "none"
"""In place of a VLM's name or id: photos get names only."""
DEFAULT = "storybook"
"""The VLM that is always there."""
PREFERENCE = ("llava-1.6", "minigpt-v2", "blip-2")
"""Which VLM to take when several are there: the paper's best recall first; BLIP-2 last, it only captions."""


def find_weights(config: VlmConfig) -> Path | None:
    """The folder with a VLM's weights, or None when they are not on this disk."""
    if config.backend == NO_VLM:
        return None
    if config.repo_id.startswith(EMBEDDED):
        folder = STORYBOOK / config.repo_id.removeprefix(EMBEDDED)
        return folder if (folder / "config.json").is_file() else None
    if config.repo_id.startswith(CONVERTED):
        folder = converted_folder(config)
        return folder if (folder / "config.json").is_file() else None
    if Path(config.repo_id).is_absolute():
        return Path(config.repo_id)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(config.repo_id, revision=config.revision, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError):
        return None
    return folder if any(folder.glob("*.safetensors")) else None


def converted_folder(config: VlmConfig) -> Path:
    """Where the converted weights of a VLM belong."""
    return home() / "models" / config.repo_id.removeprefix(CONVERTED)


def how_to_get(config: VlmConfig) -> str:
    """The command that brings a VLM's weights to this disk."""
    size = f"{config.disk_gb:g} GB; {config.license}"
    if config.repo_id.startswith(CONVERTED):
        name = config.repo_id.removeprefix(CONVERTED)
        return f"Run: myvlm models convert {name} --vit FILE --checkpoint FILE --llama FOLDER   ({size})"
    return f"Run: myvlm models pull {config.name}   ({size})"


def revision_of(config: VlmConfig, folder: Path) -> str:
    """What tells one version of the weights from another: the hub's commit, else a fingerprint of the files."""
    if folder.parent.name == "snapshots":
        return folder.name
    parts = [read_bytes(folder / "config.json", LARGEST_DOCUMENT)]
    index = folder / "model.safetensors.index.json"
    parts += [read_bytes(index, LARGEST_DOCUMENT)] if index.is_file() else []
    for file in sorted(folder.glob("*.safetensors")):
        with open_regular(file) as f:
            parts += [file.name.encode(), str(file.stat().st_size).encode(), os.pread(f, 2**20, 0)]
    return sha256_of(b"\0".join(parts))[:12]


def check_weights(config: VlmConfig) -> Path:
    """The folder with a VLM's weights.

    Raises:
        WeightsMissingError: they are not on this disk; the hint says how to get them.
    """
    folder = find_weights(config)
    if folder is None:
        raise WeightsMissingError(
            f"the weights of {config.name} ({config.repo_id}) are not on this disk",
            hint=how_to_get(config),
        )
    return folder


def load_vlm(config: VlmConfig, device: "torch.device", dtype: "torch.dtype") -> "Vlm":
    """Load a VLM.

    Raises:
        UsageError: it is `without_vlm`'s.
        WeightsMissingError: its weights are not on this disk; the hint says how to get them.
        EnvironmentFault: they are there but cannot be loaded, are those of another family, or do not fit into memory.
    """
    if config.backend == NO_VLM:
        raise UsageError(
            "this needs a VLM, and --vlm none asks for none", hint="Leave out --vlm none, or name a VLM: myvlm models."
        )
    folder = check_weights(config)
    _check_family(config, folder)
    module, name = BACKENDS[config.backend].split(":")
    from safetensors import SafetensorError

    try:
        return getattr(import_module(module), name).load(config, folder, device, dtype)
    except (OSError, ValueError, RuntimeError, KeyError, MemoryError, SafetensorError) as err:
        if is_out_of_memory(err):
            raise memory_fault(err, config, str(dtype).removeprefix("torch.")) from err
        raise EnvironmentFault(
            f"{config.name} in {folder} cannot be loaded: {first_line(err)}",
            hint="The files may be incomplete; fetch them again, or see `myvlm doctor`.",
        ) from err


def _check_family(config: VlmConfig, folder: Path) -> None:
    found = model_type_of(folder / "config.json")
    family = family_of(found)
    if found and (family is None or family.backend != config.backend):
        raise EnvironmentFault(
            f"{config.name} in {folder} is a model of type {found!r} and cannot be loaded as {config.backend}",
            hint="Give its folder as --vlm." if family else "See `myvlm models` for what can be used.",
        )


def without_vlm(config: VlmConfig) -> VlmConfig:
    """The config that stands for no VLM, with the recogniser and identifiers of another one."""
    return replace(
        config,
        name=NO_VLM,
        backend=NO_VLM,
        repo_id=NO_VLM,
        revision="",
        template=None,
        requests={},
        answers=False,
        variant="",
        variants={},
        world=None,
    )


def knows_drawings_only(vlm_id: str) -> bool:
    """Whether the VLM under which a caption is stored is one of those that ship, which know the drawn world only."""
    return vlm_id.startswith(EMBEDDED)


def fits(config: VlmConfig, gpu_gb: float) -> bool:
    """Whether a VLM fits a GPU of that memory in half precision; the storybook fits anywhere."""
    if config.world:
        return True
    need = config.memory_gb.get("float16", float("inf"))
    return gpu_gb >= need


def default_vlm(gpu_gb: float) -> VlmConfig:
    """The best VLM that is on disk and fits; the storybook when nothing else does."""
    real = (find_config(name) for name in PREFERENCE)
    return next((c for c in real if fits(c, gpu_gb) and find_weights(c)), find_config(DEFAULT))
