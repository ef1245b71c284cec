"""Folders of myvlm and of photos, and the environment variables that it reads and sets."""

import os
from collections.abc import Iterable
from pathlib import Path

HOME_VARIABLE = "MYVLM_HOME"
STORYBOOK = Path(__file__).parents[1] / "storybook" / "weights"
"""Folder of the shipped storybook checkpoints."""
BUILTIN = Path(__file__).parents[1] / "vision" / "weights" / "builtin"
"""Folder of the shipped recogniser of real photos."""


def home() -> Path:
    """Return the data folder: `$MYVLM_HOME`, else the platform's user data folder."""
    override = os.environ.get(HOME_VARIABLE)
    if override:
        return Path(override).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("myvlm", appauthor=False)


def go_online() -> None:
    """Allow the hub library to use the network, whatever the environment says. Call it before that import."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ.pop(name, None)
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def stay_offline() -> None:
    """Keep the model libraries off the network. Call it before they are imported."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        os.environ[name] = "1"  # overrides the user's environment
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # also the bars of transformers for loading weights
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


def common_folder(paths: Iterable[Path]) -> Path | None:
    """Return the real path of the deepest folder that holds all these photos and folders; None without any."""
    folders = [p if p.is_dir() else p.parent for p in (Path(os.path.realpath(p)) for p in paths)]
    if not folders:
        return None
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # the paths are on different drives
        return folders[0]
