"""Facts about this machine's processor, without loading torch, which takes seconds."""

import platform
from pathlib import Path

_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
"""Linux' names of the instructions with which a CPU is faster in bfloat16 than in float32."""
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
