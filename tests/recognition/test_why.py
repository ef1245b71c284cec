"""Why a concept is named in a photo or is not: as recognition decided, with the true references, in words and drawn."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.captioning.explain_pictures import save_explanation
from engine.concepts.decide import DecisionRequest, decide
from engine.concepts.enrol import enrol
from engine.concepts.merge import merge_concepts
from engine.core.errors import EngineError, UsageError
from engine.core.types import Decision, Verdict
from engine.photos.decode import load_photo
from engine.recognition.explain.explain import explain_photo, explain_recognition
from engine.recognition.explain.explanation import Cause, Reason, RecognitionOutcome
from engine.recognition.explain.nearest import Likeness
from engine.recognition.explain.page import plain
from engine.recognition.explain.picture import draw_explanation
from engine.recognition.explain.words import facts_of, reason_in_words
from engine.recognition.gallery import load_gallery
from engine.recognition.recognise import look_up, recognise
from engine.session import Session, SessionOptions
from engine.storybook.album import ANNA, REX
from engine.storybook.photos import save_photo
from engine.storybook.world.individuals import draw_individual, draw_lookalike
from engine.storybook.world.scenes import compose
from tests.learned import draw_album, draw_references


def explain_alone(session, photo, concept, library=None):
    """Explain with a gallery that was built for this concept."""
    gallery = load_gallery(session.store, session.recogniser_config, session.recognition, [concept], library)
    return explain_recognition(session.store, session.extractor, gallery, photo, concept)


@pytest.fixture
def album(session, tmp_path):
    draw_album(tmp_path / "album")
    return tmp_path / "album"


def look(session, name, path):
    return explain_photo(session, name, path)[1]


def draw_anna(path, rng=None):
    return save_photo(compose(rng or np.random.default_rng(5), (ANNA,), place="beach"), path)


def with_heads(session, heads):
    return Session(SessionOptions("storybook", heads=heads), session.folder)


@pytest.mark.parametrize("heads", ["open-set", "paper"])
def test_it_is_what_recognition_decided(session, tmp_path, heads):
    rng = np.random.default_rng(8)
    session = with_heads(session, heads)
    strangers = [draw_lookalike(rng, REX), draw_lookalike(rng, ANNA), draw_individual(rng, "teapot")]
    casts = [(REX,), (ANNA,), (REX, ANNA), tuple(strangers[:2]), (strangers[2],), (REX, strangers[0]), (ANNA, REX)]
    for n, cast in enumerate(casts):
        save_photo(compose(rng, cast, place="garden"), tmp_path / "small" / f"{n}.jpg", orientation=1 + 5 * (n % 2))
    photos = [load_photo(p) for p in sorted((tmp_path / "small").iterdir())]
    concepts = session.store.all()
    enrolled = load_gallery(session.store, session.recogniser_config, session.recognition, concepts)
    outcomes = set()
    for photo, matches in zip(photos, recognise(session.extractor, photos, enrolled), strict=True):
        named = {m.name: m for m in matches}
        maybes = {m.name: m for m in look_up(session.extractor, photo.facts.content_hash, enrolled).suggestions}
        for concept in concepts:
            found = explain_recognition(session.store, session.extractor, enrolled, photo, concept)
            assert found == explain_alone(session, photo.facts.content_hash, concept)
            outcomes.add(found.outcome)
            assert (found.outcome is RecognitionOutcome.NAMED) == (concept.name in named)
            assert (found.outcome is RecognitionOutcome.SUGGESTED) == (concept.name in maybes)
            match = named.get(concept.name) or maybes.get(concept.name)
            if match is None:
                assert found.score is None or found.cause is not Cause.LOW_SCORE or found.score < found.name_threshold
                continue
            assert (found.score, found.name_threshold, found.source) == (match.score, match.threshold, match.source)
            assert found.box.rounded() == match.box.rounded()
    assert {RecognitionOutcome.NAMED, RecognitionOutcome.UNKNOWN} <= outcomes


def test_a_named_face_with_all_that_speaks_for_it(session, album):
    found = look(session, "anna", album / "both.jpg")
    assert (found.outcome, found.cause, found.source) == (RecognitionOutcome.NAMED, Cause.SURE, "face")
    assert found.score >= found.name_threshold > found.suggestion_threshold
    assert sum(e.contribution for e in found.pair_features) + found.bias == pytest.approx(found.score, abs=1e-3)
    assert (found.threshold_source.origin, found.threshold_source.folder, found.rejection) == ("usual", None, None)
    assert found.runner_up is None  # no other person is enrolled
    assert found.impostor < found.likeness <= 1


def test_the_nearest_reference_is_the_true_one(session, album):
    """By the faces in the references themselves, not by the head."""
    found = look(session, "anna", album / "both.jpg")
    content = load_photo(album / "both.jpg").facts.content_hash
    face = next(f for f in session.extractor.cached_faces(content) if f.box.rounded() == found.box.rounded())
    likeness = {}
    for reference in session.store.get("anna").references:
        own = {f.box.rounded(): f.embedding for f in session.extractor.cached_faces(reference.content_hash)}
        likeness[reference.path] = float(own[reference.box.rounded()] @ face.embedding)
    assert found.nearest.path == max(likeness, key=likeness.get)
    assert found.nearest.cosine == pytest.approx(max(likeness.values()), abs=1e-4)


@pytest.mark.parametrize("name", ["Rex", "Anna"])
def test_every_reference_is_most_like_itself(session, name):
    for reference in session.store.get(name).references:
        found = look(session, name, reference.path)
        assert (found.nearest.path, found.nearest.of) == (reference.path, "reference")
        assert found.nearest.cosine == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("forgotten", [False, True])
def test_references_after_merging(session, tmp_path, forgotten):
    """Also of a photo that both concepts had, whose place in the list is then nobody's."""
    draw_references(tmp_path / "again", ANNA, 77)
    shutil.copy(session.store.get("Anna").references[1].path, tmp_path / "again" / "00.jpg")
    enrol(session, "Annie", [tmp_path / "again"])
    merged = merge_concepts(session, "Anna", "Annie").concept
    assert len(merged.references) == 8
    if forgotten:
        session.cache.clear()
    for reference in merged.references:
        found = look(session, "Anna", reference.path)
        assert found.nearest.cosine == pytest.approx(1, abs=1e-3)
        assert found.nearest.path == reference.path  # it was just looked at


