"""Caption photos with a loaded VLM: generate, check the names, generate again where they are wrong, repair.

A caption holds the name of every concept that was recognised, and no other name: not one of an enrolled concept that
was not recognised, and none that the VLM made up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from PIL import Image

from engine.core.errors import PhotoError
from engine.vlms.generate import encode, generate_texts, with_looks
from engine.vlms.generation import Generation
from engine.vlms.looks import find_unsure
from engine.vlms.name_rules import NameRules
from engine.vlms.personalised import GeneratedCaption, PersonalisedConcept, distinct, unwrap
from engine.vlms.repair import complete, count_repeated, drop_listed_repeats
from engine.vlms.requests import CaptionForm, caption_request, most_tokens

if TYPE_CHECKING:  # a VLM in a server needs no torch
    from engine.vlms.base import Encoded, Vlm


@dataclass(frozen=True)
class _Job:
    """One photo of a batch: its number in it, what the VLM is told of, and the caption's form and names."""

    number: int
    concepts: tuple[PersonalisedConcept, ...]
    form: CaptionForm
    rules: NameRules

    def faults(self, text: str) -> int:
        return self.rules.count_faults(text, unwrap(self.concepts))

    def wrong_names(self, text: str) -> tuple[str, ...]:
        return self.rules.wrong_names(text, unwrap(self.concepts))

    def without_wrong(self, text: str) -> str:
        return self.rules.without_wrong(text, unwrap(self.concepts), listed=self.form.style == "keywords")


def caption(
    vlm: Vlm,
    images: Sequence[Image.Image],
    concepts: Sequence[Sequence[PersonalisedConcept]],
    forms: Sequence[CaptionForm] | None = None,
    rules: Sequence[NameRules] | None = None,
) -> list[GeneratedCaption]:
    """Caption a batch of upright photos; concepts[i] are those recognised in photo i, none for the plain VLM.

    forms: of each photo's caption; None for the VLM's own. rules: which names each may hold besides.

    A caption with wrong or missing names is generated once more: with a request that insists on the names, or, where
    they are told by embeddings, in reverse order. Of the two, the caption with fewer faults is used. A caption that
    names one concept twice in a sentence, or still holds a name that must not be there, is replaced by the plain one;
    sentences of that which name anybody are removed. Names that are then missing are put in (`repair.complete`).

    Where a text does not tell apart who is named from another of their class, the VLM is told what they look like.
    """
    all_forms = forms or [CaptionForm()] * len(images)
    all_rules = rules or [NameRules()] * len(images)
    jobs = [
        _Job(i, tuple(distinct(c)), form, rule)
        for i, (c, form, rule) in enumerate(zip(concepts, all_forms, all_rules, strict=True))
    ]
    image_features = encode(vlm, images)
    texts = _generate_again(vlm, image_features, jobs, _generate(vlm, image_features, jobs))
    texts = _generate_with_looks(vlm, images, image_features, jobs, texts)
    finals = _replace_wrong(vlm, image_features, jobs, texts)
    return [_finish(job, final, text) for job, final, text in zip(jobs, finals, texts, strict=True)]


def _generate(vlm: Vlm, image_features: Encoded, jobs: Sequence[_Job], *, again: bool = False) -> list[Generation]:
    """Generate a caption for each job, without names that one list has twice."""
    texts: dict[int, Generation] = {}
    for limit in sorted({most_tokens(vlm.config, job.form) or 0 for job in jobs}):
        same = [job for job in jobs if (most_tokens(vlm.config, job.form) or 0) == limit]
        whole_batch = [job.number for job in same] == list(range(len(jobs))) and not again
        features = image_features if whole_batch else image_features.select([job.number for job in same])
        requests = [caption_request(vlm.config, job.concepts, job.form, again=again) for job in same]
        generated = generate_texts(vlm, features, [job.concepts for job in same], requests, limit or None)
        texts |= {job.number: text for job, text in zip(same, generated, strict=True)}
    said = [texts[job.number] for job in jobs]
    return [replace(t, text=drop_listed_repeats(t.text, unwrap(j.concepts))) for j, t in zip(jobs, said, strict=True)]


def _generate_again(
    vlm: Vlm, image_features: Encoded, jobs: Sequence[_Job], texts: Sequence[Generation]
) -> list[Generation]:
    """Generate captions with faulty names once more; returns the better texts."""
    best = list(texts)
    second = [
        replace(job, concepts=job.concepts[::-1])
        for job, text in zip(jobs, texts, strict=True)
        if job.faults(text.text) and (len(job.concepts) > 1 or any(c.box is not None for c in job.concepts))
    ]
    for job, other in zip(second, _try_again(vlm, image_features, second), strict=True):
        if other is not None and job.faults(other.text) < job.faults(best[job.number].text):
            best[job.number] = other
    return best


def _try_again(vlm: Vlm, image_features: Encoded, jobs: Sequence[_Job]) -> Sequence[Generation | None]:
    """Generate captions for some jobs again; None where a server gives no answer, so that the first text serves."""
    if not jobs:
        return []
    try:
        return _generate(vlm, image_features, jobs, again=True)
    except PhotoError:
        return [None] * len(jobs)


def _generate_with_looks(
    vlm: Vlm, images: Sequence[Image.Image], image_features: Encoded, jobs: Sequence[_Job], texts: Sequence[Generation]
) -> list[Generation]:
    """Generate captions once more where a name may be on another of its class, with what the named ones look like."""
    best = list(texts)
    second = []
    for job, text in zip(jobs, texts, strict=True):
        unsure = find_unsure(text.text, job.concepts) if job.form.style != "keywords" and not job.form.language else []
        described = tuple(with_looks(vlm, images[job.number], job.concepts, unsure)) if unsure else job.concepts
        if described != job.concepts:
            second.append(replace(job, concepts=described))
    for job, other in zip(second, _try_again(vlm, image_features, second), strict=True):
        if other is not None and job.faults(other.text) <= job.faults(best[job.number].text):
            best[job.number] = other
    return best


def _replace_wrong(
    vlm: Vlm, image_features: Encoded, jobs: Sequence[_Job], texts: Sequence[Generation]
) -> list[Generation]:
    """Replace captions that name one concept twice in a sentence, or hold a wrong name, by those of the plain VLM.

    Sentences that still hold a wrong name are removed.
    """
    kept = list(texts)
    wrong = [
        replace(job, concepts=())
        for job, text in zip(jobs, texts, strict=True)
        if count_repeated(text.text, unwrap(job.concepts)) or (job.concepts and job.wrong_names(text.text))
    ]
    for job, plain in zip(wrong, _try_again(vlm, image_features, wrong), strict=True):
        if plain is not None:
            kept[job.number] = plain
        elif count_repeated(kept[job.number].text, unwrap(jobs[job.number].concepts)):
            kept[job.number] = Generation("", capped=False)  # a caption that gives one name to two is not used
    return [replace(text, text=job.without_wrong(text.text)) for job, text in zip(jobs, kept, strict=True)]


def _finish(job: _Job, final: Generation, raw: Generation) -> GeneratedCaption:
    """Put in the display names and those that are missing. raw: the VLM's own text, before it was replaced."""
    text, repaired = complete(
        final.text,
        unwrap(job.concepts),
        english=not job.form.language,
        listed=job.form.style == "keywords",
        inflected=job.rules.inflected,
    )
    return GeneratedCaption(text.strip(), raw.text, repaired, job.wrong_names(raw.text), final.capped)
