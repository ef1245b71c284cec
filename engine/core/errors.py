"""Exceptions of the engine.

EngineError
├── PhotoError            one photo cannot be used; a batch continues without it
├── ConceptError          a concept is unknown, already exists, or has no usable reference photo
│   ├── NotTrainedError   a concept has no embedding for this VLM
│   └── NoUsablePhotoError none of the photos of a concept can be used
├── NameRefusedError      a name that cannot be stored faithfully
├── StoreError            the concept store cannot be opened, read or written
│   └── StoreLockedError  another process holds it
├── ArtefactError         a stored head or embedding does not fit the model it is used with
├── SidecarError          a sidecar cannot be read or merged safely; it stays unchanged
│   └── AmbiguousSidecarsError several files may be the sidecar of one photo; all stay unchanged
├── WeightsMissingError   model weights are not on this machine
├── EnvironmentFault      the machine lacks something: memory, disk, a working library
│   └── NoVlmError        no VLM for such photos is on this machine
├── ConfigError           `config.toml` cannot be read, or holds what it must not
├── UsageError            the request contradicts itself
│   └── DoubtfulError     it is carried out only when the user asks for it again, with --anyway
└── DivergedError         a training produced infinite or undefined numbers
"""

from pathlib import Path


class EngineError(Exception):
    """Base class. The message says what failed on which photo or concept; `hint` says what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class PhotoError(EngineError):
    """One photo cannot be read or used."""


class ConceptError(EngineError):
    """A concept is unknown, already exists, or cannot be learned from the photos given."""


class NotTrainedError(ConceptError):
    """A concept has no embedding for the VLM in use."""


class NoUsablePhotoError(ConceptError):
    """None of the photos given for a concept shows it, or none can be read."""


class NameRefusedError(EngineError):
    """A concept name that could not be stored and written faithfully."""


class StoreError(EngineError):
    """The concept store cannot be opened, read or written."""


class StoreLockedError(StoreError):
    """Another process holds the concept store for too long."""


class ArtefactError(EngineError):
    """A stored head or embedding was made for another encoder or VLM."""


class SidecarError(EngineError):
    """A sidecar cannot be read or merged without risk; its bytes were not changed."""


class AmbiguousSidecarsError(SidecarError):
    """Several files may be the sidecar of one photo: their names differ only in letter case or Unicode form."""

    def __init__(self, message: str, *, paths: tuple[Path, ...], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.paths = paths


class WeightsMissingError(EngineError):
    """Model weights are not on this machine."""


class EnvironmentFault(EngineError):
    """The machine lacks something that the task needs."""


class NoVlmError(EnvironmentFault):
    """No VLM that can describe such photos is on this machine, or it was not chosen."""


class ConfigError(EngineError):
    """`config.toml` cannot be read or written, or has an unknown key or a value that does not fit."""


class UsageError(EngineError):
    """The request contradicts itself."""


class DoubtfulError(UsageError):
    """What was asked for may be a mistake: it is carried out only when the user asks for it again, with --anyway."""


class DivergedError(EngineError):
    """A training produced infinite or undefined numbers; its result is useless."""


def first_line(err: BaseException) -> str:
    """Return the first line of another library's error message, or the type of the error if the message is empty."""
    return next(iter(str(err).strip().splitlines()), type(err).__name__)


_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to allocate memory",
    "not enough memory",
    "bad_alloc",
    "cublas_status_alloc_failed",
)
"""Parts of the messages of the allocators of torch (CUDA, MPS, CPU), cuBLAS, ONNX Runtime and C++."""


def is_out_of_memory(err: BaseException) -> bool:
    """Return whether an exception of any library, or one of its causes, reports that no memory is left."""
    cause: BaseException | None = err
    while cause is not None:
        if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
            return True
        text = str(cause).lower()
        if isinstance(cause, Exception) and any(sign in text for sign in _NO_MEMORY):
            return True
        cause = cause.__cause__
    return False
