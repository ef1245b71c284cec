"""Values that cross module borders: concepts, decisions, matches, facts about a photo."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from engine.core.boxes import Box


class Kind(StrEnum):
    """Kind of a concept: it decides which head recognises the concept and which sidecar fields name it."""

    PERSON = "person"
    PET = "pet"
    THING = "thing"


class Scale(StrEnum):
    """Scale of a recognition score; `engine.recognition.confidence` turns scores into what users read."""

    LOG_ODDS = "log-odds"
    PROBABILITY = "probability"
    COSINE = "cosine"


class Status(StrEnum):
    """Outcome for one photo of a batch."""

    OK = "ok"  # captioned, or written again
    UNCHANGED = "unchanged"  # its sidecars are up to date
    SKIPPED = "skipped"  # a video, a companion of a failed photo, or nothing to write
    FAILED = "failed"  # the photo or one of its sidecars cannot be used
    DRY_RUN = "dry-run"  # its sidecars would be written, but this run writes nothing


@dataclass(frozen=True)
class Reference:
    """A reference photo of a concept. box: the region that shows the concept, None if it is not known."""

    path: Path
    content_hash: str
    box: Box | None


@dataclass(frozen=True)
class Concept:
    """A concept as stored. version: rises when the concept is enrolled again or renamed."""

    id: str
    name: str
    kind: Kind
    category: str
    identifier: str
    version: int
    references: tuple[Reference, ...] = ()


class Verdict(StrEnum):
    """The user's decision about a concept in a photo."""

    CONFIRM = "confirm"
    REJECT = "reject"


@dataclass(frozen=True)
class Decision:
    """The user's decision about a concept in a photo, which is identified by its content hash.

    path: where the photo was, shown to users only. box: the concept, or what was mistaken for it, in pixels of the
    upright photo; None if the user gave no box. decided: ISO 8601, UTC.
    """

    concept_id: str
    content_hash: str
    path: Path
    box: Box | None
    verdict: Verdict
    decided: str


@dataclass(frozen=True)
class RecognitionOptions:
    """How concepts are recognised.

    paper_heads: by the heads and thresholds of the paper instead of the open-set classifier. allow_body: people whose
    face does not show may be named by their body.
    """

    paper_heads: bool = False
    allow_body: bool = False


@dataclass(frozen=True)
class Match:
    """A concept recognised in a region of a photo.

    score: higher is better. threshold: the lowest score at which the concept is named. scale: of score and threshold;
    None for a match read from a JSON sidecar, which does not store it. box: pixels of the upright photo. source: where
    the region came from: face, detector, grid, photo or body.
    """

    concept_id: str
    name: str
    kind: Kind
    version: int
    score: float
    threshold: float
    box: Box
    source: str
    scale: Scale | None = field(default=None, compare=False)


@dataclass(frozen=True)
class PhotoFacts:
    """Facts from a photo file. taken: ISO 8601. place: (latitude, longitude) in degrees."""

    content_hash: str
    width: int  # of the upright photo, pixels
    height: int
    format: str
    orientation: int  # EXIF 1..8, as stored
    taken: str | None = None
    place: tuple[float, float] | None = None
