"""Facts about this machine's processor, and this process's share of it, without loading torch, which takes seconds."""

import os
import platform
import sys
from pathlib import Path

_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
"""Linux' names of the instructions with which a CPU is faster in bfloat16 than in float32."""
_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
    "RAYON_NUM_THREADS",
)
"""The variables from which libraries that are loaded later take their number of threads: torch, NumPy, OpenCV and the
tokenizers. ONNX Runtime has none; `vision.onnx_threads` tells it."""
_WORKERS = "MYVLM_WORKERS"
"""The variable with the number of processes of one run that share this machine's cores; children inherit it."""
_CPU_INFO = Path("/proc/cpuinfo")


def has_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16; False where the system does not tell, as on Windows and macOS."""
    try:
        lines = _CPU_INFO.read_text("utf-8").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    return any(name in flags for name in _INSTRUCTIONS)


def is_apple_silicon() -> bool:
    """Whether this is a Mac with a processor of Apple's, whose GPU shares the memory."""
    return platform.system() == "Darwin" and platform.machine() == "arm64"


def allowed_cores() -> tuple[int, ...]:
    """Return the numbers of the cores that the system allows this process."""
    has_numbers = hasattr(os, "sched_getaffinity")  # Linux
    return tuple(sorted(os.sched_getaffinity(0))) if has_numbers else tuple(range(os.cpu_count() or 1))


def available_cores() -> int:
    """Return how many cores this process may use: those that the system allows it, shared with the run's workers."""
    workers = os.environ.get(_WORKERS, "")
    return max(1, len(allowed_cores()) // max(1, int(workers) if workers.isdecimal() else 1))


def let_idle_threads_sleep() -> None:
    """Let torch's idle threads on Linux wait busily for microseconds, not milliseconds. Call it before torch loads.

    They take the cores from the threads that decode photos: on two busy cores, a photo of 12 megapixels took 75 to 94
    ms of processor time to scan without this, and 57 to 67 ms with it.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # libgomp's default is 300,000 rounds


def thread_limits(workers: int) -> dict[str, str]:
    """Return the environment for one of `workers` processes on this machine, so that they do not fight for its cores.

    Smaller numbers of threads that the user set are kept. Idle threads sleep, where they would otherwise busy-wait.
    """
    cores = max(1, len(allowed_cores()) // max(1, workers))
    given = {name: os.environ.get(name, "") for name in _THREADS}
    limits = {name: str(min(cores, int(n)) if n.isdecimal() and int(n) else cores) for name, n in given.items()}
    return {_WORKERS: str(workers), "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"), **limits}


def limit_threads(workers: int) -> int:
    """Limit the threads of this process, one of `workers` on this machine; return how many cores it may use.

    Call it first in a worker: NumPy's OpenBLAS reads its limit only when it is loaded. Better still, start the worker
    with the environment of `thread_limits`. Sessions of ONNX Runtime that are open already keep their threads.
    """
    os.environ.update(thread_limits(workers))
    cores = available_cores()
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(min(cores, torch.get_num_threads()))
    if (cv2 := sys.modules.get("cv2")) is not None:
        cv2.setNumThreads(cores)
    return cores
