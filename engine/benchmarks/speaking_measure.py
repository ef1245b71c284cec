"""Measure the ways in which a VLM is told of concepts: by name in the prompt, by an embedding, by both.

The concepts are given: recognition takes no part.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.benchmarks.caption_correctness import has_right_objects, has_right_place, names_concept_and_companions
from engine.benchmarks.cases import CONCEPT, Case, Item, to_box
from engine.benchmarks.drawn_cases import CrowdPhoto
from engine.benchmarks.experiments import Measurement
from engine.benchmarks.generation import BATCH
from engine.benchmarks.generation_experiments import draw_questions
from engine.benchmarks.settings import FULL
from engine.benchmarks.train_case import train_embedding
from engine.captioning.speaking import Speaking, Way
from engine.core.boxes import Box
from engine.core.types import Concept, Kind
from engine.photos.decode import load_photo
from engine.storybook.world.individuals import Individual
from engine.vlms.config import VlmConfig
from engine.vlms.wording import has_word

if TYPE_CHECKING:
    from PIL.Image import Image

    from engine.vlms.base import Vlm
    from engine.vlms.personalised import PersonalisedConcept

WAYS: tuple[Way, ...] = ("names", "embedding", "both")


@dataclass(frozen=True)
class Learned:
    """A drawn concept as the VLM knows it: vector (1, D) float32."""

    case: Case
    who: Individual
    concept: Concept
    vector: np.ndarray


@dataclass(frozen=True)
class _Given:
    """A validation photo with the concept that the VLM is told of; box: in pixels of the photo."""

    learned: Learned
    item: Item
    box: Box


def ways_of(config: VlmConfig) -> tuple[Way, ...]:
    """Return the ways in which a VLM can be told of concepts."""
    return WAYS if config.naming else ("embedding",)


def learn(vlm: "Vlm", cases: Sequence[Case], who: Sequence[Individual], seed: int, steps: int | None) -> list[Learned]:
    """Train every case's embedding under an identifier of its own."""
    learned: list[Learned] = []
    for case, individual in zip(cases, who, strict=True):
        kind = case.kind or Kind.THING
        used = {known.concept.identifier for known in learned}
        words = vlm.config.identifiers["person" if kind is Kind.PERSON else "thing"]
        word = next(w for w in words if w not in used)
        vector = train_embedding(vlm, case, FULL, seed=seed, steps=steps, identifier=word).vector
        learned.append(Learned(case, individual, Concept(case.name, case.name, kind, case.category, word, 1), vector))
    return learned


def measure_speaking(vlm: "Vlm", learned: Sequence[Learned], crowds: Sequence[CrowdPhoto], seed: int) -> Measurement:
    """Measure captions, captions without looks, wrongly given concepts, answers, and several concepts in a photo."""
    measured: Measurement = {key: [] for key in ("captions", "class_word", "strangers", "answers", "crowds")}
    given, strangers = list(_validation(learned)), list(_strangers(learned))
    for way in ways_of(vlm.config):
        measured["captions"] += _captions(vlm, way, given)
        measured["strangers"] += _captions(vlm, way, strangers)
        if vlm.config.answers:
            measured["answers"] += _answers(vlm, way, given, seed)
        measured["crowds"] += _crowds(vlm, way, learned, crowds)
        if way != "embedding":
            measured["class_word"] += _class_word_only(vlm, way, given)
    return measured


def _validation(learned: Sequence[Learned]) -> Iterator[_Given]:
    for known in learned:
        for item in known.case.validation:
            corners = item.truth.face or item.truth.frame
            if corners:
                yield _Given(known, item, to_box(corners))


def _strangers(learned: Sequence[Learned]) -> Iterator[_Given]:
    """Yield photos without the concept that is told of, as after a false recognition of the photo's middle."""
    for known in learned:
        for item in known.case.strangers:
            width, height = load_photo(item.path).image.size
            yield _Given(known, item, Box(0.25 * width, 0.25 * height, 0.75 * width, 0.75 * height))


def _tell(vlm: "Vlm", way: Way, known: Learned, box: Box, size: tuple[int, int]) -> "PersonalisedConcept":
    speaking = Speaking(vlm.config, way, {known.concept.id: known.vector})
    told = speaking.tell_one(known.concept, way, box, size)
    if told is None:
        raise ValueError(f"{vlm.config.name} cannot be told {way}")
    return told


