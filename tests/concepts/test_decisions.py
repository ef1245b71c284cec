"""confirm, reject and merge: what the user says holds at once, for its photo, and for ever."""

import io
import json
import os
import shutil
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.core.boxes import Box
from engine.core.errors import StoreError
from engine.core.types import Decision, Kind, Verdict
from engine.photos.decode import load_photo
from engine.recognition.assignment import face_scores
from engine.recognition.feedback import Placement, Scored, place
from engine.recognition.gallery import load_gallery
from engine.recognition.recognise import look_up
from engine.session import Session, SessionOptions
from engine.store.concepts import ConceptStore
from engine.store.decisions import Decisions
from engine.store.heads import FeedbackFeatures
from engine.store.migrations import migrations
from engine.storybook.album import REX
from tests.cli.test_library import statuses, tree
from tests.concepts.test_privacy import traces
from tests.learned import draw_album, draw_references


@pytest.fixture
def album(session, tmp_path):
    """Rex alone, Rex with Anna, nobody; a store that knows both is MYVLM_HOME."""
    draw_album(tmp_path / "album")
    return tmp_path / "album"


def names(result) -> dict[str, list[str]]:
    return {Path(p["file"]).name: [c["name"] for c in p["concepts"]] for p in result.json["photos"]}


def captioned(myvlm, album, *options):
    result = myvlm("caption", album, *options, "--json")
    assert result.code == 0, result.err
    return result


def feed(monkeypatch, *lines):
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def opened():
    return Session(SessionOptions("storybook"), Path(os.environ["MYVLM_HOME"]))


def head_of(name):
    session = opened()
    concept = session.store.get(name)
    return session.store.load_head(concept.id, session.recogniser_config.head_id(concept.kind))


def test_who_is_rejected_is_named_no_more_and_other_photos_stay(myvlm, album):
    first = captioned(myvlm, album)
    assert names(first) == {"both.jpg": ["Anna", "Rex"], "nobody.jpg": [], "rex.jpg": ["Rex"]}
    before = tree(album)
    result = myvlm("reject", album / "rex.jpg", "rex", "--json")
    assert result.code == 0, result.err
    (told,) = result.json["decisions"]
    assert (told["status"], told["verdict"], told["notes"]) == ("decided", "reject", [])
    found = myvlm("status", album, "--json")
    assert statuses(found) == {"both.jpg": "current", "nobody.jpg": "current", "rex.jpg": "stale"}
    again = captioned(myvlm, album)
    assert names(again)["rex.jpg"] == []
    assert statuses(again) == {"both.jpg": "unchanged", "nobody.jpg": "unchanged", "rex.jpg": "ok"}
    after = tree(album)
    assert {n for n in after if after[n] != before.get(n)} == {"rex.jpg.xmp", "rex.jpg.myvlm.json"}
    assert b"Rex" not in after["rex.jpg.xmp"]
    assert set(statuses(captioned(myvlm, album)).values()) == {"unchanged"}
    assert set(statuses(myvlm("status", album, "--json")).values()) == {"current"}
    assert myvlm("locate", "rex", album / "rex.jpg", "--json").json["photos"][0]["status"] == "skipped"