def test_no_reference_is_better_than_a_wrong_one(session, album, tmp_path):
    """The references were replaced, the head was not: as after a kill, or for another recogniser."""
    draw_references(tmp_path / "others", draw_individual(np.random.default_rng(4), "robot"), 4)
    for name in ("Anna", "Rex"):
        concept = session.store.get(name)
        before = look(session, name, album / "both.jpg").nearest
        assert before.path in [r.path for r in concept.references]
        others = [tmp_path / "others" / f"{k}.jpg" for k in range(4)]
        fresh = [load_photo(p) for p in others]
        recognise(
            session.extractor,
            fresh,
            load_gallery(session.store, session.recogniser_config, session.recognition, session.store.all()),
        )
        boxes = [f.facts.content_hash for f in fresh]
        references = tuple(
            replace(r, path=p, content_hash=h) for r, p, h in zip(concept.references, others, boxes, strict=True)
        )
        session.store.put(name, concept.kind, concept.category, (concept.identifier,), references)
        head = session.store.load_head(concept.id, session.recogniser_config.head_id(concept.kind))
        session.store.save_head(replace(head, encoder="another recogniser"))
        after = look(session, name, album / "both.jpg").nearest
        assert (after.path, after.cosine) == (None, before.cosine)


def test_nobody_is_there(session, album):
    found = look(session, "anna", album / "nobody.jpg")
    assert (found.outcome, found.cause, found.box, found.score) == (
        RecognitionOutcome.UNKNOWN,
        Cause.NO_REGION,
        None,
        None,
    )
    assert reason_in_words(found) == "no face was found in this photo"
    found = look(session, "rex", album / "nobody.jpg")
    assert (found.outcome, found.cause) == (RecognitionOutcome.UNKNOWN, Cause.LOW_SCORE)
    assert found.score < found.suggestion_threshold
    assert found.box is not None


def test_a_face_that_is_cut_off(session, tmp_path):
    drawn = draw_anna(tmp_path / "anna.jpg")
    assert look(session, "anna", drawn.path).outcome is RecognitionOutcome.NAMED
    with Image.open(drawn.path) as image:
        image.crop((0, round(drawn.faces[0].y1), image.width, image.height)).save(tmp_path / "legs.jpg")
    assert look(session, "anna", tmp_path / "legs.jpg").cause is Cause.NO_REGION


