"""Options for what captions should be like, and for how the VLM is told of concepts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from myvlm_cli.options import ADVANCED
from myvlm_cli.sessions import default_of

if TYPE_CHECKING:
    from engine.captioning.context import CaptionForms


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