def test_who_is_confirmed_is_named_where_the_user_says(myvlm, album):
    captioned(myvlm, album)
    before = tree(album)
    result = myvlm("confirm", album / "nobody.jpg", "Rex", "--box", "10,20,300,310")
    assert result.code == 0, result.err
    assert result.out.startswith(f"{album / 'nobody.jpg'}: Rex confirmed (confidence before: under 1 %; named from ")
    assert result.err.endswith("writes it to the sidecar.\n")
    assert statuses(myvlm("status", album, "--json"))["nobody.jpg"] == "stale"
    again = captioned(myvlm, album)
    (match,) = next(p for p in again.json["photos"] if p["file"].endswith("nobody.jpg"))["concepts"]
    assert (match["name"], match["box"]) == ("Rex", [10, 20, 300, 310])
    assert "Rex" in json.loads((album / "nobody.jpg.myvlm.json").read_text())["caption"]
    after = tree(album)
    assert {n for n in after if after[n] != before[n]} == {"nobody.jpg.xmp", "nobody.jpg.myvlm.json"}
    assert set(statuses(captioned(myvlm, album)).values()) == {"unchanged"}
    assert myvlm("confirm", album / "nobody.jpg", "Rex", "--undo").code == 0
    assert statuses(myvlm("status", album, "--json")) == {
        "both.jpg": "current",
        "nobody.jpg": "stale",
        "rex.jpg": "current",
    }
    assert names(captioned(myvlm, album))["nobody.jpg"] == []


def test_a_confirmed_person_is_named_where_no_face_is(myvlm, album):
    captioned(myvlm, album)
    result = myvlm("confirm", album / "nobody.jpg", "Anna", "--json")
    assert result.code == 0, result.err
    assert "nothing can be learned" in result.json["decisions"][0]["notes"][0]
    assert statuses(myvlm("status", album, "--json"))["nobody.jpg"] == "stale"
    again = captioned(myvlm, album)
    (match,) = next(p for p in again.json["photos"] if p["file"].endswith("nobody.jpg"))["concepts"]
    size = load_photo(album / "nobody.jpg").image.size
    assert (match["name"], match["box"], match["region"]) == ("Anna", [0, 0, *size], "photo")
    assert set(statuses(captioned(myvlm, album)).values()) == {"unchanged"}


def test_a_decision_outlives_enrolling_renaming_and_merging(myvlm, album, tmp_path):
    assert myvlm("reject", album / "rex.jpg", "Rex").code == 0
    assert myvlm("confirm", album / "nobody.jpg", "Rex").code == 0
    wanted = {"both.jpg": ["Anna", "Rex"], "nobody.jpg": ["Rex"], "rex.jpg": []}
    assert names(captioned(myvlm, album)) == wanted
    kept = head_of("Rex")
    rows = {k: kept.encode()[0][k] for k in ("confirmed", "rejected")}
    shutil.copytree(album, tmp_path / "safe")
    for photo in ("rex.jpg", "nobody.jpg"):
        (album / photo).unlink()
    myvlm("concepts", "clear-cache")
    references = sorted({r.path.parent for r in opened().store.get("Rex").references})
    result = myvlm("add-concept", "Rex", *references, "--category", "dog")
    assert result.code == 0, result.err
    assert "nothing can be learned" not in result.err
    again = head_of("Rex")
    assert all(np.array_equal(again.encode()[0][k], rows[k]) for k in rows), "without the photos and the cache"
    for photo in ("rex.jpg", "nobody.jpg"):
        shutil.copy(tmp_path / "safe" / photo, album / photo)
    assert names(captioned(myvlm, album)) == wanted
    assert myvlm("concepts", "rename", "Rex", "Max").code == 0
    renamed = {n: [w.replace("Rex", "Max") for w in who] for n, who in wanted.items()}
    assert names(captioned(myvlm, album)) == renamed
    draw_references(tmp_path / "puppy", REX, 77)
    assert myvlm("add-concept", "Puppy", tmp_path / "puppy", "--category", "dog").code == 0
    assert myvlm("reject", album / "both.jpg", "Puppy").code == 0
    assert myvlm("confirm", album / "rex.jpg", "Puppy").code == 0
    result = myvlm("concepts", "merge", "Max", "Puppy", "--yes", "--json")
    assert result.code == 0, result.err
    assert (result.json["gone"], result.json["references_added"]) == ("Puppy", 4)
    merged = names(captioned(myvlm, album))
    assert merged == {"both.jpg": ["Anna"], "nobody.jpg": ["Max"], "rex.jpg": ["Max"]}, "the later decision stays"
    assert not any(b"Puppy" in d for d in tree(album).values())
    head = head_of("Max")
    assert len(head.encode()[0]["views"]) == 2 * len(kept.encode()[0]["views"])
    assert set(head.encode()[1]["confirmed"].split()) >= set(kept.encode()[1]["confirmed"].split())


