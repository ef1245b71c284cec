"""Adding photos to known concepts, taking single ones away, and comparing concepts with one another."""

import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.concepts.enrol import enrol
from engine.concepts.remove_photos import remove_photos
from engine.concepts.similarity import find_odd, find_same_pairs
from engine.core.errors import NoUsablePhotoError, UsageError
from engine.core.types import Kind
from engine.photos.decode import load_photo
from engine.recognition.displaced import displaced_words
from engine.recognition.enrolled import read_enrolled
from engine.recognition.gallery import load_gallery
from engine.recognition.recognise import recognise_all
from engine.session import Session, SessionOptions
from engine.store.heads import ObjectHead
from engine.storybook.album import ANNA, REX
from engine.storybook.photos import save_photo
from engine.storybook.world.individuals import draw_individual
from engine.storybook.world.scenes import compose
from engine.training.train import Need, training_need
from tests.learned import draw_album

MUG = draw_individual(np.random.default_rng(8), "mug")


def draw(folder, who, count, seed=50, **scene):
    rng = np.random.default_rng(seed)
    paths = [folder / f"{who.category}_{seed}_{k}.jpg" for k in range(count)]
    for path in paths:
        save_photo(compose(rng, (who,), **scene), path)
    return paths


def head_of(session, name):
    concept = session.store.get(name)
    return session.store.load_head(concept.id, session.recogniser_config.head_id(concept.kind))


def paths_of(session, name):
    return [r.path for r in session.store.get(name).references]


@pytest.mark.parametrize(("name", "who"), [("Rex", REX), ("anna", ANNA)])
def test_photos_of_a_known_name_are_added(session, tmp_path, name, who):
    before, views = session.store.get(name), head_of(session, name)
    (path,) = draw(tmp_path, who, 1)
    done = enrol(session, name, [path])
    assert (done.added, done.kept, done.replaced) == (1, 4, 0)
    assert done.concept.references == (*before.references, done.concept.references[-1])
    assert done.concept.references[-1].path == path
    assert (done.concept.identifier, done.concept.name) == (before.identifier, before.name)
    kind = "templates" if who is ANNA else "views"
    earlier, now = views.encode()[0][kind], head_of(session, name).encode()[0][kind]
    assert np.array_equal(now[: len(earlier)], earlier)
    assert len(now) == len(earlier) * 5 // 4
    assert not done.warnings


def test_known_photos_change_nothing(session):
    before, head = session.store.get("Rex"), head_of(session, "Rex")
    done = enrol(session, "Rex", paths_of(session, "Rex"))
    assert (done.added, done.kept) == (0, 4)
    assert {(f.used, f.known) for f in done.findings} == {(True, True)}
    assert session.store.get("Rex") == before
    assert head_of(session, "Rex").encode()[1] == head.encode()[1]


def test_nothing_is_lost_when_the_earlier_photos_and_the_cache_are_gone(session, tmp_path):
    enrol(session, "Mug", draw(tmp_path / "old", MUG, 3))
    before = head_of(session, "Mug").encode()[0]["views"]
    (tmp_path / "old").rename(tmp_path / "moved")
    session.cache.clear()
    done = enrol(session, "Mug", draw(tmp_path / "new", MUG, 1, 51))
    assert len(done.concept.references) == 4
    assert np.array_equal(head_of(session, "Mug").encode()[0]["views"][: len(before)], before)
    again = enrol(session, "Mug", [tmp_path / "moved"])
    assert (again.added, again.kept) == (0, 4)
    assert {p.parent for p in paths_of(session, "Mug")[:3]} == {tmp_path / "moved"}, "where they are now"


