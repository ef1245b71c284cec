"""Download weights from the hub: the only code of myvlm that uses the network."""

from pathlib import Path

from engine.core.errors import EnvironmentFault, UsageError, first_line
from engine.core.paths import go_online
from engine.vlms.config import VlmConfig

_FILES = ["*.safetensors", "*.json", "*.model", "*.jinja", "*.txt"]


def download_weights(config: VlmConfig) -> Path:
    """Download a VLM's safetensors and text files into the hub cache; files in the cache are not downloaded again.

    Returns the folder with the files.

    Raises:
        UsageError: the VLM is shipped with myvlm or is a folder.
        EnvironmentFault: the hub cannot be reached, or refuses.
    """
    if config.world or Path(config.repo_id).is_absolute():
        raise UsageError(f"{config.name} needs no fetching", hint="It is on this disk.")
    go_online()
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(config.repo_id, revision=config.revision, allow_patterns=_FILES))
    except Exception as err:  # huggingface_hub and its HTTP client raise many types
        raise EnvironmentFault(
            f"{config.repo_id} could not be fetched: {first_line(err)}",
            hint=f"On a machine with network: hf download {config.repo_id}; then copy the hub cache here.",
        ) from err