def test_decisions_teach_the_head_and_undo_makes_it_as_it_was(myvlm, album):
    before, nobody = head_of("Rex"), load_photo(album / "nobody.jpg").facts.content_hash
    fingerprint = opened().store.head_fingerprint(opened().store.get("Rex"))
    version = opened().store.get("Rex").version
    assert myvlm("confirm", album / "nobody.jpg", "Rex").code == 0
    confirmed = head_of("Rex")
    assert len(confirmed.encode()[0]["confirmed"]) == 3
    result = myvlm("reject", album / "nobody.jpg", "Rex")
    assert "before: confirm" in result.out
    assert myvlm("reject", album / "rex.jpg", "Rex").code == 0
    rejected = head_of("Rex")
    assert "confirmed" not in rejected.encode()[0]
    assert len(rejected.encode()[0]["rejected"]) == 6

    def score(head, features):
        logits = head.encode()[1]["scale"] * features @ head.encode()[0]["weight"].T + head.encode()[0]["bias"]
        return float((logits[:, 1] - logits[:, 0]).mean())

    right = confirmed.encode()[0]["confirmed"]
    wrong = next(rows for key, rows in FeedbackFeatures.of(rejected).rejected.items() if not key.startswith(nobody))
    assert score(before, right) < score(confirmed, right)
    assert score(rejected, wrong) < score(before, wrong)
    assert myvlm("reject", album / "rex.jpg", "Rex", "--undo").code == 0
    assert myvlm("reject", album / "nobody.jpg", "Rex", "--undo").code == 0
    store = opened().store
    assert store.head_fingerprint(store.get("Rex")) == fingerprint
    assert store.get("Rex").version == version


def test_a_rejected_face_is_an_anti_template(myvlm, album):
    captioned(myvlm, album)
    anna = head_of("Anna")
    assert myvlm("reject", album / "both.jpg", "Anna").code == 0
    head = head_of("Anna")
    assert head.encode()[0]["rejected"].shape == (1, anna.encode()[0]["templates"].shape[1])
    assert np.array_equal(head.encode()[0]["templates"], anna.encode()[0]["templates"])
    assert names(captioned(myvlm, album))["both.jpg"] == ["Rex"]
    shutil.copy(album / "both.jpg", album / "copy.jpg")
    assert names(captioned(myvlm, album))["copy.jpg"] == ["Rex"], "the same photo anywhere"
    assert myvlm("confirm", album / "both.jpg", "Anna").code == 0
    assert head_of("Anna").encode()[0]["confirmed"].shape == head.encode()[0]["rejected"].shape
    assert names(captioned(myvlm, album))["both.jpg"] == ["Anna", "Rex"]


def test_a_face_nearer_to_a_wrong_one_is_not_the_person():
    rng = np.random.default_rng(0)
    own, wrong = (v / np.linalg.norm(v) for v in rng.standard_normal((2, 64)))
    faces = np.stack([own, wrong + 0.9 * own, wrong + 1.1 * own])
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    plain = face_scores(faces, [own[None], own[None]])
    scores = face_scores(faces, [own[None], own[None]], [wrong[None], np.zeros((0, 1))])
    assert scores[1, 0] == -1.0
    assert np.array_equal(scores[[0, 2], 0], plain[[0, 2], 0])
    assert np.array_equal(scores[:, 1], plain[:, 1])


BOXES = [Box(0, 0, 10, 10), Box(20, 0, 30, 10), Box(40, 0, 50, 10)]


def said(concept, verdict, box=None):
    return Decision(concept, "ab", Path("/p"), box, Verdict(verdict), "2026")


