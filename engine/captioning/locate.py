"""Locate a concept: the box of the region in which it was recognised, or the VLM's own."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.captioning.located_copies import draw_copy, drawing_path
from engine.core.batches import in_batches
from engine.core.boxes import Box
from engine.core.errors import NotTrainedError, PhotoError
from engine.core.paths import common_folder
from engine.core.types import Concept, Match, Status
from engine.photos.decode import Photo, PhotoFile, decode_photo, read_photo
from engine.photos.picture_size import read_size
from engine.recognition.enrolled import check_recognisable
from engine.recognition.gallery import Gallery, load_gallery
from engine.recognition.recognise import look_up, recognise
from engine.session import Session
from engine.store.concepts import ConceptStore
from engine.vision.cached_extractor import CachedExtractor

if TYPE_CHECKING:
    from engine.captioning.explain_pictures import Explainer
    from engine.vlms.in_use import VlmInUse
    from engine.vlms.personalised import PersonalisedConcept

_BATCH = 8
"""Photos that are recognised at a time, where no VLM is asked."""
Method = Literal["regions", "refer"]
_WITHOUT_REFER = "Leave out --method refer: recognition gives a box without a VLM."


@dataclass(frozen=True)
class LocateResult:
    """Where a concept is in one photo.

    match: None if the concept was not recognised or the photo failed. box: in pixels of the upright photo; None also if
    the VLM named no place. pictures: what the concept attends to, and why it was recognised.
    """

    path: Path
    status: Status
    match: Match | None = None
    box: Box | None = None
    size: tuple[int, int] | None = None  # of the upright photo, pixels
    drawing: Path | None = None
    reason: str | None = None
    seconds: float = 0.0
    pictures: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def locate_concept(
    session: Session,
    name: str,
    paths: Sequence[Path],
    *,
    draw: Path | None = None,
    method: Method = "regions",
    explain: Path | None = None,
) -> Iterator[LocateResult]:
    """Locate a concept in photos, in order. The photos themselves are never changed.

    draw: where copies with the box drawn go: a folder, or a file for a single photo. method: "refer" asks the VLM for
    the box, in photos in which the concept was recognised. explain: a folder for pictures of what the concept attends
    to, and of why it was recognised.

    Raises:
        ConceptError: the concept is unknown, or cannot be recognised with this recogniser.
        NotTrainedError: it was never trained for this VLM, and the VLM's own box is asked for.
        UsageError: `draw` names a file that is no drawing of ours, or the VLM does not answer with boxes.
        NoVlmError: the VLM's own box is asked for, and there is no VLM, or one that knows the drawn world only while a
            photo was not drawn.
    """
    if method == "refer":
        check_vlm(session, paths)
    concept = session.store.get(name)
    check_recognisable(session.store, session.recogniser_config, concept)
    gallery = load_gallery(
        session.store, session.recogniser_config, session.recognition, [concept], common_folder(paths)
    )
    refine = _make_refinement(session, gallery, concept, method, explain)
    needs_pixels = bool(draw) or method == "refer" or explain is not None
    drawn: set[Path] = set()
    session.cache.has_any("", ())  # opens the cache before the reader threads use it

    def read(path: Path) -> Photo | LocateResult:
        return _read(session.extractor, gallery, path, needs_pixels=needs_pixels)

    for items in in_batches(paths, read, session.vlm_config.batch if method == "refer" else _BATCH):
        located = refine.refine(items, _locate(session.extractor, gallery, items))
        for photo, location in zip(items, located, strict=True):
            if draw and isinstance(photo, Photo) and location.box and location.match:
                target = drawing_path(draw, photo.path, len(paths), drawn)
                drawn.add(target)
                draw_copy(photo, location.box, location.match.name, target)
                location = replace(location, drawing=target)
            yield location


def _make_refinement(
    session: Session, gallery: Gallery, concept: Concept, method: Method, explain: Path | None
) -> "_Refinement":
    """Return what is added to each result; without the VLM's boxes and pictures no VLM is looked for."""
    if method != "refer" and explain is None:
        return _Refinement(concept, {}, None, None)
    from engine.captioning.explain_pictures import Explainer, Pictures

    vlm = session.vlm_in_use
    known = _load_personalised(session.store, vlm, concept, method)
    pictures = Pictures(explain) if explain else None
    explainer = Explainer(session.store, session.extractor, vlm, gallery, pictures) if pictures else None
    return _Refinement(concept, known, vlm if method == "refer" else None, explainer)


def check_vlm(session: Session, paths: Sequence[Path]) -> None:
    """Check that there is a VLM, that it can be used, and that it knows all of the photos.

    Raises:
        UsageError: `--vlm none` asks for none, or photos would leave this machine.
        NoVlmError: there is none; or it knows the drawn world only, and a photo was not drawn.
        WeightsMissingError, EnvironmentFault: those of `ChosenModels.check_weights`.
    """
    from engine.captioning.names_only import check_drawn

    session.models.check_has_vlm()
    session.models.check_weights()
    if session.vlm_config.world:
        check_drawn(session.vlm_in_use, paths, way_out=_WITHOUT_REFER)


def _load_personalised(
    store: ConceptStore, vlm: "VlmInUse", concept: Concept, method: Method
) -> "dict[str, PersonalisedConcept]":
    """Load the concept as the VLM has learned it, by its id; where it has not, pictures of attention are left out.

    Raises:
        NotTrainedError: the VLM has not learned it and cannot be told of it by name, and the VLM's own box is
            requested.
    """
    from engine.captioning.speaking import Speaking
    from engine.vlms import generate
    from engine.vlms.personalised import PersonalisedConcept

    if method == "refer":
        generate.check_refers(vlm.config)
    elif not vlm.exists:
        return {}
    can_be_told = Speaking(vlm.config, vlm.speak, {}).way(concept.id) is not None
    try:
        vector = store.load_embedding(concept, vlm.id, vlm.revision).vector
    except NotTrainedError:
        if method == "refer" and not can_be_told:
            raise
        return {}
    return {concept.id: PersonalisedConcept(concept, vector)}


