"""Find and load VLMs by name, hub id or folder, from this disk only."""

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.errors import EnvironmentFault, UsageError, WeightsMissingError, first_line, is_out_of_memory
from engine.core.files import LARGEST_DOCUMENT, open_regular, read_bytes, sha256_of
from engine.core.paths import STORYBOOK, home
from engine.vlms.config import VlmConfig, chat_families, identifier_lists, list_configs
from engine.vlms.find import family_of, model_type_of, why_not_chat
from engine.vlms.hub_cache import repository_folder
from engine.vlms.memory import AS_STORED, QUANTISED, check_room, memory_fault
from engine.vlms.preference import by_use

if TYPE_CHECKING:
    import torch

    from engine.vlms.base import Vlm

BACKENDS = {
    "llava-next": "engine.vlms.llava_next:LlavaNext",
    "blip-2": "engine.vlms.blip2:Blip2",
    "minigpt-v2": "engine.vlms.minigpt_v2:MiniGptV2",
    "chat": "engine.vlms.chat.prefixes:PrefixChatVlm",
    "openai": "engine.vlms.server.adapter:ServerVlm",
}
"""The class of each family, which implements `base.Vlm`; its module is imported when a VLM is loaded."""
EMBEDDED = "embedded:"
"""Prefix of a `repo_id` whose weights are shipped with myvlm."""
CONVERTED = "converted:"
"""Prefix of a `repo_id` whose weights no hub repository holds completely; `myvlm models convert` makes their folder."""
WEIGHT_FILES = ["model*.safetensors", "*.json", "*.model", "*.jinja", "*.txt"]
"""The files of a hub repository that are used: weights without code in them, configs and tokenizers.

transformers reads `model*.safetensors` only. Some repositories hold the same weights a second time, in
`consolidated.safetensors`.
"""
HOW_TO_GET_A_VLM = "Run: myvlm setup"
"""What to do where there is no VLM for real photos."""
NO_VLM = "none"
"""Takes the place of a VLM's name and id where photos get names only."""


def find_weights(config: VlmConfig) -> Path | None:
    """Return the folder with a VLM's weights; None when they are not on this disk."""
    if config.backend == NO_VLM or config.server is not None:
        return None
    if config.repo_id.startswith(EMBEDDED):
        folder = STORYBOOK / config.repo_id.removeprefix(EMBEDDED)
        return folder if (folder / "config.json").is_file() else None
    if config.repo_id.startswith(CONVERTED):
        folder = converted_folder(config)
        return folder if (folder / "config.json").is_file() else None
    if Path(config.repo_id).is_absolute():
        return Path(config.repo_id)
    if not repository_folder(config.repo_id).is_dir():
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                config.repo_id, revision=config.revision, local_files_only=True, allow_patterns=WEIGHT_FILES
            )
        )
    except (LocalEntryNotFoundError, ValueError):
        return None
    return folder if any(folder.glob("*.safetensors")) else None


def converted_folder(config: VlmConfig) -> Path:
    """Return the folder in which the converted weights of a VLM are stored."""
    return home() / "models" / config.repo_id.removeprefix(CONVERTED)


def how_to_get(config: VlmConfig) -> str:
    """Return the command that gets a VLM's weights, with their size and license."""
    size = f"{config.disk_gb:g} GB; {config.license}" if config.disk_gb else f"licence: {config.license}"
    if config.repo_id.startswith(CONVERTED):
        name = config.repo_id.removeprefix(CONVERTED)
        return f"Run: myvlm models convert {name} --vit FILE --checkpoint FILE --llama FOLDER   ({size})"
    return f"Run: myvlm models pull {config.name}   ({size})"


def revision_of(config: VlmConfig, folder: Path) -> str:
    """Return the version of a VLM's weights: the hub's commit, or a fingerprint of the files.

    The fingerprint is the SHA-256 (12 hex digits) of `config.json`, the index, and each file's name, size and first
    MiB.
    """
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
    """Return the folder with a VLM's weights.

    Raises:
        WeightsMissingError: they are not on this disk; the hint tells how to get them.
    """
    folder = find_weights(config)
    if folder is None:
        raise WeightsMissingError(
            f"the weights of {config.name} ({config.repo_id}) are not on this disk",
            hint=how_to_get(config),
        )
    return folder


def load_vlm(config: VlmConfig, device: "torch.device", dtype: "torch.dtype", quantise: str = "none") -> "Vlm":
    """Load a VLM onto a device, in a number format.

    quantise: "int8" or "int4" for quantised weights; `dtype` is then the format of the calculation.

    Raises:
        WeightsMissingError: its weights are not on this disk; the hint tells how to get them.
        EnvironmentFault: the weights cannot be loaded, are those of another family, or do not fit into memory.
        UsageError: it cannot be loaded quantised.
    """
    if config.server is not None:
        return connect_vlm(config)
    folder = check_weights(config)
    _check_family(config, folder)
    precision = precision_of(config, device, dtype, quantise)
    check_room(config, device.type, precision)
    if device.type == "mps":  # reading weights in several threads fails there (reports of users; not run by us)
        os.environ.setdefault("HF_DEACTIVATE_ASYNC_LOAD", "1")
    return _load(config, folder, device, dtype, quantise)


