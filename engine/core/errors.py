"""What can go wrong, as types.

EngineError
├── PhotoError            one photo cannot be used; a batch goes on without it
├── ConceptError          a concept is unknown, exists already, or has no usable reference
│   ├── NotTrainedError   a concept has no embedding for this VLM
│   └── NoUsablePhotoError none of a concept's photos can be used
├── NameRefusedError      a name that cannot be stored faithfully
├── StoreError            the concept store cannot be opened, read or written
│   └── StoreLockedError  another process holds it
├── ArtefactError         a stored head or embedding does not fit the model it is used with
├── SidecarError          a sidecar cannot be read or merged safely; it is left as it is
│   └── AmbiguousSidecarsError several files may be a photo's sidecar; all are left as they are
├── WeightsMissingError   model weights are not on this disk
├── EnvironmentFault      the machine lacks something: memory, disk, a working library
│   └── NoVlmError        no VLM that knows such photos is on this disk
├── UsageError            the request contradicts itself
└── DivergedError         a training's numbers are no longer finite
"""

from pathlib import Path


class EngineError(Exception):
    """Says what failed, on which photo or concept, and (`hint`) what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class PhotoError(EngineError):
    """One photo cannot be read or used."""


class ConceptError(EngineError):
    """A concept is unknown, exists already, or cannot be learned from what was given."""


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
    """A sidecar cannot be read or merged without risk; it was left byte-identical."""


class AmbiguousSidecarsError(SidecarError):
    """Several files may be one photo's sidecar: their names differ in letter case or Unicode form only."""

    def __init__(self, message: str, *, paths: tuple[Path, ...], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.paths = paths


class WeightsMissingError(EngineError):
    """Model weights are not on this disk."""


class EnvironmentFault(EngineError):
    """The machine lacks something that the task needs."""


class NoVlmError(EnvironmentFault):
    """No VLM that knows what such photos show is on this disk, or it was not chosen."""


class UsageError(EngineError):
    """The request contradicts itself."""


class DivergedError(EngineError):
    """A training left the finite numbers; what it learned is of no use."""


def first_line(err: BaseException) -> str:
    """The first line of what an error of another library says, or its type where it says nothing."""
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
"""What the allocators of torch (CUDA, MPS, CPU), cuBLAS, ONNX Runtime and C++ say."""


def is_out_of_memory(err: BaseException) -> bool:
    """Return whether an exception of any library says that there is no memory left, or was caused by one that does."""
    cause: BaseException | None = err
    while cause is not None:
        if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
            return True
        text = str(cause).lower()
        if isinstance(cause, Exception) and any(sign in text for sign in _NO_MEMORY):
            return True
        cause = cause.__cause__
    return False
