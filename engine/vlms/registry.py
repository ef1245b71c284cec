"""Finding and loading VLMs: by name, hub id or folder, from this disk only."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config import STORYBOOK
from engine.errors import EnvironmentFault, WeightsMissingError
from engine.files import sha256_of
from engine.vlms.config import VlmConfig, find_config, list_configs

if TYPE_CHECKING:
    import torch

    from engine.vlms.base import Vlm

BACKENDS = {
    "llava-next": "engine.vlms.llava_next:LlavaNext",
    "blip-2": "engine.vlms.blip2:Blip2",
    "minigpt-v2": "engine.vlms.minigpt_v2:MiniGptV2",
}
EMBEDDED = "embedded:"
DEFAULT = "storybook"
"""The VLM that is always there."""


def find_weights(config: VlmConfig) -> Path | None:
    """The folder with a VLM's weights, or None when they are not on this disk."""
    if config.repo_id.startswith(EMBEDDED):
        folder = STORYBOOK / config.repo_id.removeprefix(EMBEDDED)
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


def revision_of(config: VlmConfig, folder: Path) -> str:
    """What tells one version of the weights from another: the hub's commit, else a fingerprint of the files."""
    if folder.parent.name == "snapshots":
        return folder.name
    parts = [(folder / "config.json").read_bytes()]
    index = folder / "model.safetensors.index.json"
    parts += [index.read_bytes()] if index.is_file() else []
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as f:
            parts += [file.name.encode(), str(file.stat().st_size).encode(), f.read(2**20)]
    return sha256_of(b"\0".join(parts))[:12]


def load_vlm(config: VlmConfig, device: "torch.device", dtype: "torch.dtype") -> "Vlm":
    """Load a VLM.

    Raises:
        WeightsMissingError: its weights are not on this disk; the hint says how to get them.
        EnvironmentFault: they are there but cannot be loaded.
    """
    folder = find_weights(config)
    if folder is None:
        raise WeightsMissingError(
            f"the weights of {config.name} ({config.repo_id}) are not on this disk",
            hint=f"Run: myvlm models pull {config.name}   ({config.disk_gb:g} GB; {config.license})",
        )
    module, name = BACKENDS[config.backend].split(":")
    from safetensors import SafetensorError

    try:
        return getattr(import_module(module), name).load(config, folder, device, dtype)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as err:
        raise EnvironmentFault(
            f"{config.name} in {folder} cannot be loaded: {str(err).splitlines()[0]}",
            hint="The files may be incomplete; fetch them again, or see `myvlm doctor`.",
        ) from err


def fits(config: VlmConfig, gpu_gb: float) -> bool:
    """Whether a VLM fits a GPU of that memory in half precision; the storybook fits anywhere."""
    if config.world:
        return True
    need = config.memory_gb.get("float16", float("inf"))
    return gpu_gb >= need


def default_vlm(gpu_gb: float) -> VlmConfig:
    """The best VLM that is on disk and fits; the storybook when nothing else does."""
    real = [c for c in list_configs() if not c.world and fits(c, gpu_gb) and find_weights(c)]
    return real[0] if real else find_config(DEFAULT)
