"""What all photos of a captioning run share, assembled once before the first photo."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engine.captioning.context import CaptionForms
from engine.captioning.explain_pictures import Pictures
from engine.captioning.rehearse import WrittenPhotos
from engine.captioning.requested_concepts import RequestedConcepts
from engine.captioning.speaking import Speaking
from engine.captioning.staleness import CacheKeys
from engine.captioning.unchanged import UnchangedPhotos
from engine.core.types import Concept, PhotoFacts
from engine.library.index import LibraryIndex
from engine.recognition.gallery import Gallery
from engine.sidecars.locate import Namer, Naming
from engine.sidecars.plan import SidecarOptions, UnrequestedConcepts
from engine.sidecars.writer import Writer
from engine.store.concepts import ConceptStore
from engine.vision.cached_extractor import CachedExtractor
from engine.vlms.in_use import VlmInUse
from engine.vlms.name_rules import NameRules
from engine.vlms.personalised import PersonalisedConcept
from engine.vlms.requests import CaptionForm


@dataclass(frozen=True)
class CaptionRequest:
    """What to caption and how.

    concepts: names; None for all enrolled concepts, () for none. only: remove the names of all other concepts that
    earlier runs wrote. explain: a folder for pictures of what each concept attends to and why it was recognised; photos
    that are up to date are captioned again for them. limit: how many photos to caption at most, not counting those that
    are up to date. library: the folder whose calibration to use. forms: of the captions.
    """

    concepts: tuple[str, ...] | None = None
    only: bool = False
    write: bool = True
    force: bool = False
    explain: Path | None = None
    naming: Naming = Naming()
    sidecars: SidecarOptions = SidecarOptions()
    limit: int | None = None
    library: Path | None = None
    forms: CaptionForms = CaptionForms()

    @property
    def may_reuse(self) -> bool:
        """Whether a caption that is up to date may stay."""
        return not (self.force or self.explain)


@dataclass(frozen=True)
class CaptionRun:
    """The values that all photos of a run share.

    writer: None if nothing is written. pictures: None if the run does not explain. sorts: whether photos with prompts
    of like length are described together, which a fast device gains from; results then come later. unchanged: what
    earlier runs of the same kind saw; None where every photo is read. written: photos of which the next run's results
    are still to be found out; None in a run that keeps none. index: what `myvlm search` finds; None if nothing is
    written.
    """

    request: CaptionRequest
    concepts: RequestedConcepts
    gallery: Gallery
    keys: CacheKeys
    vlm: VlmInUse
    extractor: CachedExtractor
    store: ConceptStore
    namer: Namer
    writer: Writer | None
    pictures: Pictures | None
    sorts: bool = False
    unchanged: UnchangedPhotos | None = None
    written: WrittenPhotos | None = None
    index: LibraryIndex | None = None

    @property
    def run_id(self) -> str:
        """The id of the run in sidecars and journal; "" if nothing is written."""
        return self.writer.run if self.writer else ""

    @cached_property
    def decode_edge(self) -> int | None:
        """The longer side, in pixels, to which photos may be reduced; None where something needs all their pixels.

        It is the recogniser's, so that features are those of a scan, if the VLM takes at most half as many pixels.
        """
        edge, of_vlm = self.extractor.edge, self.vlm.config.photo_edge
        is_enough = edge is not None and of_vlm is not None and edge >= 2 * of_vlm
        return edge if is_enough and self.pictures is None else None

    @cached_property
    def unrequested(self) -> UnrequestedConcepts:
        """The enrolled concepts whose names in sidecars stay."""
        enrolled = self.concepts.enrolled.concepts
        return UnrequestedConcepts.of(enrolled, enrolled if self.request.only else self.concepts.requested)

    @cached_property
    def requested_by_id(self) -> Mapping[str, Concept]:
        """The requested concepts by id."""
        return {c.id: c for c in self.concepts.requested}

    @cached_property
    def personalised(self) -> Mapping[str, PersonalisedConcept]:
        """The concepts that the VLM has learned, by id."""
        embeddings = self.concepts.embeddings
        return {
            c.id: PersonalisedConcept(c, embeddings[c.id])
            for c in self.concepts.enrolled.concepts
            if c.id in embeddings
        }

    @cached_property
    def enrolled_by_id(self) -> Mapping[str, Concept]:
        """All enrolled concepts by id."""
        return {c.id: c for c in self.concepts.enrolled.concepts}

    @cached_property
    def speaking(self) -> Speaking:
        """How the VLM is told of concepts."""
        return Speaking(self.vlm.config, self.vlm.speak, self.concepts.embeddings)

    def form_for(self, facts: PhotoFacts) -> CaptionForm:
        """The form of one photo's caption, with what the VLM is told of its date and place."""
        return self.request.forms.of(facts)

    @cached_property
    def name_rules(self) -> NameRules:
        """Which names captions may hold."""
        names = tuple(c.name for c in self.concepts.enrolled.concepts)
        strict, other_language = self.vlm.config.follows_instructions, bool(self.request.forms.form.language)
        return NameRules(names, strict=strict and not other_language, inflected=other_language)
