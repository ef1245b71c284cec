"""Concept heads as typed values, and their encoding in the store: what a recogniser needs to recognise a concept."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, TypeAlias

import numpy as np

Facts: TypeAlias = dict[str, float | int | str]
"""The facts of a head that the database holds; the tensors are in the head's file."""


class HeadKind(StrEnum):
    """The variants of a stored head; the values are those of the database column `kind`."""

    FACE = "face"
    OBJECT = "linear"
    BODY = "body"


class FeatureKind(StrEnum):
    """The source of a head's features; features of different sources are never compared."""

    FACES = "faces"
    REGIONS = "regions"


@dataclass(frozen=True)
class FeedbackFeatures:
    """Features (N, D) of the regions that the user confirmed or rejected, by decision.

    The key of a decision is that of `engine.recognition.feedback_features.key_of`.
    """

    confirmed: Mapping[str, np.ndarray] = field(default_factory=dict)
    rejected: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, *heads: "ConceptHead | None") -> "FeedbackFeatures":
        """Join the feedback of heads of one encoder; for the same decision the later head counts."""
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
        """Return all features of confirmed regions, (N, width), ordered by key."""
        return _join(self.confirmed, width)

    def rejected_rows(self, width: int) -> np.ndarray:
        """Return all features of rejected regions, (N, width), ordered by key."""
        return _join(self.rejected, width)

    def _sides(self) -> Iterator[tuple[str, Mapping[str, np.ndarray]]]:
        yield from ((name, rows) for name, rows in (("confirmed", self.confirmed), ("rejected", self.rejected)) if rows)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the features as a head's tensors; a side without decisions is left out."""
        return {name: np.concatenate([r for _, r in sorted(rows.items())]) for name, rows in self._sides()}

    def facts(self) -> Facts:
        """Return which rows of the tensors belong to which key, as facts of a head: `key=rows` in order."""
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
    """The fields that all heads have.

    encoder: id of the model that the features are of. views: (V, D) float32 unit features of the reference photos;
    in heads with altered views the plain view of a photo comes first. photos: (V,) int, the number of the photo that
    each view is of; None in heads of earlier versions. references: content hashes of the photos, by number; () in heads
    of earlier versions. background: (B, D) features that are certainly not the concept; background_of: (B,) int, the
    number of the photo that each background row is in, -1 for negatives from other photos, None in heads of earlier
    versions.
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
        """None: there is no background."""
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

    weight: (2, D); bias: (2,); scale: factor on unit features; threshold: the paper's, a probability; negatives: the
    number of negative features that it was trained with. An imported head has no views.
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
    """A person's body: features of the detector's regions around the face. It does not learn from feedback."""

    kind: ClassVar[HeadKind] = HeadKind.BODY
    features: ClassVar[FeatureKind] = FeatureKind.REGIONS

    background: np.ndarray

    @property
    def background_of(self) -> np.ndarray | None:
        """None: body heads do not store it."""
        return None

    def encode(self) -> tuple[dict[str, np.ndarray], Facts]:
        """Return the tensors and facts that the store keeps."""
        tensors = {"views": self.views, "background": self.background, **_given("photos", self.photos)}
        return tensors, {"photos": " ".join(self.references)}


ConceptHead: TypeAlias = FaceHead | ObjectHead | BodyHead
"""Any kind of head."""


def _given(name: str, rows: np.ndarray | None) -> dict[str, np.ndarray]:
    return {} if rows is None else {name: rows}


def _reference_facts(references: tuple[str, ...]) -> Facts:
    return {"references": " ".join(references)} if references else {}
