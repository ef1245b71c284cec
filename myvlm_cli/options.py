"""Options that several commands share, spelled once."""

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from myvlm_cli.given import NO_PHOTOS, Photos, find_missing, find_photos, gather_photos, tell_tally, warn_of_missing

if TYPE_CHECKING:
    from engine.photos.selection import Selection
    from engine.session import Session
    from engine.sidecars.locate import Naming

__all__ = ["NO_PHOTOS", "Photos", "find_missing", "find_photos", "gather_photos", "tell_tally", "warn_of_missing"]


ADVANCED = "Advanced"
"""Section of the help for options that few need."""


def complete_concept(incomplete: str) -> list[str]:
    """Concept names that start like this; reads the store without creating one."""
    import sqlite3

    from engine.core.paths import home

    path = home() / "store.db"
    if not path.is_file():
        return []
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0.2) as db:
            names = [row[0] for row in db.execute("select name from concepts order by key")]
    except sqlite3.Error:
        return []
    # Shells and Typer drop what does not start with the typed letters, and names are found whatever their case.
    return [incomplete + n[len(incomplete) :] for n in names if n.casefold().startswith(incomplete.casefold())]


def complete_concepts(incomplete: str) -> list[str]:
    """Comma-separated lists of concept names that start like this: the last name is completed."""
    before, comma, last = incomplete.rpartition(",")
    listed = {n.strip().casefold() for n in before.split(",")}
    return [before + comma + n for n in complete_concept(last) if n.casefold() not in listed]


def complete_vlm(incomplete: str) -> list[str]:
    """Known VLM names that start like this."""
    from engine.vlms.config import list_configs

    return [c.name for c in list_configs() if c.name.startswith(incomplete)]


Name = Annotated[str, typer.Argument(help="The concept's name.", autocompletion=complete_concept, show_default=False)]
Paths = Annotated[
    list[Path],
    typer.Argument(
        metavar="[PATHS]...",
        help="Photos and folders (searched through); - reads paths from stdin.",
        show_default=False,
    ),
]
FilesFrom = Annotated[
    Path | None,
    typer.Option("--files-from", help="Read paths from a file, one a line; - is stdin.", show_default=False),
]
Null = Annotated[
    bool, typer.Option("--null", "-0", help="Paths read from a file end with NUL, as find -print0 writes.")
]
Vlm = Annotated[
    str | None,
    typer.Option(
        "--vlm",
        help="A VLM (storybook, llava-1.6, minigpt-v2, blip-2, optionally NAME+VARIANT), a hub id or a folder; none for"
        " names only. Default: the best that is on disk and fits.",
        autocompletion=complete_vlm,
        show_default=False,
    ),
]
Recogniser = Annotated[
    str | None,
    typer.Option("--recogniser", help="dfn5b or storybook. Default: the VLM's own.", show_default=False),
]
Heads = Annotated[
    Literal["open-set", "paper"],
    typer.Option(
        "--heads",
        help="open-set: calibrated on your photos, with a maybe. paper: the fixed thresholds of the MyVLM paper.",
        rich_help_panel=ADVANCED,
    ),
]
AllowBody = Annotated[
    bool,
    typer.Option(
        "--allow-body",
        help="Where no face shows, name people by body and clothes, too. Clothes change: only for the photos of one"
        " event, with references from it.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, …", rich_help_panel=ADVANCED)]
Dtype = Annotated[
    Literal["auto", "float32", "float16", "bfloat16"],
    typer.Option("--dtype", help="Number format of the models.", rich_help_panel=ADVANCED),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
JsonLines = Annotated[bool, typer.Option("--jsonl", help="Print one JSON object a line, as results come.")]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", help="Seed of everything random; the same seed gives the same result.", rich_help_panel=ADVANCED
    ),
]
Concepts = Annotated[
    str | None,
    typer.Option(
        "--concepts",
        help="Comma-separated names. Default: all concepts.",
        autocompletion=complete_concepts,
        show_default=False,
    ),
]


Explain = Annotated[
    Path | None,
    typer.Option(
        "--explain",
        metavar="FOLDER",
        help="Save pictures of what each recognised concept attends to, and of why it was recognised.",
        show_default=False,
    ),
]


NoConcepts = Annotated[bool, typer.Option("--no-concepts", help="Caption as the plain VLM does, without names.")]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="GLOB",
        help="Only files that match, such as '2024/*.jpg'; may be repeated.",
        show_default=False,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude", metavar="GLOB", help="No files or folders that match; may be repeated.", show_default=False
    ),
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="DATE", help="Only photos taken on or after 2024-01-31.", show_default=False),
]
Until = Annotated[
    str | None,
    typer.Option("--until", metavar="DATE", help="Only photos taken on or before 2024-12-31.", show_default=False),
]
SidecarNaming = Annotated[
    Literal["auto", "ext", "stem"],
    typer.Option(
        "--sidecar-naming",
        help="ext: photo.jpg.xmp. stem: photo.xmp, as Adobe's programs call it. auto: the one that is there, else ext.",
    ),
]
SidecarDir = Annotated[
    Path | None,
    typer.Option(
        "--sidecar-dir",
        metavar="FOLDER",
        help="Keep sidecars under this folder instead of beside the photos, for libraries that cannot be written.",
        show_default=False,
    ),
]