def test_a_face_that_is_too_small(session, tmp_path):
    drawn = draw_anna(tmp_path / "anna.jpg")
    face = drawn.faces[0]
    with Image.open(drawn.path) as image:
        scale = 9 / min(face.x1 - face.x0, face.y1 - face.y0)
        size = (round(image.width * scale), round(image.height * scale))
        image.resize(size, Image.Resampling.LANCZOS).save(tmp_path / "small.png")
    found = look(session, "anna", tmp_path / "small.png")
    assert (found.outcome, found.cause) == (RecognitionOutcome.UNKNOWN, Cause.POOR_FACE)
    assert "too small" in reason_in_words(found)
    assert "12 are needed" in reason_in_words(found)
    assert look(with_heads(session, "paper"), "anna", tmp_path / "small.png").cause is not Cause.POOR_FACE


def test_a_lookalike_is_the_runner_up(session, album, tmp_path):
    other = draw_lookalike(np.random.default_rng(3), ANNA)
    draw_references(tmp_path / "other", other, 9)
    enrol(session, "Berta", [tmp_path / "other"])
    anna, berta = (look(session, name, album / "both.jpg") for name in ("Anna", "Berta"))
    assert (anna.runner_up.name, berta.runner_up.name) == ("Berta", "Anna")
    assert anna.box == berta.box
    assert (anna.runner_up.score, berta.runner_up.score) == (berta.score, anna.score)
    assert anna.score > berta.score
    assert any("likelier in this region: Anna" in line for line in facts_of(berta))
    assert any("runner-up in this region: Berta" in line for line in facts_of(anna))


@pytest.mark.parametrize("heads", ["open-set", "paper"])
def test_another_is_surer_there(session, album, tmp_path, heads):
    """The user said that the dog is the mug, and no head learned from it yet: still it is not Rex."""
    draw_references(tmp_path / "mug", draw_individual(np.random.default_rng(6), "mug"), 12)
    enrol(session, "Mug", [tmp_path / "mug"])
    session = with_heads(session, heads)
    before = look(session, "rex", album / "rex.jpg")
    assert before.outcome is RecognitionOutcome.NAMED
    photo, mug = load_photo(album / "rex.jpg"), session.store.get("mug")
    now = "2024-05-01T12:00:00+00:00"
    session.store.decisions.put(
        Decision(mug.id, photo.facts.content_hash, photo.path, before.box, Verdict.CONFIRM, now)
    )
    after = look(session, "rex", album / "rex.jpg")
    assert (after.outcome, after.cause, after.box) == (RecognitionOutcome.UNKNOWN, Cause.OTHER_SURER, before.box)
    assert reason_in_words(after).startswith("Mug fits better there")
    assert after.score >= min(after.name_threshold, after.suggestion_threshold or after.name_threshold)


def test_decided(session, album):
    decide(
        session,
        [
            DecisionRequest(album / "rex.jpg", "rex", Verdict.REJECT),
            DecisionRequest(album / "nobody.jpg", "anna", Verdict.CONFIRM),
        ],
    )
    rejected = look(session, "rex", album / "rex.jpg")
    assert (rejected.outcome, rejected.cause) == (RecognitionOutcome.REJECTED, Cause.DECIDED)
    assert rejected.rejection.path == album / "rex.jpg"
    assert rejected.rejection.cosine == pytest.approx(1, abs=1e-3)
    assert rejected.pair_features[-1].name == "rejected"
    parts = sum(e.contribution for e in rejected.pair_features) + rejected.bias
    assert parts == pytest.approx(rejected.score, abs=1e-3)
    confirmed = look(session, "anna", album / "nobody.jpg")
    assert (confirmed.outcome, confirmed.source, confirmed.score) == (RecognitionOutcome.CONFIRMED, "photo", None)
    photo = load_photo(album / "nobody.jpg")
    assert confirmed.box.rounded() == (0, 0, photo.facts.width, photo.facts.height)
    assert explain_alone(session, photo.facts.content_hash, session.store.get("anna")).box is None


