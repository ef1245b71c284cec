"""Run `myvlm evaluate`: all of myvlm, from photos to answers, on storybook concepts and scenes not used in training."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from engine.benchmarks.benchmark import SPLITS, STRANGERS, BenchmarkPhoto, Subject, draw_subjects, draw_tests
from engine.benchmarks.statistics import Estimate, mean, proportion
from engine.benchmarks.workers import Notify
from engine.captioning.answer import answer_question
from engine.captioning.caption import caption_photos
from engine.captioning.caption_run import CaptionRequest
from engine.captioning.results import PhotoResult
from engine.concepts.enrol import enrol
from engine.core.boxes import iou
from engine.core.types import Concept, Kind
from engine.photos.decode import load_photo
from engine.recognition.enrolled import load_head
from engine.session import Session, SessionOptions
from engine.store.concepts import Embedding
from engine.store.heads import ObjectHead
from engine.storybook.world.attributes import OBJECTS
from engine.storybook.world.individuals import main_color
from engine.storybook.world.language import PLACE_PHRASES, questions
from engine.training.train import train_concept
from engine.vlms.wording import has_word


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark; photos: test photos per concept and split."""

    seed: int = 0
    concepts: int = 10
    photos: int = 5
    steps: int | None = None
    captions: str = "given"  # "given": the world's own, as the paper has given captions; "written": by the VLM


@dataclass
class _Observations:
    """Observations by figure, then by split or kind: hits for shares, values for means."""

    hits: dict[str, dict[str, list[bool]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    values: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))

    def hit(self, figure: str, keys: Sequence[str], value: bool) -> None:
        for key in keys:
            self.hits[figure][key].append(value)

    def value(self, figure: str, keys: Sequence[str], value: float) -> None:
        for key in keys:
            self.values[figure][key].append(value)


def evaluate(settings: Settings, choices: SessionOptions, notify: Notify) -> dict[str, Any]:
    """Run the benchmark in a temporary store; the same seed gives the same document on a CPU."""
    with TemporaryDirectory(prefix="myvlm-evaluate-") as name:
        folder = Path(name)
        session = Session(choices, folder / "home")
        subjects = draw_subjects(folder / "training", settings.seed, settings.concepts)
        learned = _learn_all(session, subjects, settings, folder, notify)
        tests = [
            t
            for i, s in enumerate(subjects)
            for t in draw_tests(folder / "tests", s, i, settings.seed, settings.photos)
        ]
        notify(f"{len(tests)} test photos")
        observations = _Observations()
        _measure_captions(session, tests, subjects, observations)
        notify("captions measured")
        _measure_answers(session, tests, settings.seed, observations)
        _measure_heads(session, tests, subjects, observations)
        vlm = {"id": session.vlm_id, "revision": session.vlm_revision}
        models = {"vlm": vlm, "recogniser": session.recogniser_config.name}
        return _document(settings, models, learned, observations)


def _learn_all(
    session: Session, subjects: Sequence[Subject], settings: Settings, folder: Path, notify: Notify
) -> list[dict[str, Any]]:
    """Enrol all subjects, then train them; returns what was guessed of each, and its loss, as JSON data."""
    learned: list[dict[str, Any]] = []
    for subject in subjects:
        concept = enrol(session, subject.name, [p.path for p in subject.photos], seed=settings.seed).concept
        facts: dict[str, Any] = {"name": subject.name, "kind": str(subject.kind)}
        facts |= {"kind_right": concept.kind == subject.kind, "category": subject.who.category}
        learned.append({**facts, "category_guess": concept.category})
    for subject, facts in zip(subjects, learned, strict=True):
        path = folder / "captions.json"
        path.write_text(json.dumps(subject.captions))
        concept = session.store.get(subject.name)
        given = path if settings.captions == "given" else None
        for event in train_concept(session, concept, captions=given, steps=settings.steps, seed=settings.seed):
            if isinstance(event, Embedding):
                facts["loss"] = round(event.loss, 4)
        notify(f"{subject.name}: {subject.who.category}, loss {facts['loss']:.3f}")
    return learned


def _measure_captions(
    session: Session, tests: Sequence[BenchmarkPhoto], subjects: Sequence[Subject], observations: _Observations
) -> None:
    paths = [t.photo.path for t in tests]
    named = list(caption_photos(session, paths, CaptionRequest(write=False)))
    plain = list(caption_photos(session, paths, CaptionRequest(concepts=(), write=False)))
    names = [s.name for s in subjects]
    for test, with_names, without in zip(tests, named, plain, strict=True):
        present = {test.subject.name} if test.subject else set()
        false = [m.name for m in with_names.matches if m.name not in present]
        observations.value("false_names_per_1000", [test.split, "all"], 1000.0 * len(false))
        if not with_names.matches:
            observations.hit("unpersonalised_identical", ["all"], with_names.caption == without.caption)
        if test.subject:
            _measure_positive(test, test.subject, with_names, without, names, observations)