@pytest.mark.parametrize(
    ("decisions", "places"),
    [
        ((), {"a": 0, "b": 1}),
        ((said("a", "reject"),), {"b": 0}),
        ((said("c", "confirm"),), {"a": 0, "b": 1, "c": 2}),
        ((said("c", "confirm", BOXES[0]),), {"b": 1, "c": 0}),
        ((said("b", "confirm"), said("a", "reject")), {"b": 0}),
        ((said("x", "confirm"),), {"a": 0, "b": 1}),
    ],
)
def test_places_after_decisions(decisions, places):
    scores = np.array([[0.9, 0.8, 0.1], [0.6, 0.7, 0.0], [0.1, 0.1, 0.2]])
    photo = Scored(("a", "b", "c"), scores, np.full(3, 0.5), BOXES)
    found = place(photo, decisions, None)
    assert {photo.ids[p.concept]: p.region for p in found} == places
    for p in found:
        assert p.score == scores[p.region, p.concept]
        assert p.box == BOXES[p.region]


def test_a_confirmation_needs_a_place():
    none = Scored(("a",), np.zeros((0, 1)), np.array([0.5]), ())
    assert place(none, (said("a", "confirm"),), None) is None
    whole = Box(0, 0, 99, 99)
    assert place(none, (said("a", "confirm"),), whole) == [Placement(0, None, 0.0, whole)]
    far = Box(70, 70, 90, 90)
    photo = Scored(("a",), np.full((3, 1), 0.2), np.array([0.5]), BOXES)
    assert place(photo, (said("a", "confirm", far),), whole) == [Placement(0, None, 0.0, far)]


def test_decisions_by_the_line(myvlm, album, monkeypatch):
    lines = [
        {"photo": str(album / "rex.jpg"), "concept": "rex", "verdict": "reject"},
        "",
        "{no json",
        {"photo": str(album / "nobody.jpg"), "box": [1, 2, 200, 300]},
        {"photo": str(album / "gone.jpg"), "concept": "Rex"},
        {"photo": str(album / "rex.jpg"), "concept": "Nobody"},
        {"photo": str(album / "rex.jpg"), "concept": "Anna", "verdict": "perhaps"},
        {"photo": str(album / "rex.jpg"), "concept": "Anna", "box": [5, 5, 1, 1]},
        {"photo": str(album / "rex.jpg"), "concept": "Anna", "box": [90000, 5, 90001, 9]},
        {"photo": str(album / "rex.jpg"), "concept": "Anna", "vredict": "reject"},
        ["a list"],
        {"photo": 3, "concept": "Rex"},
    ]
    feed(monkeypatch, *lines)
    result = myvlm("confirm", "-", "Rex", "--jsonl")
    assert result.code == 1
    assert [r["status"] for r in result.lines] == ["decided", "failed", "decided", *["failed"] * 8]
    assert "line 3: " in result.lines[1]["reason"]
    assert "2 done, 9 failed" in result.err
    assert result.lines[2]["box"] == [1, 2, 200, 300]
    assert names(captioned(myvlm, album)) == {"both.jpg": ["Anna", "Rex"], "nobody.jpg": ["Rex"], "rex.jpg": []}
    shown = myvlm("concepts", "show", "rex", "--json").json["decisions"]
    assert [(d["verdict"], Path(d["file"]).name, d["standing"]) for d in sorted(shown, key=lambda d: d["file"])] == [
        ("confirm", "nobody.jpg", "holds"),
        ("reject", "rex.jpg", "holds"),
    ]
    feed(monkeypatch, lines[0], lines[3])
    result = myvlm("confirm", "-", "Rex", "--undo", "--json")
    assert (result.code, [d["status"] for d in result.json["decisions"]]) == (0, ["undone", "undone"])
    assert [d["verdict"] for d in result.json["decisions"]] == ["reject", "confirm"]
    assert myvlm("concepts", "show", "rex", "--json").json["decisions"] == []


