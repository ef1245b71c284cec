"""`myvlm evaluate --data`: folders of photos are read, enrolled in rounds, and measured from end to end."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.benchmarks import photo_rounds
from engine.benchmarks.photo_data import (
    MOST_PAIRS,
    PhotoData,
    PhotoFolder,
    PhotoRequest,
    ScannedPhoto,
    find_look_alikes,
    read_folders,
    scan_photos,
)
from engine.benchmarks.photo_evaluation import MARK, choose_recognisers
from engine.benchmarks.photo_figures import ThresholdSort
from engine.benchmarks.photo_rounds import group_concepts, measure_photos
from engine.benchmarks.photo_tables import photo_tables
from engine.benchmarks.shared_extractor import SharedExtractor
from engine.core.boxes import Box
from engine.core.errors import UsageError
from engine.core.types import Kind
from engine.recognition import calibrate
from engine.session import Session, SessionOptions
from engine.storybook.photos import save_photo
from engine.storybook.world.individuals import draw_individual
from engine.storybook.world.scenes import compose

STORYBOOK = SessionOptions("none", "storybook", "cpu")
JSON_KEYS = ["format", "protocol", "data", "strangers", "recognisers", "references", "seeds", "only_concepts"]
JSON_KEYS += ["exclude_concepts", "photos", "left_out", "tables", "wrong_names"]


def silent(text):
    pass


@pytest.fixture(scope="session")
def drawings(tmp_path_factory) -> Path:
    """Three photos each of a drawn dog, a dog of another colour and a mug; one of a car, in a folder of its own."""
    folder, rng = tmp_path_factory.mktemp("drawings"), np.random.default_rng(8)
    for name, category in (("dog", "dog"), ("dog2", "dog"), ("mug", "mug")):
        who = draw_individual(rng, category)
        for k in range(3):
            save_photo(compose(rng, (who,)), folder / "album" / name / f"{k}.jpg")
    save_photo(compose(rng, (draw_individual(rng, "car"),)), folder / "others" / "trips" / "car.jpg")
    return folder


@pytest.fixture
def album(drawings, tmp_path) -> Path:
    shutil.copytree(drawings, tmp_path / "drawings")
    return tmp_path / "drawings" / "album"


@pytest.fixture
def others(album) -> Path:
    return album.parent / "others"


def tables_of(document):
    return {t["id"]: t["rows"] for t in document["tables"]}


def test_from_folders_to_tables(album, others, tmp_path, myvlm):
    (album / "dog" / "3.jpg").write_bytes(b"no photo")
    (album / "mug" / "3.jpg").write_bytes((album / "mug" / "0.jpg").read_bytes())
    before = {p: p.read_bytes() for p in album.rglob("*") if p.is_file()}
    out = tmp_path / "out"
    given = ("--recogniser", "storybook", "--references", "2,1", "--seeds", "0", "--strangers", others, "--out", out)
    result = myvlm("evaluate", "--data", album, *given, "--json")
    assert result.code == 0, result.err
    assert "real_photos.md" in result.err
    document, tables = result.json, tables_of(result.json)
    assert list(document) == JSON_KEYS
    assert (document["data"], document["references"], document["photos"]) == ("album", [1, 2], 10)
    assert json.loads((out / "real_photos.json").read_text("utf-8")) == document
    at = {(r["references"], r["thresholds"]): r for r in tables["photos"]}
    assert list(at) == [(n, t) for n in ("1", "2") for t in ("not calibrated", "paper's heads")]
    one, two = at["1", "not calibrated"], at["2", "not calibrated"]
    assert (one["recall"]["n"], two["recall"]["n"]) == (6, 3)  # three concepts with three photos each
    assert two["strangers: wrong name"]["n"] == 10
    assert two["wrong names"].endswith("in 11 looks")  # dog2 and car beside dog and mug; six others beside dog2
    alike = {r["references"]: r for r in tables["alike"]}
    assert alike["2"]["strangers: wrong name"]["n"] == 6  # the dogs are strangers to each other
    assert {r["kind"] for r in tables["kinds"]} == {"pet", "thing"}
    pairs = {(r["enrolled"], r["photos of"]): r for r in tables["look-alikes"]}
    assert set(pairs) == {(e, p) for e in ("dog", "dog2", "dog and dog2") for p in ("dog", "dog2")}
    assert pairs["dog", "dog2"]["wrong name"]["n"] == 3 and pairs["dog", "dog2"]["right name"] == "—"
    assert pairs["dog and dog2", "dog2"]["right name"]["n"] == 1
    assert [r["concept"] for r in tables["concepts"]] == ["dog", "dog2", "mug"]
    told = "\n".join(document["left_out"])
    assert "dog/3.jpg" in told and "mug/3.jpg: the same photo is there twice" in told and str(tmp_path) not in told
    page = (out / "real_photos.md").read_text("utf-8")
    assert MARK in page and "calibration needs 100 photos, and here are 10" in page and str(tmp_path) not in page
    assert "trained on drawings only" in page
    assert (out / "real_photos.png").read_bytes().startswith(b"\x89PNG")
    assert {p: p.read_bytes() for p in album.rglob("*") if p.is_file()} == before


def test_thresholds_are_calibrated_where_photos_suffice(album, monkeypatch):
    monkeypatch.setattr(photo_rounds, "FEWEST", 9)
    monkeypatch.setattr(calibrate, "FEWEST", 9)
    request = PhotoRequest(album, references=(2,), seeds=(0,), look_alikes=(("dog", "dog2"),))
    measured = measure_photos(STORYBOOK, request, silent)
    assert measured.is_calibrated and measured.photos == 9
    assert [r.thresholds for r in measured.rounds[:3]] == list(ThresholdSort)
    plain, fitted, paper = measured.rounds[:3]
    assert [p.photo for p in plain.photos] == [p.photo for p in fitted.photos] == [p.photo for p in paper.photos]
    assert {c.name for c in plain.concepts} == {"dog", "mug"} and {c.enrolled_as for c in plain.concepts} <= set(Kind)
    assert [len(r.concepts) for r in measured.pairs] == [1, 1, 1, 1, 2, 2]


def test_chosen_concepts_are_enrolled_together(album):
    request = PhotoRequest(album, references=(1,), seeds=(0,), only=("dog", "mug"))
    measured = measure_photos(STORYBOOK, request, silent)
    assert [[c.name for c in r.concepts] for r in measured.rounds] == [["dog", "mug"]] * 2  # usual thresholds, paper's
    assert {p.folder for p in measured.rounds[0].photos if p.concept is None} == {"dog2"}
    assert not measured.pairs  # dog2 is not chosen


def test_excluded_concepts_are_not_even_strangers(album):
    request = PhotoRequest(album, references=(1,), seeds=(0,), exclude=("dog2",))
    assert [f.name for f in read_folders(request)] == ["dog", "mug"]


def test_who_cannot_be_enrolled_counts_as_missed(album):
    for k in range(3):
        Image.new("RGB", (12, 12), (80 * k, 0, 0)).save(album / "mug" / f"{k}.jpg")
    request = PhotoRequest(album, references=(1,), seeds=(0,), look_alikes=())
    measured = measure_photos(STORYBOOK, request, silent)
    plain = measured.rounds[0]
    assert [(c.name, c.enrolled_as != "") for c in plain.concepts] == [("dog", True), ("mug", False)]
    assert sum(p.concept == 1 for p in plain.photos) == 2 and not any(1 in p.names for p in plain.photos)
    assert measured.refused == {"mug": "none of the photos shows 'mug'"}
    told = "\n".join(photo_tables([measured], request)[0].notes)
    assert "storybook did not enrol mug in 1 of 1 rounds, where it is missed: none of the photos shows 'mug'." in told


def test_a_photo_in_two_folders_is_used_for_neither(album, others, tmp_path):
    (album / "mug" / "dog.jpg").write_bytes((album / "dog" / "0.jpg").read_bytes())
    (others / "mug.jpg").write_bytes((album / "mug" / "1.jpg").read_bytes())
    request = PhotoRequest(album, strangers=(others,))
    data = scan_photos(Session(STORYBOOK, tmp_path / "scan"), request, read_folders(request))
    assert {f.name: [p.label for p in f.photos] for f in data.folders} == {
        "dog": ["dog/1.jpg", "dog/2.jpg"],
        "dog2": ["dog2/0.jpg", "dog2/1.jpg", "dog2/2.jpg"],
        "mug": ["mug/0.jpg", "mug/1.jpg", "mug/2.jpg"],
    }
    assert [(p.label, p.word) for p in data.strangers] == [("others/trips/car.jpg", "trips")]
    assert "dog/0.jpg: dog and mug have the same photo" in data.left_out
    assert "mug/dog.jpg: dog and mug have the same photo" in data.left_out
    assert "others/mug.jpg: the same photo is there twice" in data.left_out


def folder_of(name, count=6, word=""):
    photos = tuple(ScannedPhoto(Path(f"{name}/{k}.jpg"), f"{name}{k}", f"{name}/{k}.jpg", word) for k in range(count))
    return PhotoFolder(Path(name), word, None, photos=photos)


def test_more_references_include_fewer_and_are_no_tests():
    folder = folder_of("dog")
    for seed in range(3):
        few, many = folder.draw(1, seed), folder.draw(3, seed)
        assert many[0][:1] == few[0]
        assert sorted(p.label for p in (*many[0], *many[1])) == [p.label for p in folder.photos]
    assert len({tuple(p.label for p in folder.draw(3, seed)[0]) for seed in range(20)}) > 5
    assert [p.label[-5] for p in folder.draw(3, 0)[0]] != [p.label[-5] for p in folder_of("cat").draw(3, 0)[0]]


def test_every_second_concept_is_a_stranger_to_the_others():
    data = PhotoData((folder_of("a"), folder_of("b"), folder_of("c", 1), folder_of("d")), (), ())
    request = PhotoRequest(Path("album"), references=(1, 3))
    assert [[f.name for f in g] for g in group_concepts(data, request)] == [["a", "d"], ["b"]]
    chosen = group_concepts(data, replace(request, only=("a", "b")))
    assert [[f.name for f in g] for g in chosen] == [["a", "b"]]
    with pytest.raises(UsageError, match="1 concepts have more than 5 photos, and two are needed"):
        group_concepts(PhotoData((folder_of("a"),), (), ()), PhotoRequest(Path("album"), references=(5,)))
    alone = PhotoData((folder_of("a"),), folder_of("sea").photos, ())
    assert [[f.name for f in g] for g in group_concepts(alone, request)] == [["a"]]


def test_look_alikes_differ_by_a_number():
    folders = [folder_of(n) for n in ("1", "2", "Dog", "cat_1", "cat_2", "dog7", "dogs")]
    pairs, more = find_look_alikes(PhotoRequest(Path("album")), folders)
    assert [(a.name, b.name) for a, b in pairs] == [("Dog", "dog7"), ("cat_1", "cat_2")] and more == 0
    pairs, more = find_look_alikes(PhotoRequest(Path("album")), [folder_of(f"dog{k}") for k in range(6)])
    assert (len(pairs), more) == (MOST_PAIRS, 5)
    given = PhotoRequest(Path("album"), look_alikes=(("1", "dogs"),))
    assert [(a.name, b.name) for a, b in find_look_alikes(given, folders)[0]] == [("1", "dogs")]


def test_class_words_of_folders(tmp_path):
    root = tmp_path / "album"
    for name in ("anna", "backpack_dog", "bear_plushie", "cat 2", "my-teapot"):
        (root / name).mkdir(parents=True)
    classes = (
        "Classes\n\nsubject_name,class\nbackpack_dog,backpack\nbear_plushie,stuffed animal\n\nprompts = [\n'a {0}',\n"
    )
    (root / "prompts_and_classes.txt").write_text(classes, "utf-8")
    (root / "concepts.json").write_text('{"anna": {"kind": "person", "category": "woman"}}', "utf-8")
    found = {f.name: f for f in read_folders(PhotoRequest(root))}
    assert {n: (f.word, f.kind) for n, f in found.items()} == {
        "anna": ("person", Kind.PERSON),
        "backpack_dog": ("backpack", Kind.THING),
        "bear_plushie": ("stuffed animal", Kind.THING),
        "cat 2": ("cat", Kind.PET),
        "my-teapot": ("teapot", None),
    }
    assert (found["anna"].given_kind, found["anna"].given_category) == (Kind.PERSON, "woman")
    assert (found["cat 2"].given_kind, found["cat 2"].given_category) == (None, None)  # the recogniser has to see it


def test_views_are_made_once_and_stay_the_same(drawn, tmp_path):
    session = Session(STORYBOOK, tmp_path / "home-views")
    box = Box(10, 10, 100, 120)
    with Image.open(drawn.path) as opened:
        image = opened.convert("RGB")
    asked = []
    extractor = SharedExtractor(
        session.recogniser_config, session.cache, lambda: asked.append("models") or session.recogniser
    )
    plain = session.extractor.encode_views(image, box, np.random.default_rng(4))
    generators = [np.random.default_rng(4) for _ in range(3)]
    session.extractor.encode_views(image, box, generators[2])
    views = [extractor.encode_views(image, box, g) for g in generators[:2]]
    assert np.array_equal(views[0], plain) and views[1] is views[0]
    assert len({repr(g.bit_generator.state) for g in generators}) == 1
    assert not np.array_equal(extractor.encode_views(image, box, np.random.default_rng(5)), plain)
    assert asked == ["models"]


def test_real_photos_are_left_to_recognisers_that_know_them():
    assert [c.name for c in choose_recognisers(("storybook",))] == ["storybook"]
    every = choose_recognisers(())
    assert every and len({c.drawn_only for c in every}) == 1
    with pytest.raises(UsageError, match="no recogniser called 'eyes'"):
        choose_recognisers(("storybook", "eyes"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--data", "no-such-folder"), "is not a folder"),
        (("--data", "album", "--strangers", "no-such-folder"), "is not a folder"),
        (("--data", "album", "--recogniser", "eyes"), "no recogniser called 'eyes'"),
        (("--data", "album", "--only-concepts", "rex"), "has no folder 'rex'"),
        (("--data", "album", "--exclude-concepts", "rex"), "has no folder 'rex'"),
        (("--data", "album", "--look-alikes", "one:rex"), "has no folder 'rex'"),
        (("--data", "album", "--look-alikes", "one"), "takes pairs of two names"),
        (("--data", "album", "--look-alikes", "one:one"), "takes pairs of two names"),
        (("--data", "album", "--only-concepts", "one", "--exclude-concepts", "one"), "is excluded and asked for"),
        (("--data", "album", "--references", "0"), "whole numbers from 1"),
        (("--data", "album", "--seeds", "one"), "--seeds takes whole numbers"),
        (("--data", "album", "--photos", "9"), "--photos is not for --data"),
        (("--data", "album", "--workers", "2"), "--workers is not for --data"),
        (("--data", "album", "--recognition", "--vlms", "storybook"), "--vlms is not for --data"),
        (("--data", "album", "--paper", "--strangers", "album"), "--strangers is not for --paper"),
        (("--recognition", "--references", "3"), "--references is not for --recognition"),
        (("--references", "3"), "--references is for --data"),
        (("--data", "album"), "1 concepts have more than 1 photos, and two are needed"),
    ],
)
def test_requests_that_make_no_sense_are_refused(arguments, told, drawings, tmp_path, monkeypatch, myvlm):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(drawings / "album" / "mug", tmp_path / "album" / "one")
    result = myvlm("evaluate", *arguments)
    assert result.code == 2
    assert told in result.err and not result.out


def test_files_of_others_are_not_overwritten(album, tmp_path, myvlm):
    (tmp_path / "real_photos.md").write_text("mine", "utf-8")
    result = myvlm("evaluate", "--data", album, "--out", tmp_path)
    assert result.code == 2 and "is not from `myvlm evaluate --data`" in result.err
    assert (tmp_path / "real_photos.md").read_text("utf-8") == "mine"


def test_vlms_ask_for_captions_and_nothing_for_recognition(album, monkeypatch, myvlm):
    asked = {"photos": [], "paper": []}
    for what, settings in asked.items():
        run = f"myvlm_cli.evaluate._run_{what}"
        monkeypatch.setattr(run, lambda given, as_json, settings=settings: settings.append(given))
    for arguments in ((), ("--recognition",), ("--vlms", "storybook"), ("--paper", "--vlms", "storybook")):
        assert myvlm("evaluate", "--data", album, *arguments).code == 0
    plain, synonym = asked["photos"]
    assert plain == synonym and plain.request == PhotoRequest(album) and plain.recognisers == ()
    short, long = asked["paper"]
    assert short == long and (short.data, short.vlms) == (album, ("storybook",))
