"""What a captioning run reports about each photo."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.notes import Note, SkipReason
from engine.core.types import Match, PhotoFacts, Status

if TYPE_CHECKING:  # they load numpy and lxml, which a run in which nothing changed does not need
    from engine.recognition.displaced import DisplacedConcept
    from engine.recognition.explain.explanation import Explanation
    from engine.sidecars.xmp import Change


@dataclass(frozen=True)
class PhotoResult:
    """What became of one photo: a caption with its matches, or the reason why there is none.

    repaired: names that the VLM left out and that were put in. sidecars: the sidecar files that exist now. changes:
    what was or would be changed in the XMP sidecar. pictures, explanations: of the requested concepts, if the run
    explains. removed: the earlier caption, which names a concept that is not recognised any more and which no VLM could
    replace. displaced: requested concepts that another enrolled concept, which was not requested, keeps from being
    named.
    """

    path: Path
    status: Status
    caption: str | None = None
    matches: tuple[Match, ...] = ()
    facts: PhotoFacts | None = None
    sidecars: tuple[Path, ...] = ()
    reason: str | None = None
    skip: SkipReason | None = None
    repaired: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    seconds: float = 0.0
    pictures: tuple[Path, ...] = ()
    explanations: "tuple[Explanation, ...]" = ()
    changes: "tuple[Change, ...]" = ()
    removed: str | None = None
    displaced: "tuple[DisplacedConcept, ...]" = ()

    @classmethod
    def skipped(cls, path: Path, skip: SkipReason) -> "PhotoResult":
        """Return the result of a photo that is left out."""
        return cls(path, Status.SKIPPED, reason=skip.text, skip=skip)

    @classmethod
    def failed(cls, path: Path, error: Exception) -> "PhotoResult":
        """Return the result of a photo that cannot be read or whose sidecars cannot be written."""
        return cls(path, Status.FAILED, reason=str(error))