@dataclass(frozen=True)
class _Refinement:
    """What is added for photos in which the concept was recognised. vlm: gives its own box; None leaves the region.
    explainer: draws pictures; None draws none.
    """

    concept: Concept
    known: "dict[str, PersonalisedConcept]"
    vlm: "VlmInUse | None"
    explainer: "Explainer | None"

    def refine(self, batch: Sequence[Photo | LocateResult], located: Sequence[LocateResult]) -> list[LocateResult]:
        """Add the VLM's boxes and the pictures to the results of a batch."""
        started = time.monotonic()
        results = list(located)
        recognised = [(i, p) for i, p in enumerate(batch) if isinstance(p, Photo) and located[i].match]
        if not recognised or (self.vlm is None and self.explainer is None):
            return results
        if self.vlm is not None:
            matches = [match for i, _ in recognised if (match := located[i].match)]
            for i, box in self._boxes(self.vlm, recognised, matches):
                results[i] = _with_box(results[i], box)
        if self.explainer is not None:
            for i, photo in recognised:
                drawing = self.explainer.explain(photo, [self.concept], self.known)
                results[i] = replace(results[i], pictures=drawing.pictures, notes=drawing.notes)
        share = (time.monotonic() - started) / len(recognised)
        for i, _ in recognised:
            results[i] = replace(results[i], seconds=results[i].seconds + share)
        return results

    def _tell(self, vlm: "VlmInUse", photo: Photo, match: Match) -> "PersonalisedConcept":
        """Tell the VLM of the concept: by its embedding where there is one, else by its name and rough place."""
        from engine.captioning.speaking import Speaking

        known = self.known.get(self.concept.id)
        if known is not None and vlm.speak != "names":
            return known
        speaking, size = Speaking(vlm.config, "names", {}), (photo.facts.width, photo.facts.height)
        told = speaking.tell_one(self.concept, speaking.way(self.concept.id), match.box, size) or known
        if told is None:
            raise RuntimeError(f"{self.concept.name} has no embedding, and {vlm.config.name} takes no names")
        return told

    def _boxes(
        self, vlm: "VlmInUse", photos: Sequence[tuple[int, Photo]], matches: Sequence[Match]
    ) -> Iterator[tuple[int, Box | PhotoError | None]]:
        """Yield the VLM's own box in pixels of each photo with the photo's number; None where it names no place."""
        from engine.vlms import generate

        told = [self._tell(vlm, photo, match) for (_, photo), match in zip(photos, matches, strict=True)]

        def ask(some: Sequence[int]) -> list[Box | None]:
            return generate.refer(vlm.model, [photos[i][1].image for i in some], [told[i] for i in some])

        for (i, photo), box in zip(photos, vlm.ask_by_photo(len(photos), ask), strict=True):
            yield i, photo.in_photo(box) if isinstance(box, Box) else box


def _with_box(result: LocateResult, box: Box | PhotoError | None) -> LocateResult:
    """Return the result with the VLM's own box, or with the reason why there is none."""
    if isinstance(box, PhotoError):
        return replace(result, box=None, status=Status.FAILED, reason=f"{result.path}: {box}")
    if box is None:
        return replace(result, box=None, status=Status.SKIPPED, reason="recognised, but not located by the VLM")
    return replace(result, box=box, status=Status.OK)


def _read(extractor: CachedExtractor, gallery: Gallery, path: Path, *, needs_pixels: bool) -> Photo | LocateResult:
    """Find the concept in a photo that the cache knows; else, or where its pixels are needed, decode the photo."""
    try:
        file = read_photo(path)
        known = None if needs_pixels else _look_up(extractor, gallery, file)
        return known or decode_photo(file, edge=None if needs_pixels else extractor.edge)
    except PhotoError as err:
        return LocateResult(path, Status.FAILED, reason=str(err))


def _look_up(extractor: CachedExtractor, gallery: Gallery, file: PhotoFile) -> LocateResult | None:
    """Find the concept in a photo that the cache knows; no pixel is decoded."""
    started = time.monotonic()
    size = read_size(file)
    if size is None:
        return None
    recognition = look_up(extractor, file.content_hash, gallery, Box(0.0, 0.0, float(size[0]), float(size[1])))
    if recognition is None:
        return None
    return _result(file.path, recognition.matches, size, time.monotonic() - started)


def _locate(extractor: CachedExtractor, gallery: Gallery, batch: Sequence[Photo | LocateResult]) -> list[LocateResult]:
    """Find the region in which the concept is recognised, in each photo of a batch."""
    started = time.monotonic()
    photos = [p for p in batch if isinstance(p, Photo)]
    matches = iter(recognise(extractor, photos, gallery))
    share = (time.monotonic() - started) / max(1, len(photos))
    return [
        item
        if isinstance(item, LocateResult)
        else _result(item.path, next(matches), (item.facts.width, item.facts.height), share)
        for item in batch
    ]


def _result(path: Path, matches: Sequence[Match], size: tuple[int, int], seconds: float) -> LocateResult:
    match = next(iter(matches), None)
    reason = None if match else "not recognised in this photo"
    status = Status.OK if match else Status.SKIPPED
    return LocateResult(path, status, match, match.box if match else None, size, reason=reason, seconds=seconds)