def _measure_positive(
    test: BenchmarkPhoto,
    subject: Subject,
    named: PhotoResult,
    plain: PhotoResult,
    names: Sequence[str],
    observations: _Observations,
) -> None:
    keys = [test.split, str(subject.kind)]
    has_name = has_word(named.caption or "", subject.name) and subject.name not in named.repaired
    observations.hit("recall", keys, has_name)
    match = next((m for m in named.matches if m.name == subject.name), None)
    if match:
        observations.hit("recall_when_recognised", keys, has_name)
        true_box = test.photo.faces[test.index] if subject.kind is Kind.PERSON else test.photo.boxes[test.index]
        if true_box is not None:
            observations.value("box_iou", keys, iou(match.box, true_box))
    for figure, result in (("", named), ("_plain", plain)):
        text = result.caption or ""
        for hit in _has_right_context(test, text):
            observations.hit(f"context_accuracy{figure}", [test.split], hit)
        if len(test.photo.scene.characters) > 1:
            observations.hit(f"companion_accuracy{figure}", [test.split], _has_right_companion(test, text))


def _has_right_context(test: BenchmarkPhoto, text: str) -> tuple[bool, bool]:
    """Tell whether a caption has the right place, and whether it has exactly the right objects."""
    scene = test.photo.scene
    place = PLACE_PHRASES[scene.place] in text.lower().replace(".", "")
    held = {c.holds for c in scene.characters if c.holds}
    return place, {o for o in OBJECTS if has_word(text, o)} == held


def _has_right_companion(test: BenchmarkPhoto, text: str) -> bool:
    """Tell whether a caption has the category and the (hair) colour of the character beside the subject."""
    other = test.photo.scene.characters[1 - test.index].who
    return has_word(text, other.category) and has_word(text, main_color(other))


def _measure_answers(session: Session, tests: Sequence[BenchmarkPhoto], seed: int, observations: _Observations) -> None:
    """Ask one question about each photo that shows a subject; an answer is right if it equals the true one."""
    for i, (test, subject) in enumerate((t, t.subject) for t in tests if t.subject):
        rng = np.random.default_rng((seed, i))
        pairs = questions(test.photo.scene, test.index, subject.name)
        question, truth = pairs[int(rng.integers(len(pairs)))]
        for reply in answer_question(session, [test.photo.path], question):
            if reply.answer is not None and not reply.absent:
                observations.hit("vqa_accuracy", [test.split, str(subject.kind)], reply.answer == truth)


def _measure_heads(
    session: Session, tests: Sequence[BenchmarkPhoto], subjects: Sequence[Subject], observations: _Observations
) -> None:
    """Apply each head alone to its concept's photos, and to the strangers drawn to be mistaken for it."""
    for subject in subjects:
        concept = session.store.get(subject.name)
        for test in tests:
            if test.subject is subject:
                observations.hit("head", ["recall", f"recall_{subject.kind}"], _fires(session, concept, test))
            elif test.against is subject:
                observations.hit("head", [f"false_{test.split}"], _fires(session, concept, test))


def _fires(session: Session, concept: Concept, test: BenchmarkPhoto) -> bool:
    from engine.recognition.assignment import face_scores
    from engine.recognition.linear_head import LinearHead

    photo = load_photo(test.photo.path)
    head = load_head(session.store, session.recogniser_config, concept)
    if not isinstance(head, ObjectHead):
        faces = session.extractor.find_faces([photo], keep=True)[0]
        if not faces:
            return False
        scores = face_scores(np.stack([f.embedding for f in faces]), [head.views])
        return bool(scores.max() >= head.threshold)
    regions = session.extractor.find_regions([photo], keep=True)[0]
    linear = LinearHead(head.weight, head.bias, head.scale)
    return bool(linear.scores(regions.features).max() >= head.threshold)


def _document(
    settings: Settings, models: dict[str, Any], learned: list[dict[str, Any]], observations: _Observations
) -> dict[str, Any]:
    figures: dict[str, dict[str, Estimate]] = {
        name: {key: proportion(v) for key, v in by.items()} for name, by in observations.hits.items()
    }
    figures |= {name: {key: mean(v) for key, v in by.items()} for name, by in observations.values.items()}
    ordered = {k: figures[k] for k in sorted(figures)}
    return {
        "benchmark": "storybook",
        "settings": vars(settings),
        **models,
        "splits": list(SPLITS),
        "strangers": list(STRANGERS),
        "concepts": learned,
        **{name: {key: f.document() for key, f in by.items()} for name, by in ordered.items()},
    }
