"""Let ONNX Runtime use the cores that this process may use, and no more."""

from typing import TYPE_CHECKING

from engine.core.cpu import available_cores

if TYPE_CHECKING:
    import onnxruntime


CUDA = "CUDAExecutionProvider"
"""ONNX Runtime's name for running on a CUDA GPU."""


def open_session(file: str, providers: list[str]) -> "onnxruntime.InferenceSession":
    """Open an ONNX file with `session_options`."""
    import onnxruntime

    return onnxruntime.InferenceSession(file, session_options(), providers=providers)


def session_options() -> "onnxruntime.SessionOptions":
    """Return the options of a session: one thread for each core of this process, and idle threads sleep.

    By default there is one thread for each core of the machine, and idle ones wait busily, which takes the cores away
    from the threads that decode photos and from other workers: on one of two cores, a photo took 0.64 s to scan with
    two threads, and 0.33 s with one; on two busy cores, 16 images took two threads 343 ms of processor time, and 170 ms
    when idle threads slept.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
