"""The shipped VLMs, each as its own family loads it: they see, they name a learned concept, they locate it."""

import numpy as np
import pytest

from engine.benchmarks.benchmark import draw_subjects, draw_tests
from engine.core.boxes import iou
from engine.core.paths import STORYBOOK
from engine.core.types import Concept, Kind
from engine.photos.decode import load_photo
from engine.session import Session, SessionOptions
from engine.training.captions import vary, with_identifier
from engine.training.optimiser import EmbeddingTrainer, TrainingExample
from engine.vlms import captions, generate
from engine.vlms.personalised import PersonalisedConcept
from engine.vlms.wording import has_word

VLMS = ("storybook", "storybook-blip2", "storybook-minigpt")
SEED = 77


def test_all_files_together_stay_small():
    assert sum(p.stat().st_size for p in STORYBOOK.rglob("*") if p.is_file()) <= 32 * 2**20


@pytest.fixture(scope="module", params=VLMS)
def learned(request, tmp_path_factory):
    """A VLM, a drawn individual, its learned embedding, and photos of it that training did not see."""
    folder = tmp_path_factory.mktemp("drawn")
    session = Session(SessionOptions(vlm=request.param, device="cpu"), folder / "home")
    subject = draw_subjects(folder / "training", SEED, 1)[0]
    vlm, config = session.vlm, session.vlm_config
    identifier = config.identifiers["person" if subject.kind is Kind.PERSON else "thing"][0]
    texts = [with_identifier(subject.captions[p.path.name], (subject.name,), identifier) for p in subject.photos]
    examples = [
        TrainingExample(load_photo(p.path).image, vary(text, identifier, config.openings))
        for p, text in zip(subject.photos, texts, strict=True)
    ]
    trainer = EmbeddingTrainer(vlm, examples, config.request("caption_of", (identifier,)), config.training, SEED)
    for _ in trainer.run():
        pass
    concept = Concept("x", subject.name, subject.kind, subject.who.category, identifier, 1)
    tests = [t for t in draw_tests(folder / "tests", subject, 0, SEED, 2) if t.subject]
    return vlm, PersonalisedConcept(concept, trainer.result().numpy()), tests


def test_it_sees_what_is_there_and_names_nobody(learned):
    vlm, known, tests = learned
    said = captions.caption(vlm, [load_photo(t.photo.path).image for t in tests], [[] for _ in tests])
    right = [has_word(s.text, t.photo.scene.characters[t.index].who.category) for s, t in zip(said, tests, strict=True)]
    assert np.mean(right) >= 0.75
    assert not any(known.concept.identifier in s.text for s in said)


def test_a_learned_concept_is_named_in_photos_never_seen(learned):
    vlm, known, tests = learned
    said = captions.caption(vlm, [load_photo(t.photo.path).image for t in tests], [[known]] * len(tests))
    assert np.mean([has_word(s.raw, known.concept.identifier) for s in said]) >= 0.75
    assert all(has_word(s.text, known.concept.name) for s in said)


def test_the_vlm_boxes_the_concept_where_it_can(learned):
    vlm, known, tests = learned
    if "refer" not in vlm.config.requests:
        pytest.skip(f"{vlm.config.name} does not answer with boxes")
    alone = [t for t in tests if t.split == "one"]
    boxes = generate.refer(vlm, [load_photo(t.photo.path).image for t in alone], [known] * len(alone))
    assert np.mean([iou(b, t.photo.boxes[t.index]) if b else 0.0 for b, t in zip(boxes, alone, strict=True)]) > 0.5
