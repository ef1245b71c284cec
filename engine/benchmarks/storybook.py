"""`myvlm evaluate`: the whole road, measured on storybook concepts and scenes that nothing was trained on."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from engine.benchmarks.benchmark import SPLITS, STRANGERS, Subject, Test, draw_subjects, draw_tests
from engine.benchmarks.statistics import Figure, mean, proportion
from engine.captioning.answer import answer_question
from engine.captioning.caption import CaptionRequest, caption_photos
from engine.concepts.enrol import enrol
from engine.core.boxes import iou
from engine.core.types import Concept, Kind, PhotoResult
from engine.photos.decode import load_photo
from engine.recognition.recognise import load_head
from engine.session import Session, SessionOptions
from engine.store.concepts import Embedding
from engine.storybook.world.attributes import OBJECTS, PEOPLE
from engine.storybook.world.language import PLACE_PHRASES, questions
from engine.training.train import train_concept
from engine.vision.cached_extractor import find_faces, find_regions
from engine.vlms.wording import has_word

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What to measure: `photos` test photos per concept and split."""

    seed: int = 0
    concepts: int = 10
    photos: int = 5
    steps: int | None = None
    captions: str = "given"  # given: with the training photos, as in the paper; written: by the VLM


@dataclass
class _Tallies:
    """Observations by figure, then by split or kind."""

    hits: dict[str, dict[str, list[bool]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    values: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))

    def hit(self, figure: str, keys: Sequence[str], value: bool) -> None:
        for key in keys:
            self.hits[figure][key].append(value)

    def value(self, figure: str, keys: Sequence[str], value: float) -> None:
        for key in keys:
            self.values[figure][key].append(value)


def evaluate(settings: Settings, choices: SessionOptions, tell: Tell) -> dict[str, Any]:
    """Run the benchmark in a temporary store; the same seed gives the same document on a CPU."""
    with TemporaryDirectory(prefix="myvlm-evaluate-") as name:
        folder = Path(name)
        session = Session(choices, folder / "home")
        subjects = draw_subjects(folder / "training", settings.seed, settings.concepts)
        learned = _learn_all(session, subjects, settings, folder, tell)
        tests = [
            t
            for i, s in enumerate(subjects)
            for t in draw_tests(folder / "tests", s, i, settings.seed, settings.photos)
        ]
        tell(f"{len(tests)} test photos")
        tallies = _Tallies()
        _measure_captions(session, tests, subjects, tallies)
        tell("captions measured")
        _measure_answers(session, tests, settings.seed, tallies)
        _measure_heads(session, tests, subjects, tallies)
        return _document(settings, session, learned, tallies)


def _learn_all(
    session: Session, subjects: Sequence[Subject], settings: Settings, folder: Path, tell: Tell
) -> list[dict[str, Any]]:
    learned = []
    for subject in subjects:
        done = enrol(session, subject.name, [p.path for p in subject.photos], seed=settings.seed)
        guess = {"kind_right": done.concept.kind == subject.kind, "category": subject.who.category}
        learned.append(
            {"name": subject.name, "kind": str(subject.kind), **guess, "category_guess": done.concept.category}
        )
    for subject, facts in zip(subjects, learned, strict=True):
        path = folder / "captions.json"
        path.write_text(json.dumps(subject.captions))
        concept = session.store.get(subject.name)
        given = path if settings.captions == "given" else None
        for event in train_concept(session, concept, captions=given, steps=settings.steps, seed=settings.seed):
            if isinstance(event, Embedding):
                facts["loss"] = round(event.loss, 4)
        tell(f"{subject.name}: {subject.who.category}, loss {facts['loss']:.3f}")
    return learned


def _measure_captions(session: Session, tests: Sequence[Test], subjects: Sequence[Subject], tallies: _Tallies) -> None:
    paths = [t.photo.path for t in tests]
    named = list(caption_photos(session, paths, CaptionRequest(write=False)))
    plain = list(caption_photos(session, paths, CaptionRequest(concepts=(), write=False)))
    names = [s.name for s in subjects]
    for test, with_names, without in zip(tests, named, plain, strict=True):
        present = {test.subject.name} if test.subject else set()
        false = [m.name for m in with_names.matches if m.name not in present]
        tallies.value("false_names_per_1000", [test.split, "all"], 1000.0 * len(false))
        if not with_names.matches:
            tallies.hit("unpersonalised_identical", ["all"], with_names.caption == without.caption)
        if test.subject:
            _measure_positive(test, test.subject, with_names, without, names, tallies)


