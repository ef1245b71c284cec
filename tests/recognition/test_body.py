"""People whose face does not show: unknown, unless the user allows bodies; and when references were taken."""

import shutil
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from PIL import Image, ImageDraw

from engine.captioning.requested_concepts import choose_requested
from engine.captioning.staleness import compute_cache_keys
from engine.concepts.body_crops import save_bodies
from engine.concepts.decide import DecisionRequest, decide
from engine.concepts.enrol import enrol
from engine.concepts.merge import merge_concepts
from engine.concepts.reference_crops import complete_crop, make_crop
from engine.concepts.review import find_suggestions
from engine.core.boxes import Box
from engine.core.types import Verdict
from engine.photos.decode import load_photo
from engine.photos.discovery import find_files
from engine.recognition.bodies import body_around, without_faces
from engine.recognition.calibrate import calibrate, calibrated_on
from engine.recognition.enrolled import HeadGroup, model_of, read_enrolled
from engine.recognition.explain.explain import explain_recognition
from engine.recognition.explain.explanation import RecognitionOutcome
from engine.recognition.fits import make_reference_set
from engine.recognition.gallery import load_gallery
from engine.recognition.recognise import look_up_all, recognise
from engine.recognition.scoring import fit
from engine.session import Session, SessionOptions
from engine.store.calibrations import StoredCalibration, Thresholds
from engine.storybook.album import ANNA, REX
from engine.storybook.photos import save_photo
from engine.storybook.world.individuals import draw_person
from engine.storybook.world.scenes import compose
from engine.vision.regions import Region, RegionFeatures

PLACES = ("beach", "forest", "city", "garden")
BOB = draw_person(np.random.default_rng(99), "man")
FIRST = datetime(2019, 5, 1, 12, 30)


def draw(path, who, seed, *, covered=False, place="snow", taken=None):
    """A photo of somebody in red; `covered` paints an ellipse over the first one's head."""
    cast = who if isinstance(who, tuple) else (who,)
    scene = compose(np.random.default_rng(seed), cast, place=place, equal=True)
    dressed = tuple(replace(c, shirt="red") for c in scene.characters)
    drawn = save_photo(replace(scene, characters=dressed), path, taken=taken)
    if covered:
        face, image = drawn.faces[0], Image.open(path)
        exif, h, w = image.getexif(), (face.y1 - face.y0) / 4, (face.x1 - face.x0) / 8
        ellipse = [face.x0 - w, face.y0 - h, face.x1 + w, face.y1 + h]
        ImageDraw.Draw(image).ellipse(ellipse, fill=(120, 72, 40))
        image.save(path, "JPEG", quality=92, exif=exif)
    return path


def faceless(session, folder, seeds):
    """Photos of Anna in which no face is found."""
    photos = [load_photo(draw(folder / f"covered{s}.jpg", ANNA, s, covered=True)) for s in seeds]
    found = [p for p, faces in zip(photos, session.extractor.find_faces(photos, keep=True), strict=True) if not faces]
    assert len(found) >= 3
    return found


def person_views(session, photos):
    """Views of the detector's regions of people, as enrolling makes them of bodies."""
    for photo in photos:
        found = session.extractor.find_regions([photo], keep=True)[0]
        row = next(i for i, r in enumerate(found.regions) if r.source == "detector")
        body = make_crop(photo, found.regions[row].box, found.features[row])
        yield complete_crop(session.extractor, photo, body, found, np.random.default_rng(0))


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A folder with a store that knows Anna, enrolled with photos of 2019 to 2022, and Rex."""
    folder = tmp_path_factory.mktemp("bodies")
    session = Session(SessionOptions("storybook"), folder / "home")
    for name, who, first in (("Anna", ANNA, 0), ("Rex", REX, 20)):
        for k, place in enumerate(PLACES):
            taken = FIRST.replace(year=2019 + k) if k else FIRST
            draw(folder / name / f"{k}.jpg", who, first + k, place=place, taken=taken)
        enrol(session, name, [folder / name])
    session.store.close()
    return folder


@pytest.fixture
def plain(known, home):
    """A session on a copy of that store, as MYVLM_HOME."""
    shutil.copytree(known / "home", home, dirs_exist_ok=True)
    return Session(SessionOptions("storybook"), home)


@pytest.fixture
def allowing(plain):
    """The same with bodies allowed."""
    return Session(replace(plain.choices, allow_body=True), plain.folder)


def learn_bodies(session, photos):
    """Make Anna's body be what these photos show."""
    anna = session.store.get("Anna")
    views = [make_crop(load_photo(r.path), r.box, np.zeros(1)) for r in anna.references]
    bodies = list(person_views(session, photos))
    save_bodies(session.store, session.recogniser_config, anna, [replace(views[0], body=b) for b in bodies])


