"""Read all enrolled concepts with their heads from the store, once for a run."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from engine.core.errors import ConceptError
from engine.core.files import sha256_of
from engine.core.types import Concept, Kind, RecognitionOptions
from engine.store.concepts import ConceptStore
from engine.store.heads import BodyHead, ConceptHead, FeatureKind, HeadKind
from engine.vision.config import RecogniserConfig
from engine.vision.feature_bank import load_bank, load_face_bank

METHOD = 4
"""Version of pair features and fit; raise it when either changes, so that libraries are calibrated again."""


class HeadGroup(StrEnum):
    """Heads that one classifier compares with each other. The values are those of the calibration's JSON output."""

    FACES = "people"
    REGIONS = "things"
    BODIES = "bodies"  # people's bodies, with pets and things as their rivals


@dataclass(frozen=True)
class EnrolledHeads:
    """All enrolled concepts, by name, and what one recogniser knows of them.

    heads: by concept id, faces of people and regions of pets and things; a concept without a head for the recogniser is
    missing. bodies: by the ids of people, empty if the options do not allow bodies. fingerprints: of the stored heads,
    by concept id and encoder id.
    """

    config: RecogniserConfig
    options: RecognitionOptions
    concepts: tuple[Concept, ...]
    heads: Mapping[str, ConceptHead]
    bodies: Mapping[str, BodyHead]
    fingerprints: Mapping[tuple[str, str], str]

    @property
    def recognisable(self) -> tuple[Concept, ...]:
        """The concepts that have a head for the recogniser."""
        return tuple(c for c in self.concepts if c.id in self.heads)

    def group(self, group: HeadGroup) -> dict[Concept, ConceptHead]:
        """Return the heads of a group, by the names of their concepts; the group of bodies needs at least one body."""
        if group is HeadGroup.FACES:
            return {c: self.heads[c.id] for c in self.recognisable if c.kind is Kind.PERSON}
        if group is HeadGroup.REGIONS:
            return {c: self.heads[c.id] for c in self.recognisable if c.kind is not Kind.PERSON}
        rows = ((c, (self.bodies if c.kind is Kind.PERSON else self.heads).get(c.id)) for c in self.concepts)
        found = {c: head for c, head in rows if head is not None and len(head.views)}
        return found if any(c.kind is Kind.PERSON for c in found) else {}

    def with_views(self, group: HeadGroup) -> dict[Concept, ConceptHead]:
        """Return the heads of a group that have views: those that open-set scores and calibrations are for."""
        return {c: head for c, head in self.group(group).items() if len(head.views)}

    def digest_of(self, heads: Mapping[Concept, ConceptHead]) -> str:
        """Return the digest under which a calibration of some of the heads is stored."""
        known = self._digests.get(_keys(heads))
        return self._digest(heads) if known is None else known

    @cached_property
    def _digests(self) -> Mapping[frozenset[tuple[str, str]], str]:
        """The digests of the whole groups, computed once."""
        groups = (self.with_views(group) for group in HeadGroup)
        return {_keys(heads): self._digest(heads) for heads in groups if heads}

    def _digest(self, heads: Mapping[Concept, ConceptHead]) -> str:
        keys = ((c.id, h.encoder) for c, h in heads.items())
        return gallery_digest(self.config, {key[0]: self.fingerprints[key] for key in keys})

    def model_of(self, heads: Mapping[Concept, ConceptHead]) -> str:
        """Return the model id under which a calibration of some of the heads is stored."""
        return model_of(self.config, self.options, heads)


def _keys(heads: Mapping[Concept, ConceptHead]) -> frozenset[tuple[str, str]]:
    return frozenset((c.id, h.encoder) for c, h in heads.items())


def read_enrolled(
    store: ConceptStore,
    config: RecogniserConfig,
    options: RecognitionOptions,
    requested: Sequence[Concept] | None = None,
) -> EnrolledHeads:
    """Read every enrolled concept and its heads for a recogniser.

    requested: read only the heads that these concepts are compared with, so that a damaged head of a pet does not stop
    a command about a person; None reads all heads.
    """
    concepts = store.all()
    people = {c.kind is Kind.PERSON for c in (concepts if requested is None else requested)}
    needed = people | ({False} if options.allow_body and True in people else set())  # bodies have things as rivals
    heads: dict[str, ConceptHead] = {}
    bodies: dict[str, BodyHead] = {}
    for concept in concepts:
        if (concept.kind is Kind.PERSON) not in needed:
            continue
        head = store.load_head(concept.id, config.head_id(concept.kind))
        if head is not None:
            heads[concept.id] = head
        body = store.load_head(concept.id, config.id) if options.allow_body and concept.kind is Kind.PERSON else None
        if isinstance(body, BodyHead):
            bodies[concept.id] = body
    encoders = {concept.id: {config.head_id(concept.kind), config.id} for concept in concepts}
    fingerprints = {(c.id, e): store.head_fingerprint(c, e) for c in concepts for e in encoders[c.id]}
    return EnrolledHeads(config, options, concepts, heads, bodies, fingerprints)


