"""The error that is shown when memory runs out: which memory is full, and what would fit."""

import os

from engine.core.errors import EnvironmentFault, first_line
from engine.vlms.config import VlmConfig, list_configs

_ON_GPU = ("cuda", "cublas", "hip out of memory", "mps backend")
_USABLE = 0.9
"""Share of a memory that a model may use; the rest is for the system, and on a GPU for the display."""


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