def test_what_stops_all_is_told_once(myvlm, album, monkeypatch):
    def fail(*_):
        raise StoreError("the disk is full")

    monkeypatch.setattr(Decisions, "put", fail)
    feed(monkeypatch, *({"photo": str(album / name)} for name in ("rex.jpg", "both.jpg", "nobody.jpg")))
    result = myvlm("confirm", "-", "Rex")
    assert (result.code, result.err.count("the disk is full")) == (1, 1)
    assert "0 done, 3 failed" in result.err


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("confirm", "{album}/gone.jpg", "Rex"), "gone.jpg"),
        (("reject", "{album}/rex.jpg", "Nobody"), "there is no concept 'Nobody'"),
        (("reject", "{album}/rex.jpg"), "no concept given"),
        (("confirm", "{album}/rex.jpg", "Rex", "--box", "1,2,3"), "box is x0, y0, x1, y1"),
        (("confirm", "{album}/rex.jpg", "Rex", "--box", "a,b,c,d"), "is not a box"),
        (("confirm", "{album}/rex.jpg", "Rex", "--undo"), "nothing was decided"),
        (("confirm", "-", "Rex", "--box", "1,2,3,4"), "for one photo"),
        (("concepts", "merge", "Rex", "Anna", "--yes"), "they cannot be one"),
        (("concepts", "merge", "Rex", "rex", "--yes"), "with itself"),
        (("concepts", "merge", "Rex", "Nobody", "--yes"), "there is no concept"),
    ],
)
def test_what_cannot_be_done_is_said(myvlm, album, command, told):
    result = myvlm(*(c.format(album=album) for c in command))
    assert (result.code, result.out) == (2, "")
    assert told in result.err
    assert {c.name for c in opened().store.all()} == {"Rex", "Anna"}
    assert opened().store.decisions.all() == ()


def test_a_decision_about_a_photo_that_changed_is_told_of(myvlm, album):
    assert myvlm("reject", album / "rex.jpg", "Rex").code == 0
    assert names(captioned(myvlm, album))["rex.jpg"] == []
    shutil.copy(album / "both.jpg", album / "rex.jpg")
    (shown,) = myvlm("concepts", "show", "Rex", "--json").json["decisions"]
    assert shown["standing"] == "changed"
    assert "no longer counts" in myvlm("concepts", "show", "Rex").out
    assert "no longer counts" in myvlm("status", album).err
    again = captioned(myvlm, album)
    photo = next(p for p in again.json["photos"] if p["file"].endswith("rex.jpg"))
    assert [c["name"] for c in photo["concepts"]] == ["Anna", "Rex"]
    assert any("no longer counts" in n for n in photo["notes"])
    (album / "rex.jpg").unlink()
    assert myvlm("concepts", "show", "Rex", "--json").json["decisions"][0]["standing"] == "not there"
    assert myvlm("reject", album / "rex.jpg", "Rex", "--undo").code == 0
    assert myvlm("concepts", "show", "Rex", "--json").json["decisions"] == []


def test_forgetting_takes_the_decisions_along(myvlm, album):
    captioned(myvlm, album)
    hashes = {n: load_photo(album / f"{n}.jpg").facts.content_hash for n in ("rex", "nobody", "both")}
    assert myvlm("reject", album / "rex.jpg", "Rex").code == 0
    assert myvlm("confirm", album / "nobody.jpg", "Rex").code == 0
    assert myvlm("confirm", album / "both.jpg", "Anna").code == 0
    home = Path(os.environ["MYVLM_HOME"])
    gone = [h.encode() for n, h in hashes.items() if n != "both"]
    gone += [os.fsencode(album / "rex.jpg"), os.fsencode(album / "nobody.jpg")]
    kept = [hashes["both"].encode(), os.fsencode(album / "both.jpg")]
    assert traces(home, gone) == sorted(gone)
    assert myvlm("forget", "Rex", "--scrub-sidecars", "--yes").code == 0
    assert traces(home, gone) == []
    assert traces(home, kept) == sorted(kept)
    assert [d.verdict for d in opened().store.decisions.all()] == [Verdict.CONFIRM]


