"""Variations of training captions: by the VLM itself where it can, kept, and forgotten with the concept."""

import sqlite3
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sqlite_utils import Database

from engine.store.migrations import migrations
from engine.training.captions import REPHRASE, accept_variation
from engine.training.optimiser import EmbeddingTrainer, TrainingExample
from engine.training.train import plan
from engine.vlms.base import Generation
from engine.vlms.config import Training
from engine.vlms.find import find_config
from tests.learned import use_copy

CAPTION = "sks is asleep on the old sofa."


@pytest.fixture
def session(learned_folder, tmp_path, monkeypatch):
    """A session whose VLM is said to be able to rephrase."""
    found = use_copy(learned_folder, tmp_path, monkeypatch)
    monkeypatch.setitem(found.__dict__, "vlm_config", replace(found.vlm_config, variations="lm"))
    return found


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (' "sks is sleeping on the old sofa." ', "sks is sleeping on the old sofa."),
        ("On the old sofa, sks is asleep.", "On the old sofa, sks is asleep."),
        ("sks is asleep on the old sofa", None),  # the same
        ("A dog is asleep on the old sofa.", None),  # the identifier is gone
        ("sks is asleep on the old sofa of sks.", None),  # twice
        ("sksy is asleep on the old sofa.", None),
        ("sks sleeps.", None),  # too short
        ("Here is your caption, with as few changes as possible: sks is asleep on the old sofa.", None),
        ("sks is asleep\non the old couch.", None),
        ("", None),
    ],
)
def test_only_small_variations_with_the_identifier_are_taken(said, kept):
    assert accept_variation(said, CAPTION, "sks") == kept


def test_who_rephrases():
    assert len(REPHRASE) == 4
    assert find_config("llava-1.6").variations == "lm"
    assert find_config("storybook").variations == "templates"


def parrot(session, monkeypatch, say):
    """Let the VLM's answers to requests to rephrase come from `say(caption)`; counts them."""
    asked, encode, generate = [], session.vlm.encode_prompt, session.vlm.generate

    def encode_prompt(request):
        return request if "keeping the word" in request or "never the word" in request else encode(request)

    def answer(rows, ids, max_new_tokens=None):
        if not isinstance(ids[0], str):
            return generate(rows, ids, max_new_tokens)
        asked.extend(ids)
        return [Generation(say(i, text.partition(": ")[2]), False) for i, text in enumerate(ids)]

    monkeypatch.setattr(session.vlm, "encode_prompt", encode_prompt)
    monkeypatch.setattr(session.vlm, "generate", answer)
    return asked


def test_the_vlm_rephrases_once_and_templates_fill_up(session, monkeypatch):
    asked = parrot(session, monkeypatch, lambda i, text: text.replace(" is ", " sits ") if i < 2 else "nonsense")
    concept = session.store.get("Rex")
    first = plan(session, concept)
    assert len(asked) == 4 * 4
    assert all("sks" in request for request in asked)
    for _, texts in first.captions:
        assert texts[1] == texts[0].replace(" is ", " sits ")  # said twice, taken once
        assert texts[2].startswith("In this picture, ")
        assert len(set(texts)) == len(texts) == 4  # the storybook has two templates
    assert plan(session, concept).captions == first.captions
    assert len(asked) == 4 * 4, "asked again"


def test_what_is_kept_goes_when_the_concept_is_forgotten(session, monkeypatch):
    parrot(session, monkeypatch, lambda i, text: text.replace(" is ", " sits "))
    plan(session, session.store.get("Rex"))
    count = "select count(*) from variations"
    with sqlite3.connect(session.store.path) as db:
        assert db.execute(count).fetchone() == (4,)
    session.store.forget("Rex")
    with sqlite3.connect(session.store.path) as db:
        assert db.execute(count).fetchone() == (0,)


def test_another_photo_vlm_or_caption_is_asked_for_anew(session):
    concept, store = session.store.get("Rex"), session.store
    store.save_variations(concept, "hash", "vlm", "r1", "sks sits.", ("sks rests.",))
    assert store.load_variations(concept, "hash", "vlm", "r1", "sks sits.") == ("sks rests.",)
    for other in (
        ("x", "vlm", "r1", "sks sits."),
        ("hash", "x", "r1", "sks sits."),
        ("hash", "vlm", "r2", "sks sits."),
    ):
        assert store.load_variations(concept, *other) is None
    assert store.load_variations(concept, "hash", "vlm", "r1", "sks stands.") is None


def test_a_store_of_the_first_release_is_brought_up_to_date(home):
    from engine.store.concepts import ConceptStore

    home.mkdir(exist_ok=True)
    db = Database(home / "store.db")
    migrations.apply(db, stop_before="m002_variations")
    assert "variations" not in db.table_names()
    db.execute("insert into concepts values ('a', 'Rex', 'rex', 'pet', 'dog', 'sks', 1, 'now')")
    db.conn.commit()
    db.conn.close()
    store = ConceptStore(home)
    store.save_variations(store.get("Rex"), "h", "v", "r", "c", ("t",))
    assert store.load_variations(store.get("Rex"), "h", "v", "r", "c") == ("t",)


@pytest.mark.parametrize("views", [0, 2])
@pytest.mark.parametrize("augment", [True, False])
def test_photos_are_augmented_unless_the_settings_say_no(augment, views):
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    seen = []

    class Stop(Exception):
        pass

    def preprocess(images):
        seen.extend(images)
        raise Stop

    vlm = SimpleNamespace(width=4, device="cpu", preprocess=preprocess, encode=None, encode_example=lambda *turn: turn)
    settings = Training(augment=augment, views=views)
    trainer = EmbeddingTrainer(vlm, [TrainingExample(image, ("sks.",))], "say", settings, 0)
    with pytest.raises(Stop):
        next(trainer.run())
    assert (seen[0] is image) != augment
