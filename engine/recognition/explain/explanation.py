"""Values that explain why a concept was or was not recognised in a photo; `explain.words` puts them in words."""

from dataclasses import dataclass
from enum import StrEnum

from engine.core.boxes import Box
from engine.core.types import Concept, Scale
from engine.recognition.classifier import ThresholdSource
from engine.recognition.explain.nearest import Likeness
from engine.recognition.explain.runner_up import RunnerUp
from engine.recognition.quality import FaceFlaws


class RecognitionOutcome(StrEnum):
    """What became of a concept in a photo."""

    NAMED = "named"
    SUGGESTED = "maybe"
    UNKNOWN = "unknown"
    CONFIRMED = "confirmed"  # the user said that it is there
    REJECTED = "rejected"  # the user said that it is not
    DECLINED = "declined"  # it would be named, but the user took the name out of the sidecar


class Cause(StrEnum):
    """The code of a reason."""

    SURE = "sure"
    DECIDED = "decided"
    NO_REGION = "no-region"  # no face or region at all
    POOR_FACE = "poor-face"  # too small, blurred or turned away
    OTHER_SURER = "other-surer"
    LOW_SCORE = "low-score"
    NOT_SEPARABLE = "not-separable"  # its threshold is high, because others in the library look too much like it


@dataclass(frozen=True)
class Reason:
    """Why a concept has its outcome.

    lowest: the lowest score from which the concept is suggested, or named where it cannot be suggested
    (`is_suggested`). separable: whether its own references reach its threshold. flaws: of the face that is most like
    the concept; is_only_face: no other face was found. rival: the name of the concept that fits better in the region.
    by_body: no face shows the person, and the body was compared instead.
    """

    cause: Cause
    lowest: float = 0.0
    is_suggested: bool = True
    separable: bool = True
    flaws: FaceFlaws | None = None
    is_only_face: bool = False
    rival: str = ""
    by_body: bool = False


@dataclass(frozen=True)
class PairFeature:
    """One of `recognition.pair_features.PAIR_FEATURES`, or "rejected" for the nearest rejected region.

    value: a cosine similarity. contribution: what it adds to the log-odds.
    """

    name: str
    value: float
    contribution: float


@dataclass(frozen=True)
class Explanation:
    """Why a concept was or was not named in a photo.

    threshold_source: where the thresholds are from. box: the region in pixels of the upright photo, None where there is
    none. source: where the region came from: face, detector, grid, photo or body. score: of the region, on the scale of
    the thresholds (`scale`), also where it was not usable. name_threshold, suggestion_threshold: the lowest scores at
    which the concept is named and suggested; the paper's heads have no suggestions. nearest: what is most like the
    region among references and confirmed photos; rejection: among rejected regions. likeness: cosine to the mean of the
    references. impostor: mean cosine to the 50 cohort members most like the region. pair_features and bias add up to
    the score; the paper's heads have none.
    """

    concept: Concept
    outcome: RecognitionOutcome
    reason: Reason
    threshold_source: ThresholdSource
    box: Box | None = None
    source: str | None = None
    score: float | None = None
    name_threshold: float = 0.0
    suggestion_threshold: float | None = None
    nearest: Likeness | None = None
    likeness: float | None = None
    runner_up: RunnerUp | None = None
    impostor: float | None = None
    rejection: Likeness | None = None
    pair_features: tuple[PairFeature, ...] = ()
    bias: float | None = None
    scale: Scale = Scale.LOG_ODDS

    @property
    def cause(self) -> Cause:
        """The code of the reason."""
        return self.reason.cause
