"""Look at the hub's cache on this disk without its library, which takes long to import."""

import os
import sys
from pathlib import Path


def hub_cache() -> Path:
    """Return the folder of the hub's cache: that of `huggingface_hub.constants`, or by the same variables.

    Where that library is loaded, its own setting counts.
    """
    library = sys.modules.get("huggingface_hub.constants")
    if library is not None:
        return Path(library.HF_HUB_CACHE)
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    place = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or f"{home}/hub"
    return Path(os.path.expandvars(place)).expanduser()


def repository_folder(repo_id: str) -> Path:
    """Return the folder of a repository in the hub's cache, whether or not it exists."""
    return hub_cache() / f"models--{repo_id.replace('/', '--')}"