def open_session(
    vlm: str | None,
    recogniser: str | None,
    device: str,
    dtype: str,
    *,
    heads: Literal["open-set", "paper"] = "open-set",
    allow_body: bool = False,
    create: bool = True,
    names: tuple[str, ...] | None = None,
) -> "Session":
    """A session with the user's choices; no model is loaded yet. `create` False makes no data folder; `names` are the
    concepts that the command is about.

    Raises:
        UsageError: there is no such VLM or recogniser, or bodies were allowed with the paper's heads, which know faces
            only.
        ConceptError: a name is unknown.
        EnvironmentFault: there is no such GPU.
    """
    from engine.session import Session, SessionOptions

    session = Session(SessionOptions(vlm, recogniser, device, dtype, heads, allow_body), create=create)
    if vlm:
        _ = session.vlm_config  # unknown names are refused now, not when models are loaded
    if recogniser:
        _ = session.recogniser_config
    if device not in ("auto", "cpu"):
        _ = session.device
    if names:
        session.concepts(names)
    if allow_body:
        _check_bodies(session)
    return session


def _check_bodies(session: "Session") -> None:
    """Refuse bodies with the paper's heads, and say where nobody's body is known."""
    from engine.core.errors import UsageError
    from engine.recognition.bodies import load_bodies
    from myvlm_cli.output import out

    if session.choices.heads == "paper":
        raise UsageError("the paper's heads know people by their faces only", hint="Leave out --allow-body.")
    if not load_bodies(session):
        out.warn(
            "--allow-body changes nothing: nobody's body is known. A recogniser with an object detector"
            f" keeps it when people are enrolled ({session.recogniser_config.name} has"
            f" {'one: add the people again' if session.recogniser_config.detector else 'none'})"
        )


def split_names(text: str | None) -> tuple[str, ...] | None:
    """`a,b` as names; None stays None.

    Raises:
        UsageError: there is no name in the text (a script's empty variable must not mean "no names").
    """
    if text is None:
        return None
    names = tuple(n.strip() for n in text.split(",") if n.strip())
    if not names:
        from engine.core.errors import UsageError

        raise UsageError("--concepts holds no name", hint="Leave it out for all concepts; --no-concepts for none.")
    return names


def read_day(text: str | None, *, option: str, after: bool) -> datetime | None:
    """A date, or date and time, in ISO 8601; `after` turns a plain date into the beginning of the next day.

    Raises:
        UsageError: it is neither.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as err:
        from engine.core.errors import UsageError

        raise UsageError(f"{option}: {text!r} is not a date (YYYY-MM-DD)", hint="Example: 2024-01-31.") from err
    return moment + timedelta(days=1) if after and len(text) == len("2024-01-31") else moment


def make_selection(
    include: list[str] | None, exclude: list[str] | None, since: str | None, until: str | None
) -> "Selection":
    """Which files of the folders to take."""
    from engine.photos.selection import Selection

    return Selection(
        tuple(include or ()),
        tuple(exclude or ()),
        read_day(since, option="--since", after=False),
        read_day(until, option="--until", after=True),
    )


def make_naming(style: Literal["auto", "ext", "stem"], folder: Path | None) -> "Naming":
    """What sidecars are called and where they are."""
    from engine.sidecars.locate import Naming

    return Naming(style, folder.expanduser().absolute() if folder else None)


def confirm(question: str, *, yes: bool) -> None:
    """Ask whether to go on, unless the user said `yes` on the command line.

    Raises:
        UsageError: there is no terminal to ask on.
        Abort: the answer is no.
    """
    if yes:
        return
    from engine.core.errors import UsageError
    from myvlm_cli.output import escaped

    if not sys.stdin.isatty():
        raise UsageError(f"no terminal to ask on: {question}", hint="To answer yes, add --yes.")
    print(f"{escaped(question)} [y/N] ", end="", file=sys.stderr, flush=True)  # typer.confirm writes to stdout, too
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise typer.Abort


def warn_of_slow_faces(session: "Session", *, people: bool | None = None) -> None:
    """Say how to get faces onto the GPU when ONNX Runtime lost its CUDA provider. `people` says whether
    faces will be looked for; by default, whether anybody is enrolled.
    """
    from engine.core.types import Kind
    from myvlm_cli.output import out

    if people is None:
        people = any(c.kind is Kind.PERSON for c in session.store.all())
    if not people or session.device.type != "cuda":
        return
    from engine.diagnostics import ONNX_REPAIR
    from engine.session import faces_can_use_cuda

    if not faces_can_use_cuda():
        out.warn(f"faces run on the CPU: ONNX Runtime has no CUDA provider. Run: {ONNX_REPAIR}")