def _measure_positive(
    test: Test, subject: Subject, named: PhotoResult, plain: PhotoResult, names: Sequence[str], tallies: _Tallies
) -> None:
    keys = [test.split, str(subject.kind)]
    said = has_word(named.caption or "", subject.name) and subject.name not in named.repaired
    tallies.hit("recall", keys, said)
    match = next((m for m in named.matches if m.name == subject.name), None)
    if match:
        tallies.hit("recall_when_recognised", keys, said)
        truth = test.photo.faces[test.index] if subject.kind is Kind.PERSON else test.photo.boxes[test.index]
        assert truth is not None
        tallies.value("box_iou", keys, iou(match.box, truth))
    for figure, result in (("", named), ("_plain", plain)):
        text = result.caption or ""
        for hit in _context(test, text):
            tallies.hit(f"context_accuracy{figure}", [test.split], hit)
        if len(test.photo.scene.characters) > 1:
            tallies.hit(f"companion_accuracy{figure}", [test.split], _companion_right(test, text))


def _context(test: Test, text: str) -> tuple[bool, bool]:
    """Whether a caption has the right place, and the right object (or none when there is none)."""
    scene = test.photo.scene
    place = PLACE_PHRASES[scene.place] in text.lower().replace(".", "")
    held = {c.holds for c in scene.characters if c.holds}
    return place, {o for o in OBJECTS if has_word(text, o)} == held


def _companion_right(test: Test, text: str) -> bool:
    """Whether a caption says the category and the colour (hair colour) of who is beside the subject."""
    other = test.photo.scene.characters[1 - test.index].who
    color = other.hair_color if other.category in PEOPLE else other.color  # type: ignore[union-attr]
    return has_word(text, other.category) and has_word(text, color)


def _measure_answers(session: Session, tests: Sequence[Test], seed: int, tallies: _Tallies) -> None:
    for i, test in enumerate(t for t in tests if t.subject):
        assert test.subject is not None
        rng = np.random.default_rng((seed, i))
        asked = questions(test.photo.scene, test.index, test.subject.name)
        question, truth = asked[int(rng.integers(len(asked)))]
        for reply in answer_question(session, [test.photo.path], question):
            if reply.answer is not None and not reply.absent:
                tallies.hit("vqa_accuracy", [test.split, str(test.subject.kind)], reply.answer == truth)


def _measure_heads(session: Session, tests: Sequence[Test], subjects: Sequence[Subject], tallies: _Tallies) -> None:
    """Try every head alone: on its own photos, and on strangers drawn against it."""
    for subject in subjects:
        concept = session.store.get(subject.name)
        for test in tests:
            if test.subject is subject:
                tallies.hit("head", ["recall", f"recall_{subject.kind}"], _fires(session, concept, test))
            elif test.against is subject:
                tallies.hit("head", [f"false_{test.split}"], _fires(session, concept, test))


def _fires(session: Session, concept: Concept, test: Test) -> bool:
    from engine.recognition.assignment import face_scores
    from engine.recognition.linear_head import LinearHead

    photo = load_photo(test.photo.path)
    head = load_head(session, concept)
    if concept.kind is Kind.PERSON:
        faces = find_faces(session, [photo], keep=True)[0]
        if not faces:
            return False
        return bool(
            face_scores(np.stack([f.embedding for f in faces]), [head.tensors["templates"]]).max() >= head.threshold
        )
    found = find_regions(session, [photo], keep=True)[0]
    linear = LinearHead(head.tensors["weight"], head.tensors["bias"], float(head.facts["scale"]))
    return bool(linear.scores(found.features).max() >= head.threshold)


def _document(settings: Settings, session: Session, learned: list[dict[str, Any]], tallies: _Tallies) -> dict[str, Any]:
    figures: dict[str, dict[str, Figure]] = {
        name: {key: proportion(v) for key, v in by.items()} for name, by in tallies.hits.items()
    }
    figures |= {name: {key: mean(v) for key, v in by.items()} for name, by in tallies.values.items()}
    ordered = {k: figures[k] for k in sorted(figures)}
    return {
        "benchmark": "storybook",
        "settings": vars(settings),
        "vlm": {"id": session.vlm_id, "revision": session.vlm_revision},
        "recogniser": session.recogniser_config.name,
        "splits": list(SPLITS),
        "strangers": list(STRANGERS),
        "concepts": learned,
        **{name: {key: f.document() for key, f in by.items()} for name, by in ordered.items()},
    }
