"""What maybes are shown beside: the nearest of what is known, as `why` tells it, and never a wrong photo."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.concepts.decide import DecisionRequest, decide
from engine.concepts.enrol import enrol
from engine.concepts.merge import merge_concepts
from engine.concepts.review import Suggestion, find_suggestions
from engine.core.types import Kind, Verdict
from engine.recognition.explain.explain import explain_recognition
from engine.recognition.explain.explanation import RecognitionOutcome
from engine.recognition.explain.nearest import KnownPhotos
from engine.recognition.gallery import load_gallery
from engine.session import Session
from engine.store.heads import BodyHead
from engine.storybook.album import ANNA, REX
from engine.storybook.photos import save_photo
from engine.storybook.world.individuals import draw_lookalike
from engine.storybook.world.scenes import compose
from tests.learned import draw_album, draw_references
from tests.suggested import settle


@pytest.fixture
def album(session, tmp_path):
    """Rex alone, Rex with Anna, nobody; a store that knows both is MYVLM_HOME."""
    draw_album(tmp_path / "album")
    return tmp_path / "album"


def same_as_why(session: Session, album: Path) -> list[Suggestion]:
    """The maybes of a folder, after a look whether `why` tells the same of them."""
    maybes = find_suggestions(session, sorted(album.glob("*.jpg")), library=album).suggestions
    for maybe in maybes:
        concept = session.store.get(maybe.match.name)
        gallery = load_gallery(session.store, session.recogniser_config, session.recognition, [concept], album)
        told = explain_recognition(session.store, session.extractor, gallery, maybe.content_hash, concept)
        assert (told.outcome, told.score, told.box) == (
            RecognitionOutcome.SUGGESTED,
            maybe.match.score,
            maybe.match.box,
        )
        assert told.runner_up == maybe.runner_up
        nearest = maybe.nearest[0]
        if told.nearest.path is None:
            assert nearest.likeness is None
        else:
            known = (told.nearest.path, told.nearest.box, told.nearest.cosine, told.nearest.of == "confirmed")
            assert known == (nearest.path, nearest.box, nearest.likeness, nearest.confirmed)
        ranked = [e.likeness for e in maybe.nearest if e.likeness is not None]
        assert ranked == sorted(ranked, reverse=True)
        assert len({e.content_hash for e in maybe.nearest}) == len(maybe.nearest) == 3
    return list(maybes)


def merge_with_one_in_common(session: Session, folder: Path) -> None:
    """Give Rex and Anna the references of a second concept each, of which one is theirs already."""
    for name, who in (("Rex", REX), ("Anna", ANNA)):
        draw_references(folder / name, who, 70 + len(name))
        shutil.copy(session.store.get(name).references[1].path, folder / name / "00.jpg")
        enrol(session, f"{name} again", [folder / name])
        merge_concepts(session, name, f"{name} again")


@pytest.mark.parametrize("forgotten", [False, True])
def test_nearest_and_runner_up_are_those_of_why(session, album, tmp_path, forgotten):
    merge_with_one_in_common(session, tmp_path / "again")
    draw_references(tmp_path / "Berta", draw_lookalike(np.random.default_rng(3), ANNA), 9)
    enrol(session, "Berta", [tmp_path / "Berta"])
    settle(album)
    if forgotten:
        session.cache.clear()
    maybes = same_as_why(session, album)
    rivals = {m.match.name: m.runner_up and m.runner_up.name for m in maybes}
    assert rivals == {"Rex": None, "Anna": "Berta"}
    for example in (e for m in maybes for e in m.nearest):
        assert example.likeness is not None, "heads tell of which photos their views are"
    for maybe in maybes:
        if maybe.match.kind is Kind.PERSON and not forgotten:  # by the faces in the references themselves
            face = by_box(session, maybe.content_hash)[maybe.match.box.rounded()]
            for e in maybe.nearest:
                own = by_box(session, e.content_hash)[e.box.rounded()]
                assert e.likeness == pytest.approx(float(own @ face), abs=1e-4)


def as_before(session: Session) -> None:
    """Make the heads those of an earlier version, which did not tell of which photos their views are."""
    for concept in session.store.all():
        head = session.store.load_head(concept.id, session.recogniser_config.head_id(concept.kind))
        session.store.renew_head(replace(head, references=()))


def by_box(session: Session, content_hash: str) -> dict:
    return {f.box.rounded(): f.embedding for f in session.extractor.cached_faces(content_hash)}


def test_a_photo_that_two_numbers_are_of_is_not_taken_for_another(session, album, tmp_path):
    """The common photo was looked at twice, with other digits, and the last view is lost: as many as references."""
    draw_references(tmp_path / "again", ANNA, 77)
    shutil.copy(session.store.get("Anna").references[1].path, tmp_path / "again" / "0.jpg")
    enrol(session, "Annie", [tmp_path / "again"])
    anna = merge_concepts(session, "Anna", "Annie").concept
    model = session.recogniser_config.head_id(anna.kind)
    head = session.store.load_head(anna.id, model)
    templates, numbers = head.encode()[0]["templates"], head.encode()[0]["photos"]
    assert (len(anna.references), sorted(numbers.tolist())) == (7, [0, 1, 2, 3, 4, 5, 6])
    rows = [templates[numbers == n][0] for n in (0, 1, 2, 3, 1, 4, 5)]
    rows[4] = rows[4] + np.float32(1e-4)
    session.store.renew_head(replace(head, views=np.stack(rows), photos=np.arange(7)))
    as_before(session)
    session.cache.clear()
    settle(album)
    (anna_there,) = (m for m in same_as_why(session, album) if m.match.name == "Anna")
    assert [e.likeness for e in anna_there.nearest] == [None] * 3


def test_a_confirmed_photo_beside_references(session, album, tmp_path):
    drawn = save_photo(compose(np.random.default_rng(5), (ANNA,), place="beach"), tmp_path / "anna.jpg")
    decide(session, [DecisionRequest(drawn.path, "Anna", Verdict.CONFIRM)])
    shutil.rmtree(album)
    with Image.open(drawn.path) as image:  # the same face in a file of other content
        album.mkdir()
        image.save(album / "copy.jpg", quality=96)
    settle(album)
    (found,) = (m for m in same_as_why(session, album) if m.match.name == "Anna")
    assert [(e.path == drawn.path, e.confirmed) for e in found.nearest] == [
        (True, True),
        (False, False),
        (False, False),
    ]


def test_bodies_have_references_of_their_own(session):
    """By content, whatever number a body's photo has; a reference that is gone is not made up."""
    anna = session.store.get("Anna")
    head = session.store.load_head(anna.id, session.recogniser_config.head_id(anna.kind))
    contents = (anna.references[2].content_hash, "gone", anna.references[0].content_hash)
    views = np.eye(3, dtype=np.float32)
    body = BodyHead(
        concept_id=anna.id,
        encoder="enc",
        threshold=0.0,
        views=views,
        photos=np.arange(3),
        references=contents,
        background=views[:0],
    )
    found = list(KnownPhotos.of_body(anna, head, body).ranked(np.array([0.5, 0.8, 0.1], np.float32)))
    expected = [None, anna.references[2].path, anna.references[0].path]
    assert [(f.path, round(f.cosine, 3)) for f in found] == list(zip(expected, [0.8, 0.5, 0.1], strict=True))
