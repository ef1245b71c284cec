"""Torch on this machine: device, number format and GPU memory.

Import this module before anything that imports torchvision. It is the first import of every heavy module; ruff's isort
setting keeps it there.
"""

import importlib
import logging
import re
import sys

import torch

from engine.core.errors import EnvironmentFault, UsageError

_DECLARED: list[torch.library.Library] = []
"""The libraries that declare operators; the declarations last as long as these objects."""
_MOST_OPERATORS = 20
"""The largest number of missing operators that are declared."""


def _load_torchvision() -> None:
    """Import torchvision, also beside a torch build for which it was not compiled.

    open_clip and transformers import torchvision, and myvlm uses none of its compiled operators. A CPU build of torch
    is common beside torchvision's CUDA build from the package registry; the import then fails with "operator
    torchvision::nms does not exist". Declaring the missing operators is enough.
    """
    for _ in range(_MOST_OPERATORS):
        try:
            importlib.import_module("torchvision")
            return
        except ImportError:
            return
        except RuntimeError as err:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(err))
            if not missing:
                raise
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(f"{missing[1]}(Tensor input) -> Tensor")
            _DECLARED.append(library)
            for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
                del sys.modules[name]


_load_torchvision()
for _name in ("torchao", "bitsandbytes", "torch.utils._pytree"):
    # transformers imports torchao wherever it is installed; they tell of optional parts that are not needed here.
    logging.getLogger(_name).setLevel(logging.ERROR)


def pick_device(wanted: str = "auto") -> torch.device:
    """Return the device of a name; `auto` is the first CUDA GPU, else Apple's GPU, or else the CPU.

    Raises:
        UsageError: there is no such device.
        EnvironmentFault: a GPU was asked for and torch can use none.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as err:
        raise UsageError(f"no device called {wanted!r}", hint="Use auto, cpu, mps, cuda or cuda:1.") from err
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault(
            "there is no CUDA GPU that torch can use", hint="See `myvlm doctor`, or use --device cpu."
        )
    if device.type == "mps" and not has_mps():
        raise EnvironmentFault(
            "there is no GPU of Apple's that torch can use", hint="It needs Apple silicon, or use --device cpu."
        )
    return device


def has_mps() -> bool:
    """Whether torch can use Apple's GPU."""
    return bool(torch.backends.mps.is_available())


def pick_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """Return the dtype of a name; `auto` is bfloat16 or else float16 on CUDA GPUs, and float32 elsewhere.

    A chat VLM has a format of its own on a CPU and on Apple's GPU: see `engine.vlms.memory.Room`.

    Raises:
        UsageError: there is no such dtype.
    """
    if wanted == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if cuda_has_bfloat16() else torch.float16
    dtypes = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if wanted not in dtypes:
        raise UsageError(f"no dtype called {wanted!r}", hint=f"Known: auto, {', '.join(dtypes)}.")
    return dtypes[wanted]


def cuda_has_bfloat16() -> bool:
    """Whether there is a CUDA GPU, and it calculates in bfloat16."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()


def gpu_memory_gb() -> float:
    """Return the memory of the first CUDA GPU in GB; 0.0 without one."""
    return torch.cuda.get_device_properties(0).total_memory / 1e9 if torch.cuda.is_available() else 0.0
