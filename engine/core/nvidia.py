"""Whether this machine has an NVIDIA GPU, without loading torch, which takes seconds."""

import os
import shutil
from pathlib import Path

_SIGNS = ("/dev/nvidia0", "/proc/driver/nvidia/gpus", "/dev/dxg")
"""Where Linux shows that there is an NVIDIA GPU with a driver; the last is that of Windows' Linux subsystem."""


def has_nvidia_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU with a driver, whatever torch can use."""
    return any(Path(p).exists() for p in _SIGNS) or (os.name == "nt" and shutil.which("nvidia-smi") is not None)


def describe_gpus() -> str:
    """Return what Linux tells of the NVIDIA GPUs and their driver; "" where it tells nothing."""
    place = Path("/proc/driver/nvidia")
    texts = []
    for file in (place / "version", *sorted(place.glob("gpus/*/information"))):
        try:
            texts.append(file.read_text("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(texts)