def enrolled(session):
    return load_gallery(session.store, session.recogniser_config, session.recognition, session.store.all())


def named(session, photo):
    (found,) = recognise(session.extractor, [photo], enrolled(session))
    return [(m.name, m.source) for m in found]


def test_enrolling_a_person_keeps_the_body_beside_the_face(plain):
    anna = plain.store.get("Anna")
    head = plain.store.load_head(anna.id, plain.recogniser_config.id)
    assert head.kind == "body"
    assert set(head.references) == {r.content_hash for r in anna.references}
    assert sorted(set(head.encode()[0]["photos"].tolist())) == [0, 1, 2, 3]
    faces = plain.store.load_head(anna.id, plain.recogniser_config.faces_id)
    assert len(faces.encode()[0]["templates"]) == 4


@pytest.mark.parametrize("detector", [None, "/not/there/detector"])
def test_without_a_detector_only_the_face_is_kept(known, tmp_path, detector):
    session = Session(SessionOptions("storybook", allow_body=True), tmp_path / "bare")
    session.__dict__["recogniser_config"] = replace(session.recogniser_config, detector=detector)
    done = enrol(session, "Anna", [known / "Anna"])
    assert len(done.concept.references) == 4
    assert [h.kind for h in session.store.facts(done.concept).heads] == ["face"]
    assert read_enrolled(session.store, session.recogniser_config, session.recognition).group(HeadGroup.BODIES) == {}
    assert enrolled(session).bodies is None


def test_a_covered_face_is_unknown_unless_bodies_are_allowed(plain, allowing, tmp_path):
    learn_bodies(plain, faceless(plain, tmp_path / "taught", range(300, 308)))
    photos = faceless(plain, tmp_path / "asked", range(50, 58))
    assert [named(plain, p) for p in photos] == [[]] * len(photos)
    found = [named(allowing, p) for p in photos]
    assert [("Anna", "body")] in found
    assert all(f in ([], [("Anna", "body")]) for f in found)


def test_every_way_of_looking_agrees(plain, allowing, tmp_path):
    learn_bodies(plain, faceless(plain, tmp_path / "taught", range(300, 308)))
    photos = faceless(plain, tmp_path / "asked", range(50, 58))
    photos.append(load_photo(draw(tmp_path / "both.jpg", (ANNA, REX), 8)))
    judges = enrolled(allowing)
    found = recognise(allowing.extractor, photos, judges)
    hashes = [(p.facts.content_hash, None) for p in photos]
    for known, matches in zip(look_up_all(allowing.extractor, hashes, judges), found, strict=True):
        assert [(m.name, m.source) for m in known.matches] == [(m.name, m.source) for m in matches]
    outcomes = set()
    for photo, matches in zip(photos, found, strict=True):
        told = explain_recognition(allowing.store, allowing.extractor, judges, photo, allowing.store.get("Anna"))
        outcomes.add(told.source if told.outcome is RecognitionOutcome.NAMED else None)
        match = next((m for m in matches if m.name == "Anna"), None)
        assert (told.outcome is RecognitionOutcome.NAMED) == (match is not None)
        if match is not None:
            assert (told.source, told.score, told.box.rounded()) == (match.source, match.score, match.box.rounded())
    assert {"face", "body"} <= outcomes


def test_a_visible_face_that_is_not_the_persons_is_never_named_by_the_body(plain, allowing, tmp_path):
    bobs = [load_photo(draw(tmp_path / f"bob{s}.jpg", BOB, s)) for s in range(70, 76)]
    learn_bodies(plain, bobs[:5])
    judges = enrolled(allowing)
    column = [c.name for c in judges.bodies.concepts].index("Anna")
    scores = [judges.bodies.score(allowing.extractor.find_regions([p], keep=True)[0].features)[:, column] for p in bobs]
    assert max(s.max() for s in scores) > judges.bodies.name_thresholds[column]
    for photo in bobs:
        assert named(allowing, photo) == []


