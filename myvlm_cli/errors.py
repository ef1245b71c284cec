"""Engine errors to words and exit codes: the only table of its kind."""

from engine.core import errors

OK, SOME_FAILED, USAGE, ENVIRONMENT, LOCKED, INTERRUPTED = 0, 1, 2, 3, 4, 130

_CODES: tuple[tuple[type[errors.EngineError], int], ...] = (
    (errors.StoreLockedError, LOCKED),
    (errors.StoreError, ENVIRONMENT),
    (errors.WeightsMissingError, ENVIRONMENT),
    (errors.EnvironmentFault, ENVIRONMENT),
    (errors.ArtefactError, ENVIRONMENT),
    (errors.NoUsablePhotoError, SOME_FAILED),
    (errors.SidecarError, SOME_FAILED),
    (errors.UsageError, USAGE),
    (errors.NameRefusedError, USAGE),
    (errors.ConceptError, USAGE),
    (errors.PhotoError, USAGE),
)


def exit_code(error: errors.EngineError) -> int:
    """The exit code of an error: 1 photos failed, 2 usage, 3 environment, 4 locked."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), SOME_FAILED)
