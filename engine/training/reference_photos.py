"""Load the reference photos of a concept for training."""

from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from engine.core.boxes import Box
from engine.core.errors import NoUsablePhotoError, PhotoError
from engine.core.types import Concept, Reference
from engine.photos.decode import load_photo
from engine.training.augment import working_size

WORKING_EDGES = 2
"""Training photos are kept at a shortest edge of at most this many times the vision tower's input."""


@dataclass(frozen=True)
class TrainingPhoto:
    """A reference photo at working size; the box of its reference is in pixels of that image."""

    path: Path
    image: Image.Image
    reference: Reference


def check_references(concept: Concept) -> None:
    """Check that a concept has photos to learn from.

    Raises:
        NoUsablePhotoError: it has none, because it was imported.
    """
    if not concept.references:
        raise NoUsablePhotoError(
            f"{concept.name!r} has no photos to learn from: it was imported",
            hint="Give it some: myvlm add-concept NAME PHOTOS. The imported embedding works without.",
        )


def load_references(concept: Concept, *, edge: int) -> tuple[list[TrainingPhoto], list[str]]:
    """Load the photos that a concept was enrolled with, scaled to a shortest edge of at most `edge` pixels.

    Also returns notes about photos that have changed or cannot be read.

    Raises:
        NoUsablePhotoError: the concept has no photos, or none of them can be read any more.
    """
    check_references(concept)
    photos, notes = [], []
    for reference in concept.references:
        try:
            photo = load_photo(reference.path)
        except PhotoError as err:
            notes.append(str(err))
            continue
        if photo.facts.content_hash != reference.content_hash:
            notes.append(f"{reference.path.name} has changed since it was enrolled")
        scaled = replace(
            reference,
            box=_scaled(reference.box, photo.image.size, edge),
            content_hash=photo.facts.content_hash,
        )
        photos.append(TrainingPhoto(reference.path, working_size(photo.image, edge), scaled))
    if not photos:
        raise NoUsablePhotoError(
            f"none of the photos of {concept.name!r} can be read any more",
            hint="Run myvlm add-concept again with photos that are there.",
        )
    return photos, notes


def _scaled(box: Box | None, size: tuple[int, int], edge: int) -> Box | None:
    """Convert a box from pixels of a photo of a size to pixels of its working image."""
    if box is None or min(size) <= edge:
        return box
    factor = edge / min(size)
    return Box(box.x0 * factor, box.y0 * factor, box.x1 * factor, box.y1 * factor)
