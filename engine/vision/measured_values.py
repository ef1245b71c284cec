"""Values of a recogniser that were measured: thresholds, weights, and the quality that faces need."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ThresholdPrior:
    """Values for one kind of feature, chosen on labelled libraries (docs/recognition.md, Thresholds).

    level: log-odds from which a name is safe in most libraries.
    max_shift: how far one library may move it, in log-odds.
    floor_ratio: share of the median left-out reference's log-odds below which nothing is named; genuine photos hardly
        score so low, so that it costs little recall.
    alone: cosine similarity from which a name is given while nothing is known that shows something else.
    """

    level: float
    max_shift: float
    floor_ratio: float
    alone: float = 0.9


@dataclass(frozen=True)
class ScoringWeights:
    """Weights of pair features that hold for every set of concepts (docs/recognition.md, Scoring).

    likeness, nearest: log-odds for one unit of cosine similarity. bias: added. rival: log-odds that a region loses for
    one unit of cosine similarity by which it is nearer to another concept.
    """

    likeness: float
    nearest: float
    bias: float
    rival: float


@dataclass(frozen=True)
class GroupThresholds:
    """Mean cosine similarities from which sightings without a name are taken for one individual.

    start: of any two groups. join: where one of them has several members (`unnamed.linkage.ESTABLISHED`), whose mean
    says more than a single sighting.
    """

    start: float
    join: float


@dataclass(frozen=True)
class FaceQuality:
    """The quality that a face must have to be named (docs/recognition.md, Detections).

    min_side: shorter side of the face's box, in pixels of the photo.
    min_sharpness: variance of the Laplacian of the aligned face, in grey levels squared; see `faces.Face`.
    max_turn: distance of the nose from the middle between the eyes, in eye distances; see `faces.Face`.
    """

    min_side: float
    min_sharpness: float
    max_turn: float
