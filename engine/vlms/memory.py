"""Running out of memory: how it is told from other failures, and what to say of it."""

from engine.errors import EnvironmentFault, first_line
from engine.vlms.config import VlmConfig, list_configs

_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to allocate memory",
    "not enough memory",
    "bad_alloc",
    "cublas_status_alloc_failed",
)
"""What the allocators of torch (CUDA, MPS, CPU), cuBLAS, ONNX Runtime and C++ say."""


def is_out_of_memory(err: BaseException) -> bool:
    """Whether an exception of any library says that there is no memory left."""
    if isinstance(err, MemoryError) or type(err).__name__ == "OutOfMemoryError":
        return True
    text = str(err).lower()
    return isinstance(err, Exception) and any(sign in text for sign in _SIGNS)


def memory_fault(err: BaseException, config: VlmConfig | None = None) -> EnvironmentFault:
    """The error to show for it: where memory ran out, and what would fit. `config`: the VLM that was being loaded."""
    from engine.device import gpu_memory_gb

    gpu_gb = gpu_memory_gb()
    where = f"a GPU with {gpu_gb:.0f} GB" if gpu_gb else "this machine"
    what = f"{config.name} does not fit into the memory of {where}" if config else f"the memory of {where} is full"
    return EnvironmentFault(f"{what}: {first_line(err)}", hint=_what_fits(gpu_gb, config))


def _what_fits(gpu_gb: float, config: VlmConfig | None) -> str:
    """Models that need less, by their own figures in half precision."""
    advice = "Close other programs that use memory"
    if not gpu_gb:
        return f"{advice}, caption fewer photos at a time, or use a smaller VLM (myvlm models)."
    fitting = [c for c in list_configs() if not c.world and c.memory_gb.get("float16", gpu_gb + 1) <= gpu_gb]
    names = ", ".join(f"{c.name} ({c.memory_gb['float16']:g} GB)" for c in fitting if c is not config)
    if names:
        return f"{advice}, use --dtype float16 or --device cpu, or a VLM that fits: {names}."
    return f"{advice}, or use --device cpu. No VLM in `myvlm models` fits this GPU; --vlm none writes names only."
