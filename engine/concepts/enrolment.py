"""The result of enrolling a concept, compared with its own photos and with other concepts."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from engine.concepts.concept_warnings import ConceptWarning, WarningCode, warn_of_same
from engine.concepts.drawn_photos import recogniser_knows
from engine.concepts.object_heads import Negatives
from engine.concepts.reference_crops import PhotoFinding
from engine.concepts.similarity import LikelySame, SharedPhoto, find_odd, find_same, find_shared, plain_views
from engine.core.types import Concept
from engine.recognition.explain.nearest import references_of
from engine.store.concepts import ConceptStore
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.config import RecogniserConfig


@dataclass(frozen=True)
class Enrolment:
    """A finished enrolment.

    added, kept, replaced: how many reference photos are new, stayed, and were dropped; negatives: how many negative
    features the head was trained with; odd: references that do not look like the others; same_as: other concepts that
    seem to be this individual; shared: references that other concepts have, too; warnings: about these and others.
    """

    concept: Concept
    findings: tuple[PhotoFinding, ...]
    kind_guessed: bool
    category_guessed: bool
    negatives: int
    warnings: tuple[ConceptWarning, ...] = ()
    negatives_from: Negatives = field(default_factory=Negatives)
    added: int = 0
    kept: int = 0
    replaced: int = 0
    odd: tuple[Path, ...] = ()
    same_as: tuple[LikelySame, ...] = ()
    shared: tuple[SharedPhoto, ...] = ()


def compare_enrolment(store: ConceptStore, extractor: CachedExtractor, enrolment: Enrolment) -> Enrolment:
    """Compare the concept's photos with one another and with other concepts, and add what that shows."""
    concept, config = store.get(enrolment.concept.name), extractor.config
    compared = replace(
        enrolment,
        concept=concept,
        odd=_odd_photos(store, extractor, concept),
        same_as=find_same(store, config, concept),
        shared=find_shared(store, concept, concept.references),
    )
    return replace(compared, warnings=_all_warnings(config, compared))


def _odd_photos(store: ConceptStore, extractor: CachedExtractor, concept: Concept) -> tuple[Path, ...]:
    """Return the reference photos that do not look like the others."""
    config = extractor.config
    head = store.load_head(concept.id, config.head_id(concept.kind))
    if head is None or not recogniser_knows(config, concept):
        return ()
    paths = {r.content_hash: r.path for r in concept.references}
    flags = find_odd(plain_views(head, config.augmentations), config.duplicate_threshold(concept.kind))
    contents = references_of(store, extractor, concept, head)
    return tuple(paths[contents[n]] for n in np.flatnonzero(flags).tolist() if contents.get(n) in paths)


def _all_warnings(config: RecogniserConfig, enrolment: Enrolment) -> tuple[ConceptWarning, ...]:
    """Return the warnings of an enrolment: about the photos, the training, and other concepts."""
    concept, warnings = enrolment.concept, []
    if len(concept.references) < 3:
        warnings.append(ConceptWarning(WarningCode.FEW_REFERENCES, concept))
    if not recogniser_knows(config, concept):
        warnings.append(ConceptWarning(WarningCode.DRAWN_PHOTOS_ONLY, concept, model=config.name))
    warnings += enrolment.warnings
    warnings += (ConceptWarning(WarningCode.UNLIKE_THE_OTHERS, concept, path=path) for path in enrolment.odd)
    warnings += (warn_of_same(s.concept, concept) for s in enrolment.same_as)
    same = [s.concept for s in enrolment.same_as]
    warnings += (
        ConceptWarning(WarningCode.SHARED_PHOTO, concept, (s.concept,), path=s.path)
        for s in enrolment.shared
        if s.same_part and s.concept not in same
    )
    return tuple(warnings)
