"""`myvlm concepts remove-photos`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from myvlm_cli import options as o
from myvlm_cli.output import out, path_text

Photos = Annotated[
    list[Path],
    typer.Argument(metavar="PHOTO...", help="Reference photos, as `concepts show` lists them.", show_default=False),
]


def remove_photos(name: o.Name, photos: Photos, json: o.Json = False) -> None:
    """Take single reference photos away from a concept. The photo files stay as they are.

    Example: myvlm concepts remove-photos rex ./rex_photos/mug.jpg
    """
    from engine.concepts.remove_photos import remove_photos as remove

    session = o.open_session(None, None, "auto", "auto")
    done = remove(session, name, photos)
    count = len(done.concept.references)
    if json:
        removed = [path_text(r.path) for r in done.references]
        out.json_document({"name": done.concept.name, "removed": removed, "left": count, "notes": list(done.notes)})
    else:
        for r in done.references:
            out.text(f"- {path_text(r.path)}: no longer a reference photo of {done.concept.name}")
    for note in done.notes:
        out.warn(note)
    if not json:
        photo_words = "1 reference photo" if count == 1 else f"{count} reference photos"
        out.say(f"{done.concept.name} has {photo_words} left. {_next(session, done.concept)}")


def _next(session: object, concept: object) -> str:
    """The command to run next."""
    from engine.training.train import Need, training_need

    if training_need(session, concept) is Need.NEW_PHOTOS:  # type: ignore[arg-type]
        return f"Run: myvlm train {shlex.quote(concept.name)} so that captions do without them, too"  # type: ignore[attr-defined]
    return "Next: myvlm caption FOLDER"
