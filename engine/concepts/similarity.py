"""Comparing reference photos: which does not look like the others, and which concepts are the same individual.

Both compare the plain view of each photo by cosine, with the features of the recogniser in use. Measured with the
storybook's on 90 pets and things and 45 people, with two disjoint sets of four reference photos each, one with a
look-alike or sibling each, and for pets and things a twin (only a detail and proportions differ):

* Odd photos: of 1,080 photos that were right 5 were pointed out; of 910 photos of something else among three that were
  right all but 2, and 1 of the 2,730 beside them.
* Same individual, by the cosine of means, from .9 (pets and things) and .8 (people): with four photos under either name
  all of 90 and 45; with one photo under the second name 97 % and 98 %. None of 135 look-alikes and siblings (at most
  .84 and .61), none of 9,990 other pairs (at most .89), and 16 % of the twins.
* Real photos (16 subjects, six each) mean nothing to that recogniser: 17 % of the right ones were called odd, and 6 %
  of halves the same. Hence it points out odd ones among drawings only (`RecogniserConfig.drawn_only`).
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from engine.core.boxes import iou
from engine.core.types import Concept, Kind, Reference
from engine.recognition.enrolled import EnrolledHeads
from engine.store.concepts import ConceptStore
from engine.store.heads import ConceptHead
from engine.vision.config import RecogniserConfig

ODD = 0.7
"""A photo whose likeness to the mean of the others is under this share of their median is pointed out."""
_ODD_OF_TWO = 0.5
"""Two photos that are less alike than this share of the recogniser's `alike` are pointed out, both."""
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
    """The plain view (P, D) of each reference photo of a head, in the order of the photos' numbers."""
    views, photos = head.views, head.photo_numbers(augmentations)
    return views[np.unique(photos, return_index=True)[1]]


def left_out_likeness(plain: np.ndarray) -> np.ndarray:
    """Cosine of each photo's view (P, D) to the mean of the others: (P,). At least two photos are needed."""
    others = [_unit(np.delete(plain, i, axis=0).mean(axis=0)) for i in range(len(plain))]
    found: np.ndarray = (plain * np.stack(others)).sum(axis=1)
    return found


def find_odd(plain: np.ndarray, alike: float | None) -> np.ndarray:
    """Which of some reference photos with these views (P, D) do not look like the others: (P,) bool. `alike`: the
    likeness from which two means are of one individual, where it is known.
    """
    if len(plain) < 2 or (len(plain) == 2 and alike is None):
        return np.zeros(len(plain), bool)
    likeness = left_out_likeness(plain)
    if len(plain) == 2:
        return likeness < _ODD_OF_TWO * (alike or 0.0)
    return likeness < ODD * np.median(likeness)


def looks_odd_beside(plain: np.ndarray, known: np.ndarray, alike: float | None) -> np.ndarray:
    """Which photos with these views (P, D) do not look like photos that are known to show a concept (K, D): (P,)."""
    usual = float(np.median(left_out_likeness(known))) if len(known) > 2 else (alike or 0.0)
    found: np.ndarray = plain @ _unit(known.mean(axis=0)) < ODD * usual
    return found


def find_same(store: ConceptStore, config: RecogniserConfig, concept: Concept) -> tuple[LikelySame, ...]:
    """The other concepts that seem to be the same individual, most alike first. Pets and things are told apart by the
    same features, and are compared with each other.

    Where the recogniser's config has no measured `alike`, two concepts are the same when their means are as alike as
    each photo is, on average, to the others of its own concept; both then need two photos.
    """
    own = _plain_views_of(store, config, concept)
    if own is None:
        return ()
    found = []
    for other in store.all():
        comparable = other.id != concept.id and (other.kind is Kind.PERSON) == (concept.kind is Kind.PERSON)
        theirs = _plain_views_of(store, config, other) if comparable else None
        likeness = None if theirs is None else _same_likeness(config, concept.kind, own, theirs)
        found += [] if likeness is None else [LikelySame(other, likeness)]
    return tuple(sorted(found, key=lambda s: (-s.likeness, s.concept.name)))


def find_same_pairs(enrolled: EnrolledHeads) -> tuple[tuple[Concept, Concept], ...]:
    """Return the pairs of enrolled concepts that seem to be the same individual, by name: neither may be named."""
    config = enrolled.config
    known = [(c, plain_views(h, config.augmentations)) for c in enrolled.concepts if (h := _with_views(enrolled, c))]
    return tuple(
        (a, b)
        for (a, mine), (b, theirs) in combinations(known, 2)
        if (a.kind is Kind.PERSON) == (b.kind is Kind.PERSON)
        and _same_likeness(config, a.kind, mine, theirs) is not None
    )


def _with_views(enrolled: EnrolledHeads, concept: Concept) -> ConceptHead | None:
    """The concept's head, if it has one with views."""
    head = enrolled.heads.get(concept.id)
    return head if head is not None and len(head.views) else None


def same_words(concept: Concept, other: Concept) -> str:
    """Return a message that two concepts seem to be the same individual, with the command that merges them."""
    told = f"{other.name} looks like the same individual as {concept.name}, so that neither may be named."
    if concept.kind is other.kind:
        names = f"{shlex.quote(concept.name)} {shlex.quote(other.name)}"
        return f"{told} If they are one, run: myvlm concepts merge {names}"
    kinds = f"{concept.name} is a {concept.kind}, {other.name} a {other.kind}"
    return f"{told} {kinds}: if they are one, forget one of them"


def _plain_views_of(store: ConceptStore, config: RecogniserConfig, concept: Concept) -> np.ndarray | None:
    """The plain views (P, D) of a concept's head for the recogniser in use; None where it has none."""
    head = store.load_head(concept.id, config.head_id(concept.kind))
    if head is None or not len(head.views):
        return None
    return plain_views(head, config.augmentations)


def _same_likeness(config: RecogniserConfig, kind: Kind, mine: np.ndarray, theirs: np.ndarray) -> float | None:
    """How alike the means of two concepts are, if they seem to be one."""
    likeness = float(_unit(mine.mean(axis=0)) @ _unit(theirs.mean(axis=0)))
    return likeness if likeness >= _least(config.duplicate_threshold(kind), mine, theirs) else None


def find_shared(store: ConceptStore, concept: Concept, references: Sequence[Reference]) -> tuple[SharedPhoto, ...]:
    """Which of a concept's references are reference photos of other concepts, too."""
    own = {r.content_hash: r for r in references}
    return tuple(
        SharedPhoto(own[r.content_hash].path, other, _same_part(own[r.content_hash], r))
        for other in store.all()
        if other.id != concept.id
        for r in other.references
        if r.content_hash in own
    )


def _least(alike: float | None, mine: np.ndarray, theirs: np.ndarray) -> float:
    """How alike the means of two concepts are at least if these are the same individual."""
    if alike is not None:
        return alike
    if min(len(mine), len(theirs)) < 2:
        return np.inf
    return float(left_out_likeness(mine).mean() + left_out_likeness(theirs).mean()) / 2


def _same_part(a: Reference, b: Reference) -> bool:
    return a.box is None or b.box is None or iou(a.box, b.box) > _SAME_PART


def _unit(vector: np.ndarray) -> np.ndarray:
    found: np.ndarray = vector / max(float(np.linalg.norm(vector)), 1e-9)
    return found
