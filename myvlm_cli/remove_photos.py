"""`myvlm concepts remove-photos`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from myvlm_cli import options as o
from myvlm_cli.output import out, path_text
from myvlm_cli.sessions import open_session
from myvlm_cli.words import count

if TYPE_CHECKING:
    from engine.core.types import Concept
    from engine.session import Session

Photos = Annotated[
    list[Path],
    typer.Argument(metavar="PHOTO...", help="Reference photos, as `concepts show` lists them.", show_default=False),
]


def remove_photos(*, name: o.Name, photos: Photos, json: o.Json = False) -> None:
    """Remove reference photos from a concept. The photo files stay as they are.

    Example: myvlm concepts remove-photos rex ./rex_photos/mug.jpg
    """
    from engine.concepts.remove_photos import remove_photos as remove

    session = open_session()
    removed = remove(session, name, photos)
    concept, left = removed.concept, len(removed.concept.references)
    if json:
        files = [path_text(r.path) for r in removed.references]
        out.json_document(
            {"name": concept.name, "removed": files, "left": left, "notes": [str(n) for n in removed.notes]}
        )
    else:
        for r in removed.references:
            out.text(f"- {path_text(r.path)}: no longer a reference photo of {concept.name}")
    for note in removed.notes:
        out.warn(str(note))
    if not json:
        out.say(f"{concept.name} has {count(left, 'reference photo')} left. {_next(session, concept)}")


def _next(session: "Session", concept: "Concept") -> str:
    """Return the command to run next."""
    from engine.training.train import Need, training_need

    if training_need(session, concept) is Need.NEW_PHOTOS:
        return f"Run: myvlm train {shlex.quote(concept.name)} so that captions no longer use the removed photos"
    return "Next: myvlm caption FOLDER"
