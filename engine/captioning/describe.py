"""Let the VLM describe the photos of a run, and explain why concepts were recognised in them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from engine.captioning.caption_run import CaptionRun
from engine.captioning.explain_pictures import Explainer, ExplanationPictures
from engine.captioning.photo_steps import PhotoInRun, make_record
from engine.captioning.results import PhotoResult
from engine.core.batches import batched
from engine.core.errors import PhotoError
from engine.core.notes import Note, NoteCode
from engine.core.types import PhotoFacts, Status
from engine.photos.decode import Photo
from engine.vlms.name_rules import words_of
from engine.vlms.personalised import GeneratedCaption, PersonalisedConcept
from engine.vlms.requests import CaptionForm, caption_request


@dataclass(frozen=True)
class _Pending:
    """A photo that the VLM has to describe. number: its place among the items."""

    number: int
    item: PhotoInRun
    photo: Photo
    concepts: Sequence[PersonalisedConcept]
    form: CaptionForm


def describe(run: CaptionRun, items: Sequence[PhotoInRun], batch_size: int) -> list[PhotoInRun]:
    """Let the VLM caption the decoded photos that have no record yet; of more than a batch, like ones together."""
    done = list(items)
    pending = [
        _Pending(n, i, i.photo, _tell(run, i, i.photo.facts), run.form_for(i.photo.facts))
        for n, i in enumerate(items)
        if i.photo is not None and i.record is None
    ]
    if len(pending) > batch_size:
        pending.sort(key=lambda p: _prompt_size(run, p))
    for batch in batched(pending, batch_size):
        for p, described in zip(batch, _describe_batch(run, batch), strict=True):
            done[p.number] = described
    return done


def _prompt_size(run: CaptionRun, pending: _Pending) -> tuple[int, ...]:
    """Return by what prompts of like length are found: pixels where they decide the tokens, then words and rows."""
    config = run.vlm.config
    width, height = pending.photo.image.size
    shape = (width * height, width) if config.anyres or config.chat else ()
    words = len(caption_request(config, pending.concepts, pending.form))
    return (*shape, words, sum(len(c.vector) for c in pending.concepts if c.vector is not None))


def _describe_batch(run: CaptionRun, pending: Sequence[_Pending]) -> list[PhotoInRun]:
    """Let the VLM caption some photos together, and explain them, if the run does."""
    from engine.vlms import captions

    started = time.monotonic()
    rules = [replace(run.name_rules, allowed=words_of([p.form.context])) for p in pending]

    def ask(some: Sequence[int]) -> list[GeneratedCaption]:
        chosen = [pending[i] for i in some]
        return captions.caption(
            run.vlm.model,
            [p.photo.image for p in chosen],
            [p.concepts for p in chosen],
            [p.form for p in chosen],
            [rules[i] for i in some],
        )

    generated = run.vlm.ask_by_photo(len(pending), ask)
    drawings = _explain(run, [p.item for p in pending], [p.photo for p in pending], run.personalised)
    share = (time.monotonic() - started) / len(pending)
    done = []
    for p, caption, drawing in zip(pending, generated, drawings, strict=True):
        item = _with_caption(run, p.item, p.photo, caption, drawing)
        done.append(item if item.record is None else replace(item, seconds=p.item.seconds + share))
    return done


def _tell(run: CaptionRun, item: PhotoInRun, facts: PhotoFacts) -> list[PersonalisedConcept]:
    """Return the concepts of a photo that the VLM is told of, and how."""
    return run.speaking.tell(run.enrolled_by_id, item.matches or (), (facts.width, facts.height))


def _with_caption(
    run: CaptionRun,
    item: PhotoInRun,
    photo: Photo,
    caption: GeneratedCaption | PhotoError,
    drawing: ExplanationPictures,
) -> PhotoInRun:
    """Add a generated caption to a photo.

    An empty one is a failure, as is an error in its place; but where all of it was taken out, because it named somebody
    who was not recognised, the photo gets names only.
    """
    if isinstance(caption, PhotoError):
        failed = PhotoResult.failed(item.file.path, PhotoError(f"{item.file.path}: {caption}"))
        return replace(item, result=replace(failed, facts=photo.facts))
    result = PhotoResult(
        item.file.path,
        Status.OK,
        repaired=caption.repaired,
        pictures=drawing.pictures,
        explanations=drawing.explanations,
    )
    if not caption.text.strip() and not caption.removed:
        reason = f"{item.file.path}: the VLM said nothing"
        return replace(item, result=replace(result, status=Status.FAILED, facts=photo.facts, reason=reason))
    put_in = (Note(NoteCode.NAME_PUT_IN, (name,)) for name in caption.repaired)
    taken_out = (Note(NoteCode.NAME_TAKEN_OUT, (name,)) for name in caption.removed)
    cut = (Note(NoteCode.CUT_SHORT),) if caption.capped else ()
    notes = (*photo.notes, *put_in, *taken_out, *cut, *map(Note.parse, drawing.notes))
    return replace(item, record=make_record(run, item, photo.facts, caption.text.strip() or None, notes), result=result)


def explain_names_only(run: CaptionRun, items: list[PhotoInRun]) -> list[PhotoInRun]:
    """Add pictures of why concepts were recognised to the photos that no VLM describes, if the run explains."""
    if run.pictures is None:
        return items
    done = []
    for item in items:
        if item.photo is not None and item.record is not None:
            (drawing,) = _explain(run, [item], [item.photo], {})
            result = item.result or PhotoResult(item.file.path, Status.OK)
            result = replace(result, pictures=drawing.pictures, explanations=drawing.explanations)
            item = replace(item, result=result)
        done.append(item)
    return done


def _explain(
    run: CaptionRun,
    items: Sequence[PhotoInRun],
    photos: Sequence[Photo],
    known: Mapping[str, PersonalisedConcept],
) -> list[ExplanationPictures]:
    """Draw why the requested concepts were recognised in some photos, and what each attends to in the VLM."""
    if run.pictures is None:
        return [ExplanationPictures()] * len(photos)
    requested = run.requested_by_id
    recognised = [[requested[m.concept_id] for m in i.matches or () if m.concept_id in requested] for i in items]
    explainer = Explainer(run.store, run.extractor, run.vlm, run.gallery, run.pictures)
    return [explainer.explain(photo, concepts, known) for photo, concepts in zip(photos, recognised, strict=True)]