def test_whose_face_shows_is_not_named_by_a_body_as_well(plain, allowing, tmp_path):
    learn_bodies(plain, faceless(plain, tmp_path / "taught", range(300, 308)))
    photos = [load_photo(draw(tmp_path / f"two{s}.jpg", (ANNA, ANNA), s, covered=True)) for s in range(6)]
    judges = enrolled(allowing)
    without = replace(judges, faces=None)
    by_face = [p for p in photos if named(plain, p) == [("Anna", "face")]]
    by_body = recognise(allowing.extractor, by_face, without)
    assert [("Anna", "body")] in [[(m.name, m.source) for m in found] for found in by_body]
    assert [named(allowing, p) for p in by_face] == [[("Anna", "face")]] * len(by_face)


def test_what_the_user_rejected_is_not_named_by_the_body(plain, allowing, tmp_path):
    learn_bodies(plain, faceless(plain, tmp_path / "taught", range(300, 308)))
    photos = faceless(plain, tmp_path / "asked", range(50, 58))
    photo = next(p for p in photos if named(allowing, p))
    decide(plain, [DecisionRequest(photo.path, "Anna", Verdict.REJECT)])
    assert named(allowing, photo) == []


def test_things_and_faces_are_judged_as_without_bodies(plain, allowing):
    without, beside = enrolled(plain), enrolled(allowing)
    assert without.bodies is None
    for a, b in ((without.faces, beside.faces), (without.regions, beside.regions)):
        assert (a.concepts, a.fingerprint, a.name_thresholds.tolist()) == (
            b.concepts,
            b.fingerprint,
            b.name_thresholds.tolist(),
        )
    assert [c.name for c in without.regions.concepts] == ["Rex"]


def test_allowing_bodies_makes_captions_out_of_date(plain, allowing):
    keys = []
    for s in (plain, allowing):
        concepts = choose_requested(s.store, s.recogniser_config, s.recognition, s.vlm_in_use, None)
        key = compute_cache_keys(s.store, s.recogniser_config, s.vlm_in_use, concepts, enrolled(s)).recognition_key
        keys.append(key)
    assert keys[0] != keys[1]


def test_review_asks_about_bodies_that_may_be_somebody(plain, allowing, tmp_path):
    photos = faceless(plain, tmp_path / "asked", range(50, 58))
    learn_bodies(plain, faceless(plain, tmp_path / "taught", range(300, 308)))
    known = read_enrolled(allowing.store, allowing.recogniser_config, allowing.recognition)
    heads = known.group(HeadGroup.BODIES)
    scorer = fit(make_reference_set(allowing.recogniser_config, heads, ()))
    tensors = {**scorer.tensors(), "strangers": scorer.gallery.cohort[:0]}
    never = {c.id: Thresholds(99.0, 0.0 if c.name == "Anna" else 99.0, True) for c in heads}
    keys = (
        model_of(allowing.recogniser_config, allowing.recognition, heads),
        known.digest_of(heads),
    )
    allowing.store.calibrations.save(StoredCalibration(tmp_path, *keys, 1.0, 100, 0.0, never, tensors))
    told = find_suggestions(allowing, [p.path for p in photos], None, tmp_path).suggestions
    assert {(m.match.name, m.match.source) for m in told} == {("Anna", "body")}
    assert len({m.path for m in told}) == len(told)
    assert {e.path.name for e in told[0].nearest} <= {f"{k}.jpg" for k in range(4)}
    assert not find_suggestions(plain, [p.path for p in photos], None, tmp_path).suggestions


def test_bodies_are_calibrated_on_their_own(plain, allowing, tmp_path):
    library = tmp_path / "library"
    library.mkdir()
    for n in range(100):
        Image.fromarray(np.full((48, 64, 3), (n, 2 * n, 120), np.uint8)).save(library / f"{n}.png")
    files = list(find_files([library]))
    assert {p.kind for p in calibrate(plain, files, library)} == {"people", "things"}
    before = [j.fingerprint for j in enrolled(plain).classifiers.values()]
    assert calibrated_on(allowing, library) == 0
    promises = calibrate(allowing, files, library)
    assert [p.kind for p in promises] == ["people", "things", "bodies"]
    assert sum(p.per_1000 for p in promises) == pytest.approx(1.0)
    assert calibrated_on(allowing, library) > 0
    assert calibrated_on(plain, library) > 0
    assert [
        j.fingerprint
        for j in load_gallery(
            plain.store, plain.recogniser_config, plain.recognition, plain.store.all(), library
        ).classifiers.values()
    ] == before


