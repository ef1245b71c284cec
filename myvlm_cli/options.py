"""Options that several commands share, each spelled once: single ones as annotated types, groups as dataclasses.

A group is a parameter of a command like any other; see `myvlm_cli.parameters`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from engine.core.errors import UsageError
from myvlm_cli.completion import complete_concept, complete_concepts, complete_vlm
from myvlm_cli.given import Photos, find_photos, gather_photos, make_selection
from myvlm_cli.sessions import open_session

if TYPE_CHECKING:
    from engine.session import Session
    from engine.vlms.prompt_config import Speak

ADVANCED = "Advanced"
"""The section of the help for options that few users need."""

Name = Annotated[str, typer.Argument(help="The concept's name.", autocompletion=complete_concept, show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Verify = Annotated[
    bool,
    typer.Option("--verify", help="Read every file, even those that look unchanged.", rich_help_panel=ADVANCED),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Seed = Annotated[
    int, typer.Option("--seed", help="Random seed; the same seed gives the same result.", rich_help_panel=ADVANCED)
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


Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="DATE",
        help="Only photos taken in or after this year, month or day: 2024, 2024-06, 2024-06-30.",
        show_default=False,
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--until", metavar="DATE", help="Only photos taken in or before this year, month or day.", show_default=False
    ),
]


@dataclass(frozen=True)
class OutputChoice:
    """The form in which results are printed: text, one JSON document, or JSON lines."""

    json: Json = False
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object per line, as results arrive.")] = False

    @property
    def is_text(self) -> bool:
        """Whether results are printed as text for people."""
        return not (self.json or self.jsonl)


@dataclass(frozen=True)
class PhotoSelection:
    """The photos and folders that a command works on, and which files of the folders it takes."""

    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATHS]...",
            help="Photos and folders, including subfolders; - reads paths from stdin.",
            show_default=False,
        ),
    ] = None
    files_from: Annotated[
        Path | None,
        typer.Option("--files-from", help="Read paths from a file, one per line; - is stdin.", show_default=False),
    ] = None
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Paths read from a file end with NUL, as find -print0 writes them.")
    ] = False
    include: Annotated[
        list[str] | None,
        typer.Option(
            "--include",
            metavar="GLOB",
            help="Only files that match, such as '2024/*.jpg'; may be repeated.",
            show_default=False,
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude", metavar="GLOB", help="Skip files and folders that match; may be repeated.", show_default=False
        ),
    ] = None
    since: Since = None
    until: Until = None

    @property
    def is_given(self) -> bool:
        """Whether any of these options was used."""
        return any((self.paths, self.files_from, self.include, self.exclude, self.since, self.until))

    def find(self) -> Photos:
        """Find the photos and videos; see `given.find_photos`."""
        selection = make_selection(self.include, self.exclude, self.since, self.until)
        return find_photos(self.paths, self.files_from, null=self.null, selection=selection)

    def gather(self) -> list[Path]:
        """List the photos alone; see `given.gather_photos`."""
        selection = make_selection(self.include, self.exclude, self.since, self.until)
        return gather_photos(self.paths, self.files_from, null=self.null, selection=selection)


@dataclass(frozen=True)
class ConceptChoice:
    """The concepts that a command looks for."""

    concepts: Annotated[
        str | None,
        typer.Option(
            "--concepts",
            help="Comma-separated names. Default: all concepts.",
            autocompletion=complete_concepts,
            show_default=False,
        ),
    ] = None
    only: Annotated[
        bool,
        typer.Option(
            "--only", help="With --concepts: also remove the names of all other concepts that earlier runs wrote."
        ),
    ] = False
    no_concepts: Annotated[
        bool, typer.Option("--no-concepts", help="Use no concepts: caption as the plain VLM does, without names.")
    ] = False

    @property
    def names(self) -> tuple[str, ...] | None:
        """The chosen names: None for all concepts, () for none.

        Raises:
            UsageError: --concepts holds no name.
        """
        return () if self.no_concepts else split_names(self.concepts)


@dataclass(frozen=True)
class ModelChoice:
    """The VLM and the recogniser to use, how concepts are recognised, and where the models run."""

    vlm: Annotated[
        str | None,
        typer.Option(
            "--vlm",
            help="VLM to use: a name (qwen3-vl-4b, smolvlm2-500m, llava-1.6, …; `myvlm models` lists them), a hub id, a"
            " folder, or openai:URL#MODEL for a local server such as Ollama; none writes names only. Default: the best"
            " one for real photos on disk that fits this machine.",
            autocompletion=complete_vlm,
            show_default=False,
        ),
    ] = None
    recogniser: Annotated[
        str | None,
        typer.Option(
            "--recogniser",
            help="Recogniser to use, such as builtin or dfn5b. `myvlm config` shows the default.",
            show_default=False,
        ),
    ] = None
    heads: Annotated[
        Literal["open-set", "paper"],
        typer.Option(
            "--heads",
            help="open-set: thresholds calibrated on your photos, with suggestions. paper: the fixed thresholds of the"
            " MyVLM paper.",
            rich_help_panel=ADVANCED,
        ),
    ] = "open-set"
    allow_body: Annotated[
        bool,
        typer.Option(
            "--allow-body",
            help="Where no face is visible, recognise people by body and clothes. Because clothes change, use it only"
            " for photos of one event, with reference photos from that event.",
        ),
    ] = False
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            help="Where models run: auto, cpu, mps, cuda, cuda:1, … Default: auto.",
            rich_help_panel=ADVANCED,
        ),
    ] = None
    dtype: Annotated[
        Literal["auto", "float32", "float16", "bfloat16"] | None,
        typer.Option("--dtype", help="Number format of the models. Default: auto.", rich_help_panel=ADVANCED),
    ] = None

    quantise: Annotated[
        Literal["auto", "none", "int8", "int4"] | None,
        typer.Option(
            "--quantise",
            help="Load the VLM with 8 or 4 bits a weight, which needs less memory and changes its texts a little. auto:"
            " only where it does not fit otherwise. Default: auto.",
            rich_help_panel=ADVANCED,
        ),
    ] = None

    @property
    def decoding(self) -> Literal["scaled", "exact"]:
        """How photos are decoded for the recogniser."""
        return "scaled"

    def open_session(
        self,
        *,
        create: bool = True,
        names: tuple[str, ...] | None = None,
        speak: "Speak | None" = None,
        allow_remote: bool = False,
    ) -> "Session":
        """Open a session with these models; see `sessions.open_session`."""
        from engine.session import SessionOptions

        options = SessionOptions(
            self.vlm,
            self.recogniser,
            self.device,
            self.dtype,
            speak,
            self.quantise,
            heads=self.heads,
            allow_body=self.allow_body,
            allow_remote=allow_remote,
            decode=self.decoding,
        )
        return open_session(options, create=create, names=names)


@dataclass(frozen=True)
class DecodingModelChoice(ModelChoice):
    """The models to use, and how photos are decoded for the recogniser."""

    decode: Annotated[
        Literal["scaled", "exact"],
        typer.Option(
            "--decode",
            help="scaled: decode large photos with as many pixels as the recogniser uses, which is more than twice as"
            " fast with the built-in recogniser. exact: with all their pixels.",
            rich_help_panel=ADVANCED,
        ),
    ] = "scaled"

    @property
    def decoding(self) -> Literal["scaled", "exact"]:
        """How photos are decoded for the recogniser."""
        return self.decode


def split_names(text: str | None) -> tuple[str, ...] | None:
    """Split `a,b` into names; None stays None.

    Raises:
        UsageError: the text holds no name. A script's empty variable must not mean "no names".
    """
    if text is None:
        return None
    names = tuple(n.strip() for n in text.split(",") if n.strip())
    if not names:
        raise UsageError("--concepts holds no name", hint="Leave it out for all concepts; --no-concepts for none.")
    return names