def _captions(vlm: "Vlm", way: Way, given: Sequence[_Given]) -> list[dict[str, Any]]:
    from engine.vlms import captions

    rows = []
    for batch, images, told in _in_batches(vlm, way, given):
        results = captions.caption(vlm, images, told)
        rows += [_judge(way, g, result.raw) for g, result in zip(batch, results, strict=True)]
    return rows


def _in_batches(
    vlm: "Vlm", way: Way, given: Sequence[_Given]
) -> "Iterator[tuple[Sequence[_Given], list[Image], list[list[PersonalisedConcept]]]]":
    """Yield batches of photos with their pictures, and how the VLM is told of the concept in each."""
    for start in range(0, len(given), BATCH):
        batch = given[start : start + BATCH]
        images = [load_photo(g.item.path).image for g in batch]
        yield batch, images, [[_tell(vlm, way, g.learned, g.box, i.size)] for g, i in zip(batch, images, strict=True)]


def _class_word_only(vlm: "Vlm", way: Way, given: Sequence[_Given]) -> list[dict[str, Any]]:
    """Caption with one request, which has the class word and no look."""
    from engine.vlms.generate import encode, generate_texts
    from engine.vlms.requests import caption_request

    rows = []
    for batch, images, told in _in_batches(vlm, way, given):
        texts = generate_texts(vlm, encode(vlm, images), told, [caption_request(vlm.config, t) for t in told])
        rows += [_judge(way, g, said.text) for g, said in zip(batch, texts, strict=True)]
    return rows


def _judge(way: Way, given: _Given, text: str) -> dict[str, Any]:
    truth, word = given.item.truth, given.learned.concept.identifier
    beside = [category for category, _ in truth.others]
    return {
        "id": truth.id,
        "split": truth.split,
        "way": way,
        "same": given.learned.case.category in beside,
        "text": text,
        "named": has_word(text, word),
        "right": names_concept_and_companions(truth, text, word),
        "context": has_right_place(truth, text) and has_right_objects(truth, text),
    }


def _answers(vlm: "Vlm", way: Way, given: Sequence[_Given], seed: int) -> list[dict[str, Any]]:
    """Ask two questions about each photo; an answer is right when it equals the true one, word for word."""
    from engine.vlms.generate import answer

    asked = [(g, q, a) for n, g in enumerate(given) for q, a in draw_questions(g.item, (seed, n))]
    rows = []
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        images = [load_photo(g.item.path).image for g, _, _ in batch]
        told = [[_tell(vlm, way, g.learned, g.box, i.size)] for (g, _, _), i in zip(batch, images, strict=True)]
        questions = [q.replace(CONCEPT, g.learned.concept.name) for g, q, _ in batch]
        for (g, question, truth), reply in zip(batch, answer(vlm, images, told, questions), strict=True):
            right = reply.text == truth.replace(CONCEPT, g.learned.concept.name)
            facts = {"id": g.item.truth.id, "split": g.item.truth.split, "way": way}
            rows.append({**facts, "question": question.replace(CONCEPT, "X"), "right": right})
    return rows


def _crowds(vlm: "Vlm", way: Way, learned: Sequence[Learned], crowds: Sequence[CrowdPhoto]) -> list[dict[str, Any]]:
    """Caption photos of one to four concepts, all of them told: the VLM's own words, and the checked caption."""
    from engine.vlms import captions

    by_name = {known.concept.name: known for known in learned}
    rows = []
    for start in range(0, len(crowds), BATCH):
        batch = crowds[start : start + BATCH]
        images = [load_photo(c.photo.path).image for c in batch]
        told = [
            [_tell(vlm, way, by_name[n], _box_in(c, by_name[n]), image.size) for n in c.names]
            for c, image in zip(batch, images, strict=True)
        ]
        for crowd, result in zip(batch, captions.caption(vlm, images, told), strict=True):
            own = [n for n, known in by_name.items() if has_word(result.raw, known.concept.identifier)]
            checked = [n for n in by_name if has_word(result.text, n)]
            rows.append({"way": way, "present": sorted(crowd.names), "own": own, "checked": checked})
    return rows


def _box_in(crowd: CrowdPhoto, known: Learned) -> Box:
    """Return the box by which recognition would tell of a concept: a person's face, else the whole figure."""
    index = next(i for i, c in enumerate(crowd.photo.scene.characters) if c.who == known.who)
    return crowd.photo.faces[index] or crowd.photo.boxes[index]