def test_the_body_of_a_face_is_the_smallest_person_around_it():
    face = Box(40, 20, 60, 40)
    regions = (
        Region(Box(0, 0, 200, 200), "photo"),
        Region(Box(35, 15, 65, 44), "detector", "person"),  # hardly more than the head
        Region(Box(20, 10, 90, 180), "detector", "person"),
        Region(Box(0, 0, 190, 190), "detector", "person"),
        Region(Box(30, 10, 80, 90), "detector", "dog"),
        Region(Box(100, 10, 150, 180), "detector", "person"),
    )
    found = RegionFeatures(regions, np.zeros((6, 2), np.float32))
    assert body_around(found, face) == 2
    assert body_around(found, Box(300, 300, 310, 310)) is None
    assert without_faces(found, [face]).tolist() == [False, False, False, False, False, True]


def test_it_is_shown_when_references_were_taken(plain, myvlm, tmp_path):
    shown = myvlm("concepts", "show", "Anna", "--vlm", "storybook")
    assert shown.code == 0, shown.err
    assert [f"0.jpg, taken {FIRST.date()}" in line for line in shown.out.splitlines()[1:5]].count(True) == 1
    taken = [
        r["taken"][:4] for r in myvlm("concepts", "show", "Anna", "--vlm", "storybook", "--json").json["references"]
    ]
    assert taken == ["2019", "2020", "2021", "2022"]
    asked = draw(tmp_path / "asked.jpg", ANNA, 104)
    told = myvlm("concepts", "show", "Anna", asked, "--vlm", "storybook", "--json").json
    assert told["nearest"]["taken"][:4] in taken
    assert ", taken 20" in myvlm("concepts", "show", "Anna", asked, "--vlm", "storybook").out


def test_a_photo_without_a_date_has_none(home, tmp_path, myvlm):
    draw(tmp_path / "a" / "0.jpg", ANNA, 0)
    enrol(Session(SessionOptions("storybook"), home), "Anna", [tmp_path / "a"])
    document = myvlm("concepts", "show", "Anna", "--vlm", "storybook", "--json").json
    assert [r["taken"] for r in document["references"]] == [None]
    assert ", taken" not in myvlm("concepts", "show", "Anna", "--vlm", "storybook").out


def test_merging_keeps_dates_and_bodies(plain, known, myvlm, tmp_path):
    draw(tmp_path / "b" / "4.jpg", ANNA, 4, taken=FIRST.replace(year=2023))
    shutil.copy(known / "Anna" / "0.jpg", tmp_path / "b" / "0.jpg")
    enrol(plain, "Annie", [tmp_path / "b"])
    merged = merge_concepts(plain, "Anna", "Annie").concept
    body = plain.store.load_head(merged.id, plain.recogniser_config.id)
    assert set(body.references) == {r.content_hash for r in merged.references}
    assert len(body.references) == 5
    document = myvlm("concepts", "show", "Anna", "--vlm", "storybook", "--json").json
    taken = [r["taken"] for r in document["references"]]
    assert sorted(t[:4] for t in taken) == ["2019", "2020", "2021", "2022", "2023"]


def test_commands_take_the_option(plain, myvlm, tmp_path):
    learn_bodies(plain, faceless(plain, tmp_path / "taught", range(300, 308)))
    photos = faceless(plain, tmp_path / "asked", range(50, 58))
    paths = [p.path for p in photos]
    look = ("locate", "Anna", *paths, "--vlm", "storybook", "--json")
    assert {p["box"] is None for p in myvlm(*look).json["photos"]} == {True}
    found = [p for p in myvlm(*look, "--allow-body").json["photos"] if p["box"]]
    assert found
    assert {p["region"] for p in found} == {"body"}
    told = myvlm("concepts", "show", "Anna", found[0]["file"], "--vlm", "storybook", "--allow-body")
    assert "named: no face was recognised; by the body" in told.out
    for command in (("caption", *paths), ("status", *paths), ("review", *paths)):
        done = myvlm(*command, "--vlm", "storybook", "--allow-body", "--json")
        assert done.code == 0, done.err
    refused = myvlm(*look, "--allow-body", "--heads", "paper")
    assert refused.code == 2
    assert "--allow-body" in refused.err
    myvlm("concepts", "forget", "Anna", "--yes")
    assert "has no effect" in myvlm("status", *paths, "--vlm", "storybook", "--allow-body").err
