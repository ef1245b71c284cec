"""Give a worker its share of the cores, so that the workers of a machine do not fight for them."""

import os
import sys
from collections.abc import Sequence

_VARIABLES = tuple(
    "OMP_NUM_THREADS MKL_NUM_THREADS OPENBLAS_NUM_THREADS RAYON_NUM_THREADS OPENCV_FOR_THREADS_NUM".split()
)


def bound_threads(threads: int, cores: Sequence[int] = ()) -> None:
    """Let each library in this process use so many threads. Call it before they are imported.

    cores: where these run, and those of readers and of ONNX Runtime, which counts the cores that it may use; () for
    any. Systems other than Linux have no such choice.
    """
    os.environ |= dict.fromkeys(_VARIABLES, str(threads))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
