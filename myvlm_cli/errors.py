"""Exit codes, and the only table that says which error has which."""

from engine.core import errors

OK, SOME_FAILED, USAGE, ENVIRONMENT, LOCKED, INTERRUPTED = 0, 1, 2, 3, 4, 130

_CODES: tuple[tuple[type[errors.EngineError], int], ...] = (
    (errors.StoreLockedError, LOCKED),
    (errors.StoreError, ENVIRONMENT),
    (errors.WeightsMissingError, ENVIRONMENT),
    (errors.EnvironmentFault, ENVIRONMENT),
    (errors.ArtefactError, ENVIRONMENT),
    (errors.ConfigError, ENVIRONMENT),
    (errors.NoUsablePhotoError, SOME_FAILED),
    (errors.SidecarError, SOME_FAILED),
    (errors.UsageError, USAGE),
    (errors.NameRefusedError, USAGE),
    (errors.ConceptError, USAGE),
    (errors.PhotoError, USAGE),
)


def exit_code(error: errors.EngineError) -> int:
    """Return the exit code of an error: 1 some photos failed, 2 wrong usage, 3 environment, 4 store locked."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), SOME_FAILED)
