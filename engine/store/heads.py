"""Concept heads: what a recogniser knows of one concept, as typed values, and their form in the store's files."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, TypeAlias

import numpy as np

Facts: TypeAlias = dict[str, float | int | str]
"""What the database holds of a head beside its file."""


class HeadKind(StrEnum):
    """The variants of a stored head; the values are those of the database column `kind`."""

    FACE = "face"
    OBJECT = "linear"
    BODY = "body"


class FeatureKind(StrEnum):
    """What the features of a head were computed from; features of different kinds are never compared."""

    FACES = "faces"
    REGIONS = "regions"


@dataclass(frozen=True)
class FeedbackFeatures:
    """Features (N, D) of the regions that the user confirmed or rejected, by what tells the decisions apart.

    The keys are those of `engine.recognition.feedback_features.key_of`.
    """

    confirmed: Mapping[str, np.ndarray] = field(default_factory=dict)
    rejected: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, *heads: "ConceptHead | None") -> "FeedbackFeatures":
        """Join the feedback of some heads of one encoder; later heads win."""
        confirmed: dict[str, np.ndarray] = {}
        rejected: dict[str, np.ndarray] = {}
        for head in heads:
            if head is not None:
                confirmed |= head.feedback.confirmed
                rejected |= head.feedback.rejected
        return cls(confirmed, rejected)

    @property
    def confirmed_counts(self) -> list[int]:
        """How many features each confirmation has, in the order of `rows`."""
        return [len(rows) for _, rows in sorted(self.confirmed.items())]

    def confirmed_rows(self, width: int) -> np.ndarray:
        """All features of confirmed regions, (N, width), ordered by key."""
        return _join(self.confirmed, width)

    def rejected_rows(self, width: int) -> np.ndarray:
        """All features of rejected regions, (N, width), ordered by key."""
        return _join(self.rejected, width)

    def _sides(self) -> Iterator[tuple[str, Mapping[str, np.ndarray]]]:
        yield from ((name, rows) for name, rows in (("confirmed", self.confirmed), ("rejected", self.rejected)) if rows)

    def tensors(self) -> dict[str, np.ndarray]:
        """The features as a head's tensors; a side without decisions is left out."""
        return {name: np.concatenate([r for _, r in sorted(rows.items())]) for name, rows in self._sides()}

    def facts(self) -> Facts:
        """Which rows of the tensors belong to which key, as facts of a head: `key=rows` in order."""
        return {name: " ".join(f"{k}={len(r)}" for k, r in sorted(rows.items())) for name, rows in self._sides()}

    @classmethod
    def decode(cls, tensors: Mapping[str, np.ndarray], facts: Mapping[str, object]) -> "FeedbackFeatures":
        """Read what `tensors` and `facts` wrote."""
        return cls(*(_decode_side(tensors, facts, name) for name in ("confirmed", "rejected")))


def _join(rows: Mapping[str, np.ndarray], width: int) -> np.ndarray:
    return np.concatenate([np.zeros((0, width), np.float32), *(r for _, r in sorted(rows.items()))])


def _decode_side(tensors: Mapping[str, np.ndarray], facts: Mapping[str, object], name: str) -> dict[str, np.ndarray]:
    decoded: dict[str, np.ndarray] = {}
    start = 0
    for item in str(facts.get(name, "")).split():
        key, _, count = item.rpartition("=")
        decoded[key] = tensors[name][start : start + int(count)]
        start += int(count)
    return decoded


@dataclass(frozen=True, kw_only=True)
class _Head:
    """What all heads have.

    encoder: id of the model that the features are of. views: (V, D) float32 unit features of the reference photos;
    in heads with altered views the plain view of a photo comes first. photos: (V,) int, the number of the photo that
    each view is of; None in heads of earlier versions. references: content hashes of the photos, by number; () in heads
    of earlier versions. background: (B, D) features that are certainly not the concept; background_of: (B,) int, the
    number of the photo that each is in, -1 for negatives of no particular photo, None in heads of earlier versions.
    """

    kind: ClassVar[HeadKind]
    features: ClassVar[FeatureKind]

    concept_id: str
    encoder: str
    threshold: float
    views: np.ndarray
    photos: np.ndarray | None = None
    references: tuple[str, ...] = ()
    feedback: FeedbackFeatures = field(default_factory=FeedbackFeatures)

    @property
    def width(self) -> int:
        """The number of features, D."""
        return int(self.views.shape[1])

    def photo_numbers(self, augmentations: int) -> np.ndarray:
        """Return the number of the photo that each view is of, (V,) int.

        Heads of earlier versions do not hold it: faces had one view a photo, objects 1 + `augmentations`.
        """
        if self.photos is not None:
            return self.photos
        each = 1 if self.features is FeatureKind.FACES else 1 + augmentations
        return np.arange(len(self.views)) // each


