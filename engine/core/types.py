"""Values that cross module borders."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from engine.core.boxes import Box


class Kind(StrEnum):
    """What a concept is; decides which head recognises it and which sidecar fields name it."""

    PERSON = "person"
    PET = "pet"
    THING = "thing"


class Scale(StrEnum):
    """What a recognition score is; `engine.recognition.confidence` turns it into what people read."""

    LOG_ODDS = "log-odds"
    PROBABILITY = "probability"
    COSINE = "cosine"


class Status(StrEnum):
    """What became of one photo of a batch."""

    OK = "ok"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    FAILED = "failed"
    DRY_RUN = "dry-run"


@dataclass(frozen=True)
class Reference:
    """One enrolled photo of a concept, and the region of it that shows the concept."""

    path: Path
    content_hash: str
    box: Box | None


@dataclass(frozen=True)
class Concept:
    """A concept as stored. `version` rises when it is enrolled again or renamed."""

    id: str
    name: str
    kind: Kind
    category: str
    identifier: str
    version: int
    references: tuple[Reference, ...] = ()


class Verdict(StrEnum):
    """What the user said of a concept in a photo."""

    CONFIRM = "confirm"
    REJECT = "reject"


@dataclass(frozen=True)
class Decision:
    """What the user said of a concept in the photo with a content hash; where that photo was is for people to read.

    box: where the concept is (or what was taken for it), in pixels of the upright photo; None where nobody said.
    decided: ISO 8601, UTC.
    """

    concept_id: str
    content_hash: str
    path: Path
    box: Box | None
    verdict: Verdict
    decided: str


@dataclass(frozen=True)
class Match:
    """A concept recognised in a region. score: higher is better, with the threshold from which it is named; scale: what
    both are, None of a match that was read from a sidecar, which does not say.
    """

    concept_id: str
    name: str
    kind: Kind
    version: int
    score: float
    threshold: float
    box: Box
    source: str  # face, detector, grid, photo or body: where the region came from
    scale: Scale | None = field(default=None, compare=False)


@dataclass(frozen=True)
class PhotoFacts:
    """What the file says of a photo; taken is ISO 8601, place is (latitude, longitude) in degrees."""

    content_hash: str
    width: int  # of the upright photo, pixels
    height: int
    format: str
    orientation: int  # EXIF 1..8, as stored
    taken: str | None = None
    place: tuple[float, float] | None = None


@dataclass(frozen=True)
class PhotoResult:
    """What came of one photo: a caption with its matches, or the reason why there is none."""

    path: Path
    status: Status
    caption: str | None = None
    matches: tuple[Match, ...] = ()
    facts: PhotoFacts | None = None
    sidecars: tuple[Path, ...] = ()
    reason: str | None = None
    repaired: tuple[str, ...] = ()  # names that the VLM left out and that were put in
    notes: tuple[str, ...] = field(default=())
    seconds: float = 0.0
