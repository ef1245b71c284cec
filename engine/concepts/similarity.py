"""Compare reference photos: find photos unlike the others, and concepts that seem to be the same individual.

Both compare the plain view of each photo by cosine, with the features of the recogniser in use. Measured with the
storybook's on 90 pets and things and 45 people, with two disjoint sets of four reference photos each, one with a
look-alike or sibling each, and for pets and things a twin (only a detail and proportions differ):

* Odd photos: reported were 5 of 1,080 correct photos; 908 of 910 photos of something else, each among three correct
  ones; and 1 of these 2,730 correct ones.
* Same individual, by the cosine of means, from .9 (pets and things) and .8 (people): with four photos under each name
  all 90 and all 45 pairs are found; with one photo under the second name 97 % and 98 %. Wrongly found are none of 135
  look-alikes and siblings (at most .84 and .61), none of 9,990 other pairs (at most .89), and 16 % of the twins.
* With real photos (16 subjects, six each) that recogniser is of no use: it reported 17 % of the correct ones as odd and
  found 6 % of the halves to be the same. So it reports odd photos among drawings only (`RecogniserConfig.drawn_only`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TypeAlias

import numpy as np

from engine.core.boxes import iou
from engine.core.types import Concept, Kind, Reference
from engine.recognition.enrolled import EnrolledHeads
from engine.store.concepts import ConceptStore
from engine.store.heads import ConceptHead
from engine.vision.config import RecogniserConfig

ODD = 0.7
"""A photo whose likeness to the mean of the others is under this share of their median is reported as odd."""
_ODD_OF_TWO = 0.5
"""Two photos that are less alike than this share of the recogniser's `alike` are both reported."""
_SAME_PART = 0.5
"""Two boxes that overlap more (IoU) frame the same part of a photo."""


@dataclass(frozen=True)
class LikelySame:
    """An enrolled concept that seems to be the same individual as another. likeness: cosine of their means."""

    concept: Concept
    likeness: float


@dataclass(frozen=True)
class SharedPhoto:
    """A reference photo that another concept has, too. same_part: both are the same part of the photo."""

    path: Path
    concept: Concept
    same_part: bool


def plain_views(head: ConceptHead, augmentations: int) -> np.ndarray:
    """Return the plain view of each reference photo of a head, (P, D), in the order of the photos' numbers."""
    views, photos = head.views, head.photo_numbers(augmentations)
    return views[np.unique(photos, return_index=True)[1]]


def left_out_likeness(plain: np.ndarray) -> np.ndarray:
    """Return the cosine of each photo's view (P, D) to the mean of the others, (P,). At least two photos are needed."""
    others = [_unit(np.delete(plain, i, axis=0).mean(axis=0)) for i in range(len(plain))]
    likeness: np.ndarray = (plain * np.stack(others)).sum(axis=1)
    return likeness


def find_odd(plain: np.ndarray, alike: float | None) -> np.ndarray:
    """Return which reference photos with these views (P, D) do not look like the others, (P,) bool.

    alike: the cosine from which two means are of the same individual, where it was measured.
    """
    if len(plain) < 2 or (len(plain) == 2 and alike is None):
        return np.zeros(len(plain), bool)
    likeness = left_out_likeness(plain)
    if len(plain) == 2:
        return likeness < _ODD_OF_TWO * (alike or 0.0)
    return likeness < ODD * np.median(likeness)


def looks_odd_beside(plain: np.ndarray, references: np.ndarray, alike: float | None) -> np.ndarray:
    """Return which photos with these views (P, D) do not look like a concept's references (K, D), (P,) bool."""
    usual = float(np.median(left_out_likeness(references))) if len(references) > 2 else (alike or 0.0)
    odd: np.ndarray = plain @ _unit(references.mean(axis=0)) < ODD * usual
    return odd


def find_same(store: ConceptStore, config: RecogniserConfig, concept: Concept) -> tuple[LikelySame, ...]:
    """Return the other enrolled concepts that seem to be the same individual as `concept`, most alike first."""
    enrolled = _read_plain_views(store, config)
    mine = next((views for c, views in enrolled if c.id == concept.id), None)
    return () if mine is None else compare_with_others(config, (concept, mine), enrolled)


