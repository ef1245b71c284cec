"""Options for what captions should be like, how the VLM is told of concepts, and whether folders are watched."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from engine.core.errors import UsageError
from myvlm_cli.given import Photos
from myvlm_cli.options import ADVANCED, OutputChoice, PhotoSelection
from myvlm_cli.output import path_text
from myvlm_cli.sessions import default_of

if TYPE_CHECKING:
    from engine.captioning.context import CaptionForms
    from myvlm_cli.caption import CaptionJob
    from myvlm_cli.watch import Watcher

_WATCH_EXAMPLE = "Example: myvlm caption ~/Pictures --watch"

Speak = Annotated[
    Literal["auto", "names", "embedding", "both"] | None,
    typer.Option(
        "--speak",
        help="How the VLM is told of recognised concepts: names: by name in the prompt, without training; embedding: by"
        " what `myvlm train` learned; both. Default: auto.",
        rich_help_panel=ADVANCED,
    ),
]


@dataclass(frozen=True)
class CaptionChoice:
    """What captions should be like; None for what `config.toml` says."""

    style: Annotated[
        Literal["sentence", "detailed", "alt-text", "keywords"] | None,
        typer.Option(
            "--style",
            help="What to write: a sentence or two, a longer text, alternative text for people who"
            " cannot see the photo, or keywords. Default: sentence.",
        ),
    ] = None
    language: Annotated[
        str | None,
        typer.Option(
            "--language", help="Language of captions, such as German or de. Default: English.", show_default=False
        ),
    ] = None
    context: Annotated[
        bool | None,
        typer.Option(
            "--context/--no-context",
            help="Tell the VLM the photo's date and, with the extra `places`, the town. Default: no.",
        ),
    ] = None

    @property
    def forms(self) -> "CaptionForms":
        """What captions should be like.

        Raises:
            UsageError: the language cannot be one.
        """
        from engine.captioning.context import CaptionForms
        from engine.core.languages import language_name
        from engine.vlms.caption_form import CaptionForm, Style

        language = default_of("language", self.language)
        style = cast(Style, default_of("style", self.style))
        form = CaptionForm(style, language_name(str(language)) if language else "")
        return CaptionForms(form, bool(default_of("context", self.context)))


@dataclass(frozen=True)
class WatchChoice:
    """Whether folders are watched after the run, and how."""

    watch: Annotated[
        bool,
        typer.Option("--watch", help="After the run, wait for photos that arrive or change, and caption these."),
    ] = False
    poll: Annotated[
        int | None,
        typer.Option(
            "--poll",
            metavar="SECONDS",
            min=1,
            help="With --watch: look at all files every so many seconds, where no events come. Default on network"
            " drives: 60.",
            rich_help_panel=ADVANCED,
            show_default=False,
        ),
    ] = None

    def check(self, photos: PhotoSelection, *, limited: bool, plain: bool, output: OutputChoice) -> None:
        """Refuse what makes no sense while folders are watched.

        limited: whether --limit, --dry-run, --force, --verify or --explain was given. plain: whether all is done in one
        process.

        Raises:
            UsageError: an option does not go with --watch, or something else than folders was given.
        """
        if not self.watch:
            if self.poll is not None:
                raise UsageError("--poll needs --watch", hint=_WATCH_EXAMPLE)
            return
        if limited:
            names = "--limit, --dry-run, --force, --verify and --explain"
            raise UsageError(f"--watch excludes {names}", hint="Run myvlm caption with them first, then with --watch.")
        if not plain:
            raise UsageError("--watch works in one process", hint="Leave out --workers, --cluster and --ship-bytes.")
        if output.json:
            raise UsageError("--json prints one document at the end, and --watch has none", hint="Use --jsonl.")
        if photos.files_from or photos.null or any(str(p) == "-" for p in photos.paths or ()):
            raise UsageError("--watch watches folders, not lists of photos", hint=_WATCH_EXAMPLE)
        refuse_files(photos.paths or ())

    @contextmanager
    def begin(self, photos: Photos, job: "CaptionJob") -> "Iterator[Watcher | None]":
        """Begin to watch folders, for as long as the context is open; None without --watch.

        Raises:
            EnvironmentFault: the system cannot watch them.
        """
        if not self.watch:
            yield None
            return
        from engine.captioning.file_events import FolderEvents
        from myvlm_cli.watch import Watcher

        with FolderEvents(photos.given, self.poll) as events:
            yield Watcher(photos, job, events, self.poll)


def refuse_files(paths: Iterable[Path]) -> None:
    """Refuse paths that are no folders.

    Raises:
        UsageError: one is a file.
    """
    for path in paths:
        if path.exists() and not path.is_dir():
            raise UsageError(f"--watch watches folders, and {path_text(path)} is a file", hint=_WATCH_EXAMPLE)
