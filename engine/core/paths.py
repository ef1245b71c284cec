"""Where myvlm keeps things, and what the environment may change."""

import os
from pathlib import Path

HOME_VARIABLE = "MYVLM_HOME"
STORYBOOK = Path(__file__).parents[1] / "storybook" / "weights"
"""Folder of the shipped storybook checkpoints."""


def home() -> Path:
    """The data folder: `$MYVLM_HOME`, else the platform's user data folder."""
    override = os.environ.get(HOME_VARIABLE)
    if override:
        return Path(override).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("myvlm", appauthor=False)


def go_online() -> None:
    """Let the hub library use the network, whatever the environment says; call before it is imported."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ.pop(name, None)
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def stay_offline() -> None:
    """Tell the model libraries that nothing leaves this machine; call before they are imported."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        os.environ[name] = "1"  # whatever the environment says
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers' bars for loading weights, too
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