def find_same_pairs(enrolled: EnrolledHeads) -> tuple[tuple[Concept, Concept], ...]:
    """Return the pairs of enrolled concepts that seem to be the same individual, by name: neither may be named."""
    heads, augmentations = enrolled.heads, enrolled.config.augmentations
    rows = [(c, plain_views(heads[c.id], augmentations)) for c in enrolled.recognisable if len(heads[c.id].views)]
    return compare_pairs(enrolled.config, rows)


PlainViews: TypeAlias = tuple[Concept, np.ndarray]
"""A concept with the plain views (P, D) of its reference photos."""


def compare_with_others(
    config: RecogniserConfig, concept: PlainViews, enrolled: Iterable[PlainViews]
) -> tuple[LikelySame, ...]:
    """Return the concepts that seem to be the same individual as another one, most alike first.

    Pets and things have features of the same kind and are compared with each other; people with people. Where the
    recogniser's config has no measured threshold, two concepts are the same when their means are as alike as each
    photo is, on average, to the others of its own concept; both then need two photos.
    """
    same = []
    for other, views in enrolled:
        likeness = _same_likeness(config, concept, (other, views)) if other.id != concept[0].id else None
        same += [] if likeness is None else [LikelySame(other, likeness)]
    return tuple(sorted(same, key=lambda s: (-s.likeness, s.concept.name)))


def compare_pairs(config: RecogniserConfig, enrolled: Iterable[PlainViews]) -> tuple[tuple[Concept, Concept], ...]:
    """Return the pairs of concepts that seem to be the same individual, in the order given."""
    return tuple((a[0], b[0]) for a, b in combinations(enrolled, 2) if _same_likeness(config, a, b) is not None)


def _read_plain_views(store: ConceptStore, config: RecogniserConfig) -> list[PlainViews]:
    """Read the plain views of every concept that has a head with views for the recogniser."""
    return [(c, views) for c in store.all() if (views := _plain_views_of(store, config, c)) is not None]


def _plain_views_of(store: ConceptStore, config: RecogniserConfig, concept: Concept) -> np.ndarray | None:
    """Return the plain views (P, D) of a concept's head for the recogniser; None without a head or views."""
    head = store.load_head(concept.id, config.head_id(concept.kind))
    if head is None or not len(head.views):
        return None
    return plain_views(head, config.augmentations)


def _same_likeness(config: RecogniserConfig, a: PlainViews, b: PlainViews) -> float | None:
    """Return the cosine of the means of two concepts if they seem to be the same individual, else None."""
    (concept, mine), (other, theirs) = a, b
    if (concept.kind is Kind.PERSON) != (other.kind is Kind.PERSON):
        return None
    likeness = float(_unit(mine.mean(axis=0)) @ _unit(theirs.mean(axis=0)))
    return likeness if likeness >= _least(config.duplicate_threshold(concept.kind), mine, theirs) else None


def find_shared(store: ConceptStore, concept: Concept, references: Sequence[Reference]) -> tuple[SharedPhoto, ...]:
    """Return which of a concept's references are reference photos of other concepts, too."""
    by_content = {r.content_hash: r for r in references}
    return tuple(
        SharedPhoto(by_content[r.content_hash].path, other, _same_part(by_content[r.content_hash], r))
        for other in store.all()
        if other.id != concept.id
        for r in other.references
        if r.content_hash in by_content
    )


def _least(alike: float | None, mine: np.ndarray, theirs: np.ndarray) -> float:
    """Return the cosine of means from which two concepts are the same individual."""
    if alike is not None:
        return alike
    if min(len(mine), len(theirs)) < 2:
        return np.inf
    return float(left_out_likeness(mine).mean() + left_out_likeness(theirs).mean()) / 2


def _same_part(a: Reference, b: Reference) -> bool:
    return a.box is None or b.box is None or iou(a.box, b.box) > _SAME_PART


def _unit(vector: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vector / max(float(np.linalg.norm(vector)), 1e-9)
    return unit