def precision_of(config: VlmConfig, device: "torch.device", dtype: "torch.dtype", quantise: str) -> str:
    """Return the number format of a VLM's weights, such as "bfloat16", "int8" or "nf4".

    Raises:
        UsageError: it cannot be loaded quantised.
    """
    if config.size and config.size.quantised_gb is not None:
        return AS_STORED
    if quantise == "none":
        return str(dtype).removeprefix("torch.")
    if config.backend != "chat":
        raise UsageError(f"{config.name} cannot be loaded in {quantise}", hint="Leave out --quantise.")
    return "int8" if quantise == "int8" else QUANTISED[device.type][1]


def _load(config: VlmConfig, folder: Path, device: "torch.device", dtype: "torch.dtype", quantise: str) -> "Vlm":
    """Load a VLM from its folder; what goes wrong becomes an error of the engine."""
    module, name = BACKENDS[config.backend].split(":")
    from safetensors import SafetensorError

    options = {"quantise": quantise} if config.backend == "chat" else {}
    try:
        vlm: Vlm = getattr(import_module(module), name).load(config, folder, device, dtype, **options)
        return vlm
    except (OSError, ValueError, RuntimeError, KeyError, MemoryError, SafetensorError) as err:
        if is_out_of_memory(err):
            raise memory_fault(err, config, precision_of(config, device, dtype, quantise)) from err
        raise EnvironmentFault(
            f"{config.name} in {folder} cannot be loaded: {first_line(err)}",
            hint="The files may be incomplete; fetch them again, or see `myvlm doctor`.",
        ) from err


def connect_vlm(config: VlmConfig) -> "Vlm":
    """Connect to a VLM that runs in a server; torch is not imported.

    Raises:
        UsageError: photos would leave this machine.
        EnvironmentFault: the server is not there, does not have the model, or the model cannot see pictures.
    """
    from engine.vlms.server.adapter import ServerVlm

    return ServerVlm.load(config)


def check_vlm(config: VlmConfig) -> None:
    """Check that a VLM can be used: its weights are on this disk, or its server is there.

    Raises:
        WeightsMissingError: the weights are not there; the hint tells how to get them.
        UsageError, EnvironmentFault: those of `connect_vlm`.
    """
    connect_vlm(config) if config.server is not None else check_weights(config)


def _check_family(config: VlmConfig, folder: Path) -> None:
    """Check that a folder holds a model of the config's family.

    Raises:
        EnvironmentFault: its `config.json` tells of another family.
    """
    model_type = model_type_of(folder / "config.json")
    if config.backend == "chat" and (model_type in chat_families()["supported"] or _one_tile(config)):
        return
    family = family_of(model_type)
    if config.backend == "chat" and not family:
        _check_chat_family(config.name, folder, model_type)
    elif model_type and (family is None or family.backend != config.backend):
        raise EnvironmentFault(
            f"{config.name} in {folder} is a model of type {model_type!r} and cannot be loaded as {config.backend}",
            hint="Give its folder as --vlm." if family else "See `myvlm models` for what can be used.",
        )


def _one_tile(config: VlmConfig) -> bool:
    """Whether the `chat` backend runs a LLaVA-NeXT, whose checkpoints have a backend of their own."""
    return config.chat is not None and config.chat.one_tile


def _check_chat_family(name: str, folder: Path, model_type: str) -> None:
    """Check that a folder holds a checkpoint that the `chat` backend takes.

    Raises:
        EnvironmentFault: its `config.json` has no model type, or one that cannot be used.
    """
    if not model_type:
        raise EnvironmentFault(
            f"{name} in {folder} has a config.json without a model_type, so it is no checkpoint of transformers",
            hint="The files may be incomplete, or not in the hub's format; fetch them again.",
        )
    if why := why_not_chat(model_type):
        raise EnvironmentFault(f"{name} in {folder} cannot be used: {why}", hint="See `myvlm models`.")


def no_vlm() -> VlmConfig:
    """Make the config that stands for no VLM, with the identifiers that the VLMs for real photos share."""
    identifiers = identifier_lists()["common"]
    return VlmConfig(NO_VLM, NO_VLM, repo_id=NO_VLM, revision="", identifiers=identifiers, answers=False)


def knows_drawings_only(vlm_id: str) -> bool:
    """Return whether a VLM id belongs to a VLM that is shipped with myvlm; those know the drawn world only."""
    return vlm_id.startswith(EMBEDDED)


def vlms_on_disk() -> tuple[VlmConfig, ...]:
    """List the VLMs for real photos whose weights are on this disk, the first choice first."""
    return tuple(by_use(c for c in list_configs() if not c.world and find_weights(c)))
