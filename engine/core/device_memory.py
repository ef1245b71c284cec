"""Give the memory of models that are no longer used back to the device; loads no torch where none is loaded."""

import gc
import sys


def free_memory() -> None:
    """Delete what nothing refers to, and give its memory back to the GPU."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