def gallery_digest(config: RecogniserConfig, fingerprints: Mapping[str, str]) -> str:
    """Digest a set of enrolled heads, given by concept id, and what else their thresholds depend on.

    The result is stored with calibrations. The texts `Gate` and `Usual` with their fields are the format of the
    digested text and stay, whatever the classes are called.
    """
    quality = config.faces.gate
    gate = (
        f"Gate(min_side={quality.min_side!r}, min_sharpness={quality.min_sharpness!r}, max_turn={quality.max_turn!r})"
    )
    priors = ", ".join(
        f"{kind!r}: Usual(level={p.level!r}, sway={p.max_shift!r}, floor={p.floor_ratio!r})"
        for kind, p in config.open_set.items()
    )
    banks = [load_bank(config).digest, load_face_bank(config).digest]
    text = f"({METHOD!r}, {sorted(fingerprints.items())!r}, {gate}, {{{priors}}}, {banks!r})"
    text += repr(sorted(config.scoring.items())) if config.scoring else ""
    return sha256_of(text.encode())[:24]


def features_kind(heads: Mapping[Concept, ConceptHead]) -> Kind:
    """Return the kind whose features a group's heads are of: a person for faces, a thing for regions and bodies."""
    return Kind.PERSON if next(iter(heads.values())).features is FeatureKind.FACES else Kind.THING


def model_of(config: RecogniserConfig, options: RecognitionOptions, heads: Mapping[Concept, ConceptHead]) -> str:
    """Return the model id under which a group's heads are calibrated.

    It depends on whether bodies are allowed, because the requested rate is then shared among more classifiers.
    """
    model = config.head_id(features_kind(heads))
    bodies = any(h.kind is HeadKind.BODY for h in heads.values())
    return model + ("+beside-bodies" if options.allow_body else "") + ("+bodies" if bodies else "")


def load_head(store: ConceptStore, config: RecogniserConfig, concept: Concept) -> ConceptHead:
    """Load a concept's head for the recogniser in use.

    Raises:
        ConceptError: it has none.
    """
    return require_head(store.load_head(concept.id, config.head_id(concept.kind)), config, concept)


def require_head(head: ConceptHead | None, config: RecogniserConfig, concept: Concept) -> ConceptHead:
    """Return a concept's head.

    Raises:
        ConceptError: it has none for the recogniser in use.
    """
    if head is None:
        raise ConceptError(
            f"{concept.name!r} was enrolled with another recogniser than {config.name}",
            hint="Run myvlm add-concept again with the same photos and the VLM you want to use.",
        )
    return head


def recognisable(store: ConceptStore, config: RecogniserConfig) -> tuple[Concept, ...]:
    """Return the concepts that have a head for the recogniser in use; no head is read."""
    return tuple(c for c in store.all() if store.has_head(c.id, config.head_id(c.kind)))


def can_recognise(store: ConceptStore, config: RecogniserConfig, concept: Concept) -> bool:
    """Return whether a concept can be looked for in photos.

    A concept with references can; one that was imported can if a head for this recogniser came with it.
    """
    return bool(concept.references) or store.has_head(concept.id, config.head_id(concept.kind))


def check_recognisable(store: ConceptStore, config: RecogniserConfig, concept: Concept) -> None:
    """Make sure that a concept can be looked for in photos.

    Raises:
        ConceptError: it was imported without a head for this recogniser.
    """
    if not can_recognise(store, config, concept):
        raise ConceptError(
            f"{concept.name!r} cannot be recognised: it was imported without a head for {config.name}",
            hint="Give it photos with myvlm add-concept, or import its head.",
        )


def groups_of(concepts: Iterable[Concept], kinds: Collection[Kind] = tuple(Kind)) -> list[HeadGroup]:
    """Return the groups, faces and regions, that some concepts of some kinds are in."""
    people = {c.kind is Kind.PERSON for c in concepts if c.kind in kinds}
    return [g for g in (HeadGroup.FACES, HeadGroup.REGIONS) if (g is HeadGroup.FACES) in people]