def test_merging_people_keeps_both_faces(myvlm, album, session, tmp_path):
    references = sorted({r.path.parent for r in session.store.get("Anna").references})
    shutil.copytree(references[0], tmp_path / "again")
    assert myvlm("add-concept", "Anne", tmp_path / "again").code == 0
    twice = head_of("Anna").encode()[0]["templates"]
    result = myvlm("concepts", "merge", "Anna", "Anne", "--yes")
    assert result.code == 0, result.err
    assert "Anne is now part of Anna: 0 references" in result.out, "they are the same photos"
    assert np.array_equal(head_of("Anna").encode()[0]["templates"], twice)
    assert names(captioned(myvlm, album))["both.jpg"] == ["Anna", "Rex"]


def test_known_features_and_opened_photos_give_the_same(session, album, myvlm):
    myvlm("confirm", album / "both.jpg", "Rex", "--box", "1,1,60,60")
    captioned(myvlm, album)
    own = opened()
    enrolled = load_gallery(own.store, own.recogniser_config, own.recognition, own.store.all())
    for photo in sorted(album.glob("*.jpg")):
        document = json.loads(photo.with_name(f"{photo.name}.myvlm.json").read_text())
        found = look_up(own.extractor, document["photo"]["content_hash"], enrolled).matches
        assert [(m.name, list(m.box.rounded())) for m in found] == [(c["name"], c["box"]) for c in document["concepts"]]


def test_the_schema_before_decisions_is_brought_up_to_date(home):
    """A store of schema m002 gets its table, and keeps what it holds."""
    home.mkdir(mode=0o700, exist_ok=True)
    from sqlite_utils import Database

    db = Database(home / "store.db")
    migrations.apply(db, stop_before="m003_decisions")
    assert "decisions" not in db.table_names()
    row = ("c1", "Rex", "rex", "pet", "dog", "sks", 1, "2026")
    db.execute("insert into concepts values (?, ?, ?, ?, ?, ?, ?, ?)", row)
    db.conn.commit()
    db.close()
    store = ConceptStore(home)
    concept = store.get("rex")
    decision = Decision(concept.id, "ab" * 32, Path("/p/\udcff.jpg"), Box(1, 2, 3, 4), Verdict.CONFIRM, "2026-01-01")
    assert store.decisions.put(decision) is None
    changed = replace(decision, verdict=Verdict.REJECT, box=None, decided="2026-01-02")
    assert store.decisions.put(changed) == decision
    assert store.decisions.of(concept.id) == (changed,)
    store.put("Rex", Kind.PET, "dog", ("sks",), ())
    store.rename("Rex", "Max")
    assert store.decisions.all() == (changed,)
    store.forget("Max")
    assert store.decisions.all() == ()
    store.close()
    with sqlite3.connect(home / "store.db") as raw:
        assert raw.execute("select count(*) from decisions").fetchone() == (0,)
    raw.close()


def test_an_imported_head_keeps_what_was_decided(myvlm, album):
    from engine.concepts.import_published import _save_head

    assert myvlm("reject", album / "rex.jpg", "Rex").code == 0
    session, taught = opened(), head_of("Rex").encode()[0]["rejected"]
    weight = np.zeros((2, taught.shape[1]), np.float32)
    _save_head(session.store, session.recogniser_config, session.store.get("Rex"), weight, np.zeros(2, np.float32))
    assert np.array_equal(head_of("Rex").encode()[0]["rejected"], taught)
    assert myvlm("confirm", album / "nobody.jpg", "Rex").code == 0
    head = head_of("Rex")
    assert np.array_equal(head.encode()[0]["weight"], weight), "it was not trained here"
    assert len(head.encode()[0]["confirmed"]) == 3