@dataclass(frozen=True, kw_only=True)
class FaceHead(_Head):
    """A person's face templates. threshold: the paper's, a cosine. taken: ISO 8601 dates of photos, by content hash."""

    kind: ClassVar[HeadKind] = HeadKind.FACE
    features: ClassVar[FeatureKind] = FeatureKind.FACES

    taken: Mapping[str, str] = field(default_factory=dict)

    @property
    def background(self) -> np.ndarray:
        """No features: faces need no negatives of their own, (0, D)."""
        return self.views[:0]

    @property
    def background_of(self) -> np.ndarray | None:
        """No features, no photos."""
        return None

    def encode(self) -> tuple[dict[str, np.ndarray], Facts]:
        """Return the tensors and facts that the store keeps."""
        tensors = {"templates": self.views, **_given("photos", self.photos), **self.feedback.tensors()}
        facts = self.feedback.facts() | _reference_facts(self.references)
        if self.taken:
            facts["taken"] = " ".join(f"{content}={taken}" for content, taken in sorted(self.taken.items()))
        return tensors, facts


@dataclass(frozen=True, kw_only=True)
class ObjectHead(_Head):
    """A pet's or thing's linear head with what it was trained on, so that it can be trained again without photos.

    weight: (2, D); bias: (2,); scale: factor on unit features; threshold: the paper's, a probability. negatives: how
    many features it was trained against. A head that was imported has no views.
    """

    kind: ClassVar[HeadKind] = HeadKind.OBJECT
    features: ClassVar[FeatureKind] = FeatureKind.REGIONS

    weight: np.ndarray
    bias: np.ndarray
    scale: float
    background: np.ndarray
    background_of: np.ndarray | None = None
    negatives: int = 0
    seed: int = 0

    @property
    def is_imported(self) -> bool:
        """Whether the head was imported: it has no views and cannot be trained again."""
        return not len(self.views)

    def encode(self) -> tuple[dict[str, np.ndarray], Facts]:
        """Return the tensors and facts that the store keeps."""
        tensors = {"weight": self.weight, "bias": self.bias, "views": self.views, **_given("photos", self.photos)}
        tensors |= {"background": self.background, **self.feedback.tensors()}
        tensors |= _given("background_of", self.background_of)
        facts: Facts = {"scale": self.scale, "negatives": self.negatives, "seed": self.seed}
        return tensors, facts | self.feedback.facts() | _reference_facts(self.references)


@dataclass(frozen=True, kw_only=True)
class BodyHead(_Head):
    """A person's body, as the detector's regions around the face show it; learns nothing from feedback."""

    kind: ClassVar[HeadKind] = HeadKind.BODY
    features: ClassVar[FeatureKind] = FeatureKind.REGIONS

    background: np.ndarray

    @property
    def background_of(self) -> np.ndarray | None:
        """Unknown: a body keeps no record of it."""
        return None

    def encode(self) -> tuple[dict[str, np.ndarray], Facts]:
        """Return the tensors and facts that the store keeps."""
        tensors = {"views": self.views, "background": self.background, **_given("photos", self.photos)}
        return tensors, {"photos": " ".join(self.references)}


ConceptHead: TypeAlias = FaceHead | ObjectHead | BodyHead
"""What a recogniser knows of one concept."""


def _given(name: str, rows: np.ndarray | None) -> dict[str, np.ndarray]:
    return {} if rows is None else {name: rows}


def _reference_facts(references: tuple[str, ...]) -> Facts:
    return {"references": " ".join(references)} if references else {}


def read_dates(facts: Mapping[str, object]) -> dict[str, str]:
    """Read when a head's reference photos were taken, ISO 8601 by content hash, from its facts.

    Heads of earlier versions, and of pets and things, hold no dates.
    """
    pairs = (item.partition("=") for item in str(facts.get("taken", "")).split())
    return {content: taken for content, _, taken in pairs}


def decode_head(
    concept_id: str,
    encoder: str,
    kind: HeadKind,
    *,
    threshold: float,
    tensors: Mapping[str, np.ndarray],
    facts: Mapping[str, float | int | str],
) -> ConceptHead:
    """Make a head of what the store keeps: the inverse of `encode`. Reads heads of every earlier version.

    Raises:
        KeyError: a tensor that the kind of head needs is missing.
    """
    photos = tensors.get("photos")
    if kind is HeadKind.BODY:
        return BodyHead(
            concept_id=concept_id,
            encoder=encoder,
            threshold=threshold,
            views=tensors["views"],
            photos=photos,
            references=tuple(str(facts["photos"]).split()),
            background=tensors["background"],
        )
    references = tuple(str(facts.get("references", "")).split())
    feedback = FeedbackFeatures.decode(tensors, facts)
    if kind is HeadKind.FACE:
        return FaceHead(
            concept_id=concept_id,
            encoder=encoder,
            threshold=threshold,
            views=tensors["templates"],
            photos=photos,
            references=references,
            feedback=feedback,
            taken=read_dates(facts),
        )
    return ObjectHead(
        concept_id=concept_id,
        encoder=encoder,
        threshold=threshold,
        views=tensors["views"],
        photos=photos,
        references=references,
        feedback=feedback,
        weight=tensors["weight"],
        bias=tensors["bias"],
        scale=float(facts["scale"]),
        background=tensors.get("background", tensors["views"][:0]),
        background_of=tensors.get("background_of"),
        negatives=int(facts.get("negatives", 0)),
        seed=int(facts.get("seed", 0)),
    )
