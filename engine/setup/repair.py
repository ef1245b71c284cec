"""Repair ONNX Runtime where its CPU build has overwritten the CUDA provider of onnxruntime-gpu."""

import subprocess
import sys

from engine.core.errors import EnvironmentFault

_ARGUMENTS = ("-m", "pip", "install", "--force-reinstall", "--no-deps", "onnxruntime-gpu")
ONNX_REPAIR = " ".join(_ARGUMENTS[1:])
"""insightface pulls in CPU onnxruntime, which overwrites onnxruntime-gpu's files; this brings them back."""


def repair_onnxruntime() -> None:
    """Reinstall onnxruntime-gpu with pip of this interpreter. Ask the user first.

    Raises:
        EnvironmentFault: pip failed.
    """
    result = subprocess.run([sys.executable, *_ARGUMENTS], capture_output=True, text=True, check=False)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        hint = f"With network, run: {sys.executable} {' '.join(_ARGUMENTS)}"
        raise EnvironmentFault(
            f"onnxruntime-gpu could not be installed: {lines[-1] if lines else 'pip failed'}", hint=hint
        )