def test_a_confirmed_photo_can_be_the_nearest(session, tmp_path):
    drawn = draw_anna(tmp_path / "anna.jpg")
    decide(session, [DecisionRequest(drawn.path, "anna", Verdict.CONFIRM)])
    found = look(session, "anna", drawn.path)
    assert (found.outcome, found.nearest.of, found.nearest.path) == (
        RecognitionOutcome.CONFIRMED,
        "confirmed",
        drawn.path,
    )
    assert found.nearest.cosine == pytest.approx(1, abs=1e-3)


def test_a_name_that_was_taken_out_of_the_sidecar(myvlm, session, album):
    photo, sidecar = album / "both.jpg", album / "both.jpg.xmp"
    myvlm("caption", photo)
    assert look(session, "rex", photo).outcome is RecognitionOutcome.NAMED
    head, tail = sidecar.read_bytes().split(b"<dc:subject>")
    sidecar.write_bytes(head + b"<dc:subject>" + tail.replace(b"<rdf:li>Rex</rdf:li>", b"", 1))
    (told,) = myvlm("caption", photo, "--json").json["photos"]
    assert [c["name"] for c in told["concepts"]] == ["Anna"]
    found = look(session, "rex", photo)
    assert (found.outcome, found.cause) == (RecognitionOutcome.DECLINED, Cause.DECIDED)
    assert look(session, "anna", photo).outcome is RecognitionOutcome.NAMED


def test_the_papers_heads(session, album):
    session = with_heads(session, "paper")
    anna, rex = (look(session, name, album / "both.jpg") for name in ("anna", "rex"))
    for found in (anna, rex):
        assert (found.outcome, found.threshold_source.origin, found.suggestion_threshold) == (
            RecognitionOutcome.NAMED,
            "paper",
            None,
        )
        assert (found.pair_features, found.bias, found.impostor) == ((), None, None)
        assert found.nearest.path in [r.path for r in found.concept.references]
    assert anna.score == pytest.approx(anna.nearest.cosine)


def test_a_photo_that_was_not_looked_at(session, album):
    with pytest.raises(UsageError, match="not looked at"):
        explain_alone(session, load_photo(album / "rex.jpg").facts.content_hash, session.store.get("rex"))


def test_the_command(myvlm, session, album, tmp_path):
    before = {p: p.read_bytes() for p in album.iterdir()}
    result = myvlm("concepts", "show", "rex", album / "rex.jpg", "--draw", tmp_path / "new" / "why.png", "--json")
    assert result.code == 0, result.err
    told = result.json
    assert (told["concept"], told["outcome"], told["cause"]) == ("Rex", "named", "sure")
    assert set(told["thresholds"]) == {"name", "maybe", "from", "folder", "photos", "false_names_per_1000"}
    assert told["score"] >= told["thresholds"]["name"] > told["thresholds"]["maybe"]
    assert told["nearest"]["file"] in [str(r.path) for r in session.store.get("rex").references]
    assert [e["name"] for e in told["evidence"]][:2] == ["likeness", "nearest"]
    assert len(told["region"]["box"]) == 4
    assert told["picture"] == str(tmp_path / "new" / "why.png")
    with Image.open(tmp_path / "new" / "why.png") as picture:
        picture.load()
        assert (picture.format, picture.width, picture.info["Title"]) == ("PNG", 1040, "Rex: why")
    text = myvlm("concepts", "show", "rex", album / "rex.jpg", "--heads", "paper").out
    assert "rex.jpg: named: " in text
    assert "thresholds: the paper's" in text
    assert myvlm("concepts", "show", "anna", album / "nobody.jpg").out.endswith(
        "myvlm calibrate fits them to your photos\n"
    )
    assert {p: p.read_bytes() for p in album.iterdir()} == before


def test_the_command_without_a_photo_and_with_bad_input(myvlm, album, tmp_path):
    assert "references" in myvlm("concepts", "show", "rex", "--json").json
    result = myvlm("concepts", "show", "rex", "--draw", tmp_path / "why.png")
    assert (result.code, "--draw needs a photo" in result.err) == (2, True)
    (tmp_path / "text.jpg").write_text("no photo")
    for path in (tmp_path / "text.jpg", tmp_path / "missing.jpg"):
        result = myvlm("concepts", "show", "rex", path)
        assert result.code != 0
        assert str(path) in result.err