@pytest.mark.parametrize("forgotten", ["head", "head and photos"])
def test_what_a_head_lacks_is_looked_at_again(session, tmp_path, forgotten):
    """As after enrolling with another recogniser, or a kill between references and head."""
    concept = enrol(session, "Mug", draw(tmp_path / "old", MUG, 3)).concept
    session.store.drop_head(concept, session.recogniser_config.id)
    if forgotten != "head":
        shutil.rmtree(tmp_path / "old")
    enrol(session, "Mug", draw(tmp_path / "new", MUG, 1, 51))
    head = head_of(session, "Mug")
    assert sorted(head.encode()[1]["references"].split()) == sorted(
        r.content_hash for r in session.store.get("Mug").references
    )
    per_photo = np.bincount(head.encode()[0]["photos"])
    assert per_photo.tolist() == ([9, 9, 9, 9] if forgotten == "head" else [1, 1, 1, 9])


def test_replacing_is_asked_for(session, tmp_path):
    identifier = session.store.get("Rex").identifier
    done = enrol(session, "Rex", draw(tmp_path, REX, 3), replace=True)
    assert (done.added, done.kept, done.replaced, len(done.concept.references)) == (3, 0, 4, 3)
    assert done.concept.identifier == identifier
    assert len(session.store.facts(done.concept).embeddings) == 2
    assert training_need(session, done.concept) is Need.NEW_PHOTOS


def test_replacing_by_another_kind_starts_over(session, tmp_path):
    done = enrol(session, "Anna", draw(tmp_path, MUG, 3), kind=Kind.THING, replace=True)
    assert done.concept.kind is Kind.THING
    assert session.store.facts(done.concept).embeddings == ()
    assert [h.kind for h in session.store.facts(done.concept).heads] == ["linear"]
    assert done.concept.identifier in session.vlm_config.identifiers["thing"]


@pytest.mark.parametrize(
    ("name", "who", "said", "error", "text"),
    [
        ("Rex", ANNA, {}, UsageError, "this photo shows a person"),
        ("Rex", MUG, {}, UsageError, "this photo shows a thing"),
        ("Rex", REX, {"kind": Kind.THING}, UsageError, "enrolled as a pet, not a thing"),
        ("Rex", REX, {"category": "woman"}, UsageError, "enrolled as a pet, not a person"),
        ("Anna", REX, {}, NoUsablePhotoError, "none of the photos shows 'Anna'"),
    ],
)
def test_another_kind_is_refused_with_the_way_out(session, tmp_path, name, who, said, error, text):
    before = session.store.get(name)
    with pytest.raises(error, match=text) as caught:
        enrol(session, name, draw(tmp_path, who, 1), **said)
    assert "--replace" in caught.value.hint
    assert "another name" in caught.value.hint
    assert session.store.get(name) == before


def test_the_embedding_stays_and_asks_for_training(session, tmp_path):
    assert training_need(session, session.store.get("Rex")) is Need.NOTHING
    before = session.store.load_embedding(session.store.get("Rex"), session.vlm_id, session.vlm_revision)
    concept = enrol(session, "Rex", draw(tmp_path, REX, 1)).concept
    assert training_need(session, concept) is Need.NEW_PHOTOS
    now = session.store.load_embedding(concept, session.vlm_id, session.vlm_revision)
    assert np.array_equal(now.vector, before.vector)
    gone = remove_photos(session, "Rex", [concept.references[-1].path]).concept
    assert training_need(session, gone) is Need.NOTHING, "it has the photos that it was trained on"


@pytest.mark.parametrize("earlier", [False, True], ids=["now", "earlier version"])
def test_a_photo_is_taken_away_with_all_that_was_learned_from_it(session, tmp_path, earlier):
    head = head_of(session, "Rex")
    (mug,) = draw(tmp_path, MUG, 1)
    done = enrol(session, "Rex", [mug], kind=Kind.PET)
    assert done.odd == (mug,)
    assert any("mug" in w and "remove-photos Rex" in w for w in map(str, done.warnings))
    if earlier:
        make_earlier(session, "Rex")
    mug.unlink()
    removed = remove_photos(session, "Rex", [Path(mug.name)])
    assert [r.path for r in removed.references] == [mug]
    now = head_of(session, "Rex")
    for what in ("views", "background"):
        assert np.array_equal(np.unique(now.encode()[0][what], axis=0), np.unique(head.encode()[0][what], axis=0)), what
    assert len(removed.concept.references) == 4


