"""Build the gallery of a run: a classifier for each group of enrolled heads, with the user's labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.core.types import Concept, Decision, Kind, RecognitionOptions
from engine.recognition.classifier import ConceptClassifier, check_paper_heads, open_set_classifier, paper_classifier
from engine.recognition.enrolled import EnrolledHeads, HeadGroup, groups_of, read_enrolled, require_head
from engine.recognition.feedback import UserLabels
from engine.store.calibrations import Calibrations
from engine.store.concepts import ConceptStore
from engine.store.heads import ConceptHead
from engine.vision.config import FaceQuality, RecogniserConfig


@dataclass(frozen=True)
class Gallery:
    """The classifiers that recognise concepts in photos, and the user's labels.

    The classifiers know all enrolled concepts of their group: one that was not requested is a rival, and a region that
    looks more like it does not get another's name. requested: concept ids. enrolled: what the
    classifiers were built of. quality: which faces may be named, None for
    all. bodies: names people whose face does not show. unrivalled: by group, the classifier that knows only requested
    concepts, where that makes a difference; it shows whom a rival displaces.
    """

    requested: frozenset[str]
    enrolled: EnrolledHeads = field(compare=False, repr=False)
    faces: ConceptClassifier | None
    regions: ConceptClassifier | None
    bodies: ConceptClassifier | None = None
    labels: UserLabels = field(default_factory=UserLabels)
    quality: FaceQuality | None = None
    unrivalled: Mapping[HeadGroup, ConceptClassifier] = field(default_factory=dict, compare=False)

    @property
    def heads(self) -> Mapping[str, ConceptHead]:
        """The heads of all enrolled concepts, by concept id."""
        return self.enrolled.heads

    @property
    def fingerprint(self) -> tuple[str, ...]:
        """Fingerprints of the classifiers; they differ where recognition may differ, and are stored."""
        return tuple(c.fingerprint for c in self.classifiers.values())

    @property
    def classifiers(self) -> dict[HeadGroup, ConceptClassifier]:
        """The classifiers by group, in the order in which they place concepts."""
        every = {HeadGroup.FACES: self.faces, HeadGroup.REGIONS: self.regions, HeadGroup.BODIES: self.bodies}
        return {group: c for group, c in every.items() if c is not None}

    @property
    def needs_faces(self) -> bool:
        """Whether faces have to be detected."""
        return self.faces is not None or self.bodies is not None

    @property
    def needs_regions(self) -> bool:
        """Whether regions have to be detected."""
        return self.regions is not None or self.bodies is not None

    def only(self, group: HeadGroup) -> "Gallery":
        """Return the gallery with one classifier, which looks for every concept that it knows."""
        classifier = self.classifiers[group]
        return replace(
            self,
            requested=frozenset(c.id for c in classifier.concepts),
            faces=classifier if group is HeadGroup.FACES else None,
            regions=classifier if group is HeadGroup.REGIONS else None,
            bodies=classifier if group is HeadGroup.BODIES else None,
            unrivalled={},
        )


def load_gallery(
    store: ConceptStore,
    config: RecogniserConfig,
    options: RecognitionOptions,
    requested: Sequence[Concept],
    library: Path | None = None,
) -> Gallery:
    """Read the store and build the gallery for recognising some concepts in photos under a folder.

    Raises:
        ConceptError: one of them has no head for the recogniser in use.
    """
    enrolled = read_enrolled(store, config, options, requested)
    decisions = store.decisions.all()
    return build_gallery(enrolled, requested, calibrations=store.calibrations, decisions=decisions, library=library)


def build_gallery(
    enrolled: EnrolledHeads,
    requested: Sequence[Concept],
    *,
    calibrations: Calibrations,
    decisions: Sequence[Decision],
    library: Path | None,
) -> Gallery:
    """Build the gallery for recognising some concepts in photos under a folder, which may have been calibrated.

    Raises:
        ConceptError: one of them has no head for the recogniser in use.
    """
    for concept in requested:
        require_head(enrolled.heads.get(concept.id), enrolled.config, concept)
    ids = frozenset(c.id for c in requested)
    classifiers: dict[HeadGroup, ConceptClassifier] = {}
    unrivalled: dict[HeadGroup, ConceptClassifier] = {}
    for group in _requested_groups(enrolled, requested):
        heads = enrolled.group(group)
        classifiers[group] = _classifier(enrolled, heads, calibrations, library)
        without_rivals = {c: h for c, h in heads.items() if c.id in ids}
        if group is not HeadGroup.BODIES and len(without_rivals) < len(heads):
            unrivalled[group] = _classifier(enrolled, without_rivals, calibrations, library)
    return Gallery(
        ids,
        enrolled,
        classifiers.get(HeadGroup.FACES),
        classifiers.get(HeadGroup.REGIONS),
        classifiers.get(HeadGroup.BODIES),
        UserLabels.of(decisions, enrolled.concepts),
        None if enrolled.options.paper_heads else enrolled.config.faces.gate,
        unrivalled,
    )


def _requested_groups(enrolled: EnrolledHeads, requested: Sequence[Concept]) -> list[HeadGroup]:
    """Return the groups whose classifiers are needed; that of bodies if the body of a requested person is known."""
    groups = groups_of(requested)
    bodies = {} if enrolled.options.paper_heads else enrolled.group(HeadGroup.BODIES)
    if any(c.kind is Kind.PERSON and c in bodies for c in requested):
        groups.append(HeadGroup.BODIES)
    return groups


def _classifier(
    enrolled: EnrolledHeads, heads: Mapping[Concept, ConceptHead], calibrations: Calibrations, library: Path | None
) -> ConceptClassifier:
    """Return the classifier of some heads, with the calibration that fits them and the folder best."""
    if enrolled.options.paper_heads:
        check_paper_heads(heads)
        return paper_classifier(heads)
    known = {c: h for c, h in heads.items() if len(h.views)}
    calibration = calibrations.pick(enrolled.model_of(known), enrolled.digest_of(known), library) if known else None
    return open_set_classifier(enrolled.config, heads, calibration, calibrations.fits)
