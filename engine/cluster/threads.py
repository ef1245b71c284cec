"""Bound the threads of a worker, so that the workers of a machine do not fight for its cores."""

import os
import sys

_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)


def bound_threads(threads: int) -> None:
    """Let the libraries in this process use so many threads each. Call it before they are imported."""
    os.environ |= dict.fromkeys(_VARIABLES, str(threads))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