def make_earlier(session, name):
    """Make a head one of an earlier version, which does not tell of which photos its rows are."""
    head = head_of(session, name)
    owners = {"background_of": None} if isinstance(head, ObjectHead) else {}
    session.store.renew_head(replace(head, references=(), **owners))


def test_the_last_photo_is_not_taken_away(session):
    before = session.store.get("Anna")
    with pytest.raises(UsageError, match="no reference photo left") as caught:
        remove_photos(session, "Anna", paths_of(session, "Anna"))
    assert "myvlm forget Anna" in caught.value.hint
    with pytest.raises(UsageError, match="no reference photo of"):
        remove_photos(session, "Anna", [paths_of(session, "Anna")[0], paths_of(session, "Rex")[0]])
    assert session.store.get("Anna") == before


def test_decisions_survive_adding_and_taking_away(myvlm, session, tmp_path):
    photo, added = draw(tmp_path, REX, 2)
    assert myvlm("confirm", photo, "Rex").code == 0
    confirmed = head_of(session, "Rex").encode()[0]["confirmed"]
    enrol(session, "Rex", [added])
    assert np.array_equal(head_of(session, "Rex").encode()[0]["confirmed"], confirmed)
    remove_photos(session, "Rex", [added])
    assert np.array_equal(head_of(session, "Rex").encode()[0]["confirmed"], confirmed)


@pytest.mark.parametrize(("name", "who"), [("Rex", REX), ("Anna", ANNA)])
def test_a_second_name_is_told_and_whom_it_silences(session, tmp_path, name, who):
    done = enrol(session, "Max", draw(tmp_path / "max", who, 3))
    assert [s.concept.name for s in done.same_as] == [name]
    assert any(f"myvlm concepts merge {name} Max" in w for w in map(str, done.warnings))
    known = read_enrolled(session.store, session.recogniser_config, session.recognition)
    assert [{a.name, b.name} for a, b in find_same_pairs(known)] == [{name, "Max"}]
    photos = [load_photo(p.path) for p in draw_album(tmp_path / "album").values()]
    found = recognise_all(
        session.extractor,
        photos,
        load_gallery(session.store, session.recogniser_config, session.recognition, session.store.select((name,))),
    )
    named = sum(any(m.name == name for m in f.matches) for f in found)
    displaced = [d for f in found for d in f.displaced]
    assert {(d.name, d.rival) for d in displaced} <= {(name, "Max")}
    assert named + len(displaced) == (2 if who is REX else 1), "named, or told why not"
    words = displaced_words(displaced)
    assert len(words) == bool(displaced)
    assert all("Max (enrolled, not asked for)" in w and f"merge {name} Max" in w for w in words)


def test_nobody_is_displaced_by_somebody_else(session, tmp_path):
    enrol(session, "Mug", draw(tmp_path / "mug", MUG, 3))
    photos = [load_photo(p.path) for p in draw_album(tmp_path / "album").values()]
    found = recognise_all(
        session.extractor,
        photos,
        load_gallery(session.store, session.recogniser_config, session.recognition, session.store.select(("Rex",))),
    )
    assert [f.displaced for f in found] == [(), (), ()]
    assert sum(bool(f.matches) for f in found) == 2


def test_one_photo_for_two_concepts_is_told(session, tmp_path):
    both = tmp_path / "both.jpg"
    save_photo(compose(np.random.default_rng(3), (REX, ANNA), place="beach"), both)
    enrol(session, "Rex", [both], kind=Kind.PET)
    done = enrol(session, "Anna", [both], kind=Kind.PERSON)
    assert [(s.concept.name, s.same_part) for s in done.shared] == [("Rex", False)]
    assert not any("both.jpg" in w for w in map(str, done.warnings)), "they are different parts of it"
    same = enrol(session, "Bo", [paths_of(session, "Rex")[0], *draw(tmp_path, MUG, 2)], kind=Kind.PET)
    assert [(s.concept.name, s.same_part) for s in same.shared] == [("Rex", True)]