def test_nothing_but_our_pictures_is_replaced(myvlm, session, album, tmp_path):
    photo, found = explain_photo(session, "rex", album / "rex.jpg")
    target = tmp_path / "why.png"
    save_explanation(photo, found, target)
    first = target.read_bytes()
    save_explanation(photo, found, target)
    assert target.read_bytes() == first
    (tmp_path / "mine.png").write_bytes(b"mine")
    Image.new("RGB", (9, 9)).save(tmp_path / "other.png")
    (tmp_path / "link.png").symlink_to(album / "rex.jpg")
    with Image.open(album / "rex.jpg") as image:
        image.save(album / "photo.png")
    for wrong in ("mine.png", "other.png", "link.png", "album", "why.jpg", "album/photo.png"):
        before = (tmp_path / wrong).read_bytes() if (tmp_path / wrong).is_file() else None
        with pytest.raises(UsageError):
            save_explanation(photo, found, tmp_path / wrong)
        assert before is None or (tmp_path / wrong).read_bytes() == before
    again = load_photo(target)  # a picture of ours as the photo
    with pytest.raises(UsageError):
        save_explanation(again, found, target)
    with pytest.raises(EngineError, match="cannot be written"):
        save_explanation(photo, found, tmp_path / "mine.png" / "why.png")


def test_a_picture_without_its_reference(session, album, tmp_path):
    """The tile says so, and differs from the one that shows it."""
    photo, found = explain_photo(session, "rex", album / "rex.jpg")
    gone = replace(found, nearest=replace(found.nearest, path=tmp_path / "gone.jpg"))
    changed = replace(found, nearest=replace(found.nearest, path=album / "nobody.jpg"))
    unknown = replace(found, nearest=Likeness("reference", 0.5))
    pages = [draw_explanation(photo, w) for w in (found, gone, changed, unknown, replace(found, nearest=None))]
    tiles = [page.crop((640, 310, 840, 530)).tobytes() for page in pages]
    assert len(set(tiles)) == len(tiles)
    assert np.asarray(pages[0].crop((640, 330, 840, 500))).std() > np.asarray(pages[1].crop((640, 330, 840, 500))).std()


def test_names_in_other_alphabets_are_drawn_as_far_as_the_font_goes(session, album):
    assert plain("Zoë Łukasz 中") == "Zoe ?ukasz ?"
    photo, found = explain_photo(session, "rex", album / "rex.jpg")
    long = replace(
        found, concept=replace(found.concept, name="Ж" * 200), reason=Reason(Cause.OTHER_SURER, rival="x" * 3000)
    )
    assert draw_explanation(photo, long).width == 1040


@pytest.mark.parametrize("size", [(1, 1), (3000, 1), (1, 3000), (3000, 2000)])
def test_photos_of_any_shape_are_drawn(session, tmp_path, size):
    Image.new("RGB", size, "#3366cc").save(tmp_path / "odd.png")
    for name in ("rex", "anna"):
        photo, found = explain_photo(session, name, tmp_path / "odd.png")
        assert found.outcome is RecognitionOutcome.UNKNOWN
        assert draw_explanation(photo, found).width == 1040


def test_caption_tells_why_only_when_asked(myvlm, album, tmp_path):
    plain_run = myvlm("caption", album, "--json")
    assert all("why" not in c for p in plain_run.json["photos"] for c in p["concepts"])
    result = myvlm("caption", album, "--explain", tmp_path / "why", "--json")
    assert result.code == 0, result.err
    told = {Path(p["file"]).stem: p for p in result.json["photos"]}
    assert [c["why"]["outcome"] for c in told["both"]["concepts"]] == ["named", "named"]
    for concept in told["both"]["concepts"]:
        assert concept["why"]["score"] == concept["score"]
        assert concept["why"]["region"] == {"box": concept["box"], "source": concept["region"]}
    assert {p.name for p in (tmp_path / "why").iterdir()} == {
        *("both-Anna.png", "both-Anna-why.png", "both-Rex.png", "both-Rex-why.png", "rex-Rex.png", "rex-Rex-why.png")
    }
    located = myvlm("locate", "rex", album / "rex.jpg", "--explain", tmp_path / "located", "--json")
    assert [Path(p).name for p in located.json["photos"][0]["pictures"]] == ["rex-Rex.png", "rex-Rex-why.png"]


def test_explaining_costs_nothing_when_nobody_asks(myvlm, album, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("explained")

    monkeypatch.setattr("engine.captioning.explain_pictures.explain_recognition", refuse)
    assert myvlm("caption", album, "--json").code == 0
