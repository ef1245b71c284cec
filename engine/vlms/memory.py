"""What is said where a VLM does not fit, or memory runs out: what it needs, which memory is full, what would fit."""

import os

from engine.core.errors import EnvironmentFault, first_line
from engine.vlms.config import VlmConfig, list_configs

_ON_GPU = ("cuda", "cublas", "hip out of memory", "mps backend")
_USABLE = 0.9
"""Share of a memory that a model may use; the rest is for the system, and on a GPU for the display."""


def memory_needed(config: VlmConfig, dtype: str = "float16") -> float:
    """Return the GB of memory that a VLM needs in a number format; 0.0 where its config does not tell."""
    return config.memory_gb.get("float16" if dtype == "bfloat16" else dtype, 0.0)


def lack_of_memory(config: VlmConfig, gpu_gb: float) -> str:
    """Return in a clause what a VLM on this disk needs and a GPU of `gpu_gb` GB lacks; 0.0 means that there is none."""
    here = f"this GPU has {gpu_gb:.0f} GB" if gpu_gb else "no CUDA GPU is in use here"
    return f"{config.name} is on this disk, but needs {memory_needed(config):g} GB of GPU memory, and {here}"


def check_room(config: VlmConfig, device_type: str, dtype: str) -> None:
    """Check before a VLM is loaded that the memory of a device is large enough for it at all.

    device_type: "cuda", "cpu" or another type of torch's, which is not checked.

    Raises:
        EnvironmentFault: it is not; the message says what the VLM needs, and the hint what would fit.
    """
    on_gpu = device_type == "cuda"
    room = _gpu_gb() if on_gpu else machine_memory_gb() if device_type == "cpu" else 0.0
    need = memory_needed(config, dtype)
    if room and need > room:
        raise EnvironmentFault(
            f"{config.name} does not fit: it needs {need:g} GB of {'GPU ' if on_gpu else ''}memory in {dtype}, and"
            f" {'this GPU' if on_gpu else 'this machine'} has {room:.0f} GB",
            hint=_what_fits(room, config, dtype, on_gpu=on_gpu),
        )


def memory_fault(err: BaseException, config: VlmConfig | None = None, dtype: str = "") -> EnvironmentFault:
    """Make the error to show when memory ran out: which memory is full, and what would fit.

    config, dtype: the VLM that was being loaded, and its number format; None and "" where anything else was running.
    """
    on_gpu = type(err).__name__ == "OutOfMemoryError" or any(sign in str(err).lower() for sign in _ON_GPU)
    memory_gb = _gpu_gb() if on_gpu else machine_memory_gb()
    size = f" ({memory_gb:.0f} GB)" if memory_gb else ""
    where = f"the memory of {'the GPU' if on_gpu else 'this machine'}{size}"
    what = f"{config.name} does not fit into {where}" if config else f"{where} is full"
    return EnvironmentFault(f"{what}: {first_line(err)}", hint=_what_fits(memory_gb, config, dtype, on_gpu=on_gpu))


def _what_fits(memory_gb: float, config: VlmConfig | None, dtype: str, *, on_gpu: bool) -> str:
    """List what can help, the least loss first: number format, a smaller VLM, the CPU, no VLM.

    memory_gb: GB of the memory that is full, 0.0 where unknown. The VLMs' sizes come from their configs.
    """
    half = "float16" if on_gpu else "bfloat16"
    room = _USABLE * memory_gb
    ways = ["close other programs that use memory"]
    need = config.memory_gb.get("float16") if config else None
    if not config and (on_gpu or not memory_gb):
        ways.append(f"use --dtype {half}")
    elif need and dtype == "float32" and (need <= room or not memory_gb):
        ways.append(f"use --dtype {half} ({need:g} GB)")
    limit = min(room or float("inf"), need or float("inf"))
    small = [c for c in list_configs() if not c.world and c.memory_gb.get("float16", float("inf")) < limit]
    if small and (config or memory_gb):
        names = ", ".join(f"{c.name} ({c.memory_gb['float16']:g} GB)" for c in small)
        ways.append(f"use a smaller VLM with --dtype {half}: {names}")
    ways += ["use --device cpu (slower)"] if on_gpu else []
    ways.append("caption without a VLM: --vlm none writes names only")
    return f"What can help: {'; '.join(ways)}."


def _gpu_gb() -> float:
    from engine.core.device import gpu_memory_gb

    return gpu_memory_gb()


def machine_memory_gb() -> float:
    """Return the memory of this machine in GB; 0.0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, OSError, ValueError):
        return 0.0