@pytest.mark.parametrize(
    ("likeness", "odd"),
    [
        ([[1, 0], [1, 0.1], [1, -0.1], [0, 1]], [False, False, False, True]),
        ([[1, 0], [1, 0.1], [1, -0.1]], [False, False, False]),
        ([[1, 0], [0, 1]], [True, True]),
        ([[1, 0], [1, 0.2]], [False, False]),
        ([[1, 0]], [False]),
    ],
)
def test_odd_photos(likeness, odd):
    plain = np.array(likeness, np.float32)
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    assert find_odd(plain, 0.9).tolist() == odd
    assert not find_odd(plain[:2], None).any()


def test_a_store_of_an_earlier_version_opens(session, tmp_path):
    """Embeddings of before are taken to be of the references that their concepts have."""
    session.store.close()
    path = session.folder / "store.db"
    with sqlite3.connect(path) as db:
        db.execute("alter table embeddings drop column photos")
        db.execute("delete from _sqlite_migrations where name = 'm005_embedding_photos'")
    opened = Session(SessionOptions("storybook"), session.folder)
    rex = opened.store.get("Rex")
    assert training_need(opened, rex) is Need.NOTHING
    assert training_need(opened, enrol(opened, "Rex", draw(tmp_path, REX, 1)).concept) is Need.NEW_PHOTOS


def test_add_concept_as_a_user_sees_it(myvlm, session, tmp_path):
    new, mug = *draw(tmp_path, REX, 1), *draw(tmp_path, MUG, 1)
    result = myvlm("add-concept", "rex", new)
    assert result.code == 0, result.err
    assert result.out.splitlines()[1:] == ["Rex: pet, category pet, 5 reference photos (1 added to 4)"]
    assert "300 shipped with the recogniser" in result.err
    assert result.err.splitlines()[-1].endswith("Run: myvlm train Rex to use the new photos in captions, too")
    result = myvlm("add-concept", "rex", new)
    assert result.out.splitlines()[0] == f"= {new}: already a reference photo"
    assert "nothing new was given" in result.out
    result = myvlm("add-concept", "rex", mug)
    assert (result.code, "--replace to replace its 5 reference photos" in result.err) == (2, True)
    result = myvlm("add-concept", "rex", *draw(tmp_path, REX, 3, 52), "--replace", "--json")
    assert {k: result.json[k] for k in ("added", "kept", "replaced")} == {"added": 3, "kept": 0, "replaced": 5}
    assert result.json["negatives"] == sum(result.json["negatives_from"].values())
    assert result.json["next"] == "myvlm train Rex"
    result = myvlm("concepts", "remove-photos", "rex", "dog_52_1.jpg", "--json")
    assert (result.code, result.json["left"]) == (0, 2)
    result = myvlm("concepts", "remove-photos", "rex", "dog_52_0.jpg", "dog_52_2.jpg")
    assert (result.code, "myvlm forget Rex" in result.err) == (2, True)


def test_train_without_names_trains_what_needs_it(myvlm, session, tmp_path):
    result = myvlm("train")
    assert (result.code, result.out) == (0, "")
    assert "Nothing to train for storybook" in result.err
    enrol(session, "Rex", draw(tmp_path, REX, 1))
    enrol(session, "Mug", draw(tmp_path / "mug", MUG, 3))
    enrol(session, "Gone", draw(tmp_path / "gone", draw_individual(np.random.default_rng(4), "car"), 3))
    shutil.rmtree(tmp_path / "gone")
    result = myvlm("train", "--steps", "1", "--json")
    assert result.code == 1, "one of them has no photos any more"
    assert [c["name"] for c in result.json["concepts"]] == ["Mug", "Rex"]
    assert "none of the photos of 'Gone' can be read" in result.err
    session.store.forget("Gone")
    assert myvlm("train", "--all").code == 0
    assert myvlm("train", "--json").json == {"concepts": []}


def test_train_without_concepts(myvlm):
    result = myvlm("train")
    assert (result.code, "myvlm add-concept" in result.err) == (0, True)
