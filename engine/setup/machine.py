"""Look at this machine: GPU, memory, cores, free disk, and which models are on it."""

import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from engine.core.cpu import has_bfloat16
from engine.core.nvidia import has_nvidia_gpu
from engine.setup.parts import list_parts
from engine.vlms.memory import QUANTISED, Room, machine_memory_gb

_SIDE = 2048
"""Side of the square matrices that measure a CPU; large enough to reach its full speed."""
_GPU_SIDE = 8192
_GPU_BYTES = 2**30
_REPEATS = 3


@dataclass(frozen=True)
class Gpu:
    """A CUDA GPU that torch can use.

    tflops: TFLOP/s of a half-precision matrix product, as measured; gb_per_second: of a copy in its memory, reading and
    writing counted. None where that was not measured.
    """

    name: str
    memory_gb: float
    tflops: float | None = None
    gb_per_second: float | None = None


@dataclass(frozen=True)
class Machine:
    """The facts about a machine that decide which models it can run.

    system: "Linux", "macOS" or "Windows". arch: such as "x86_64" or "arm64".
    gpu: None where torch can use no CUDA GPU. unusable_gpu: whether there is an NVIDIA GPU that torch cannot use.
    ram_gb: 0.0 where the system does not tell. cpu_gflops: GFLOP/s of a float32 matrix product on all cores, or None.
    free_gb: free space where models are stored.
    overwritten_provider: whether CPU onnxruntime has overwritten the CUDA provider of onnxruntime-gpu.
    on_disk: names of the parts on this disk. bfloat16: whether the CPU calculates in it.
    """

    system: str
    arch: str
    cores: int
    ram_gb: float
    free_gb: float
    gpu: Gpu | None = None
    unusable_gpu: bool = False
    cpu_gflops: float | None = None
    overwritten_provider: bool = False
    on_disk: frozenset[str] = frozenset()
    bfloat16: bool = False

    @property
    def apple_silicon(self) -> bool:
        """Whether CPU and GPU share the memory, as in Apple's own processors."""
        return self.system == "macOS" and self.arch == "arm64"

    @property
    def room(self) -> Room:
        """The memory for a VLM: the GPU's, else that of the machine, which Apple's GPU shares."""
        if self.gpu:
            return Room("cuda", self.gpu.memory_gb, bfloat16=True, quantised=QUANTISED["cuda"])
        if self.apple_silicon:
            return Room("mps", self.ram_gb, quantised=QUANTISED["mps"])
        return Room("cpu", self.ram_gb, self.bfloat16, QUANTISED["cpu"])

    @property
    def gpu_gb(self) -> float:
        """GB of memory of the GPU; 0.0 without one."""
        return self.gpu.memory_gb if self.gpu else 0.0


def measure_machine() -> Machine:
    """Look at this machine. torch is imported only if there is an NVIDIA GPU."""
    nvidia = has_nvidia_gpu()
    gpu = _measure_gpu() if nvidia else None
    return Machine(
        system={"Darwin": "macOS"}.get(platform.system(), platform.system()),
        arch=platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        ram_gb=round(machine_memory_gb(), 1),
        free_gb=round(free_gb(hub_cache()), 1),
        gpu=gpu,
        unusable_gpu=nvidia and gpu is None,
        cpu_gflops=round(_measure_cpu(), 1),
        overwritten_provider=gpu is not None and is_provider_overwritten(),
        on_disk=frozenset(p.name for p in list_parts() if p.on_disk),
        bfloat16=has_bfloat16(),
    )


def is_provider_overwritten() -> bool:
    """Return whether both onnxruntime and onnxruntime-gpu are installed, and ONNX Runtime cannot use CUDA."""
    from engine.session import onnx_can_use_cuda

    return _installed("onnxruntime") and _installed("onnxruntime-gpu") and not onnx_can_use_cuda()


def hub_cache() -> Path:
    """Return the folder in which the hub library stores models."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def free_gb(folder: Path) -> float:
    """Return the free space, in GB, where a folder is or will be."""
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    return shutil.disk_usage(existing).free / 1e9


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _measure_cpu() -> float:
    """Return the GFLOP/s of a float32 matrix product on all cores, the best of a few: about half a second."""
    import numpy as np

    a = np.ones((_SIDE, _SIDE), np.float32)
    seconds = _best_seconds(lambda: a @ a)
    return 2 * _SIDE**3 / seconds / 1e9


def _measure_gpu() -> Gpu | None:
    """Return the first CUDA GPU with its speed, which takes a second; None where torch can use none."""
    import torch

    if not torch.cuda.is_available():
        return None
    facts = torch.cuda.get_device_properties(0)
    gpu = Gpu(facts.name, facts.total_memory / 1e9)
    try:
        a = torch.ones((_GPU_SIDE, _GPU_SIDE), dtype=torch.float16, device="cuda")
        product = _best_seconds(lambda: a @ a, torch.cuda.synchronize)
        source = torch.zeros(_GPU_BYTES, dtype=torch.uint8, device="cuda")
        target = torch.zeros_like(source)
        copy = _best_seconds(lambda: target.copy_(source), torch.cuda.synchronize)
    except RuntimeError:  # another program uses its memory: no speeds
        return gpu
    return Gpu(gpu.name, gpu.memory_gb, 2 * _GPU_SIDE**3 / product / 1e12, 2 * _GPU_BYTES / copy / 1e9)


def _best_seconds(work: Callable[[], object], wait: Callable[[], object] = lambda: None) -> float:
    """Return the shortest time that some work takes in a few repetitions, after one to warm up."""
    seconds = []
    for _ in range(_REPEATS + 1):
        start = time.perf_counter()
        work()
        wait()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
