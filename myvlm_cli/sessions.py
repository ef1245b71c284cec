"""Open the engine's session with the models that the user chose, and warn about what will not work well."""

from typing import TYPE_CHECKING

from engine.core.errors import UsageError
from engine.core.types import Kind
from myvlm_cli.output import out
from myvlm_cli.remote import tell_remote

if TYPE_CHECKING:
    from engine.core.config_file import Value
    from engine.session import Session, SessionOptions


def default_of(key: str, option: "Value | None") -> "Value | None":
    """Return the value of an option that was given, or else of `config.toml`, or else the built-in one, if any.

    Raises:
        ConfigError: `config.toml` cannot be read, or holds what it must not.
    """
    from engine.core.config_file import read_config
    from engine.core.paths import home
    from engine.defaults import choose

    return choose(key, option, read_config(home())).value


def open_session(
    options: "SessionOptions | None" = None, *, create: bool = True, names: tuple[str, ...] | None = None
) -> "Session":
    """Open a session with the user's choices; no model is loaded yet.

    create: whether to create the data folder if it does not exist. names: the concepts that the command is about,
    which must exist; None or () for no check.

    Raises:
        UsageError: the VLM or recogniser is unknown, the VLM cannot be told of concepts in the chosen way, or two
            options exclude each other.
        ConceptError: a name is unknown.
        EnvironmentFault: the GPU does not exist.
    """
    from engine.session import Session

    session = Session(options, create=create)
    _check_models(session)
    if names:
        session.store.select(names)
    if session.choices.allow_body:
        _check_bodies(session)
    if session.choices.allow_remote:
        tell_remote(session)
    return session


def _check_models(session: "Session") -> None:
    """Look for the models that options name, before any is loaded."""
    options = session.choices
    if options.vlm:
        _ = session.vlm_config
    if options.recogniser:
        _ = session.recogniser_config
    if options.device not in (None, "auto", "cpu"):
        _ = session.device
    if options.speak and session.has_vlm:
        from engine.captioning.speaking import check_speak

        check_speak(session.vlm_config, options.speak)


def _check_bodies(session: "Session") -> None:
    """Refuse --allow-body with the paper's heads, and warn if no person has been enrolled with body features."""
    from engine.recognition.enrolled import HeadGroup, read_enrolled

    if session.choices.heads == "paper":
        raise UsageError("--heads paper recognises people by their faces only", hint="Leave out --allow-body.")
    enrolled = read_enrolled(session.store, session.recogniser_config, session.recognition)
    if not enrolled.group(HeadGroup.BODIES):
        config = session.recogniser_config
        detector = "one: add the people again" if config.detector else "none"
        out.warn(
            "--allow-body has no effect: no body features are stored. A recogniser with an object detector stores them"
            f" when people are enrolled ({config.name} has {detector})"
        )


def warn_of_slow_faces(session: "Session", *, people: bool | None = None) -> bool:
    """Warn if faces will run on the CPU although there is a GPU, and say how to repair ONNX Runtime; return whether so.

    people: whether faces will be looked for; None means if any person is enrolled.
    """
    if people is None:
        people = any(c.kind is Kind.PERSON for c in session.store.all())
    if not people or not session.uses_cuda:
        return False
    from engine.session import onnx_can_use_cuda
    from engine.setup.repair import ONNX_REPAIR

    slow = not onnx_can_use_cuda()
    if slow:
        out.warn(f"faces run on the CPU: ONNX Runtime has no CUDA provider. Run: myvlm setup, or {ONNX_REPAIR}")
    return slow
