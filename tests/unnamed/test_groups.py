"""Finding groups of those who have no name, naming and ignoring them."""

import os
import shutil
import stat
import time
from dataclasses import replace

import numpy as np
import pytest

import engine.unnamed.collect
from engine.concepts.decide import DecisionRequest, decide
from engine.concepts.forget import forget
from engine.core.boxes import Box, iou
from engine.core.errors import DoubtfulError, NameRefusedError, NoUsablePhotoError, UsageError
from engine.core.types import Kind, Verdict
from engine.photos.discovery import find_files
from engine.recognition.recognise import Recognition
from engine.session import Session, SessionOptions
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.regions.named import add_regions
from engine.store.concepts import Embedding
from engine.unnamed.find import GroupRequest, find_unnamed
from engine.unnamed.groups import Group, Sighting, from_json, to_json
from engine.unnamed.kept import KeptGroups
from engine.unnamed.make_groups import choose_views
from engine.unnamed.name import ignore_group, name_group
from engine.unnamed.sightings import animal_rows, unnamed_faces
from engine.unnamed.undo import undo_last
from engine.vision.config import FaceQuality
from engine.vision.faces import Face
from engine.vision.regions import Region, grid_regions
from tests.concepts.test_from_regions import region_of, write_sidecar

GATE = FaceQuality(24, 15, 0.5)


def find(session, strangers, kind=Kind.PERSON):
    request = GroupRequest(kind, (strangers.folder,), strangers.folder)
    return find_unnamed(session, find_files([strangers.folder]), request)


def files_of(group):
    return {m.path.name for m in group.members}


def listed(session, strangers):
    return set().union(*map(files_of, find(session, strangers).groups))


def test_people_are_grouped_and_the_most_frequent_come_first(session, strangers):
    groups = find(session, strangers)
    assert (groups.photos, groups.unreadable, groups.several) == (16, (), 2)
    first, second, *rest = groups.groups
    assert (files_of(first), first.photos) == (strangers.names("anna"), 6)
    assert (files_of(second), second.photos) == (strangers.names("ben"), 4)
    assert set().union(*map(files_of, rest)) == strangers.names("nobody")
    assert first.dates == ("2021-05-01", "2021-11-17")
    assert first.sample in first.best
    assert 2 <= len(first.best) <= 6
    faces = {p.path.name: p.faces[0] for p in strangers.photos["anna"][:5]}
    assert all(iou(m.box, faces[m.path.name]) > 0.5 for m in first.members if m.path.name in faces)


def test_animals_are_grouped(session, strangers):
    (rex,) = find(session, strangers, Kind.PET).groups
    assert files_of(rex) == strangers.names("rex")
    assert rex.word == "pet"


def test_a_known_list_reads_no_photo_and_groups_nothing(session, strangers, monkeypatch):
    groups = find(session, strangers)
    monkeypatch.delattr(engine.unnamed.collect, "group_photos")
    again = find(Session(SessionOptions("storybook"), session.folder), strangers)
    assert again == groups
    assert from_json(to_json(groups)) == groups
    private = [p for p in (session.folder / "cache").iterdir() if p.is_file()]
    assert {stat.S_IMODE(p.stat().st_mode) for p in private} == {0o600}


def test_a_copy_of_a_photo_counts_once(session, strangers):
    before = find(session, strangers)
    shutil.copy(strangers.folder / "IMG_00.jpg", strangers.folder / "copy of it.jpg")
    after = find(session, strangers)
    assert [g.photos for g in after.groups] == [g.photos for g in before.groups]
    assert [g.id for g in after.groups] == [g.id for g in before.groups]


def test_what_changes_is_noticed(session, strangers):
    ids = [g.id for g in find(session, strangers).groups]
    (strangers.folder / "IMG_00.jpg").unlink()
    groups = find(session, strangers)
    assert groups.groups[0].photos == 5
    assert groups.groups[1].id == ids[1]
    (strangers.folder / "broken.jpg").write_bytes(b"no photo")
    for _ in range(2):
        assert [p.name for p, _ in find(session, strangers).unreadable] == ["broken.jpg"]


def test_a_face_that_a_person_named_is_not_listed(session, strangers):
    photo = strangers.photos["ben"][-1]
    path, size = strangers.folder / photo.path.name, (512, 512)
    region = region_of(photo.faces[0], size, 1, "Benjamin")
    assert path.name in listed(session, strangers)
    write_sidecar(path, [region], size)
    assert path.name not in listed(session, strangers)
    path.with_name(f"{path.name}.xmp").unlink()
    assert path.name in listed(session, strangers)
    corners = [0.5 - 1 / 3, 0.0, 0.5 + 1 / 3, 1.0]
    digits = "".join(f"{round(0xFFFF * v):04x}" for v in corners)
    ini = strangers.folder / ".picasa.ini"
    ini.write_text(f"[{path.name}]\nfaces=rect64({digits}),abc\n[Contacts2]\nabc=Benjamin;;\n")
    assert path.name not in listed(session, strangers)


def test_regions_that_myvlm_wrote_are_no_names_of_people(session, strangers):
    photo = strangers.photos["ben"][-1]
    packet = Packet(None)
    add_regions(packet, [region_of(photo.faces[0], (512, 512), 1, "Benjamin")], (512, 512))
    (strangers.folder / f"{photo.path.name}.xmp").write_bytes(packet.serialise())
    assert photo.path.name in listed(session, strangers)


def test_a_named_group_is_recognised_and_leaves_the_list(session, strangers):
    first, second, *_ = find(session, strangers).groups
    named = name_group(session, first, Kind.PERSON, "Anna")
    concept = named.enrolment.concept
    assert (concept.name, concept.kind, concept.category) == ("Anna", Kind.PERSON, "person")
    assert {r.path.name for r in concept.references} <= strangers.names("anna")
    assert named.likeness is None
    boxes = {m.content_hash: m.box for m in first.members}
    assert all(iou(r.box, boxes[r.content_hash]) > 0.9 for r in concept.references)
    left = find(session, strangers).groups
    assert files_of(left[0]) == files_of(second)
    assert not any(files_of(g) == files_of(first) for g in left)
    assert not list(strangers.folder.glob("*.xmp"))


def test_a_known_name_gets_the_photos_added(session, strangers):
    first, second, *_ = find(session, strangers).groups
    half = replace(first, id="half", members=first.members[:2], views=(0, 1))
    named = name_group(session, half, Kind.PERSON, "Anna")
    before = named.enrolment
    assert "two photos" in named.doubts[0]
    same = name_group(session, first, Kind.PERSON, "anna")
    assert same.enrolment.concept.id == before.concept.id
    assert same.enrolment.kept == len(before.concept.references)
    assert same.doubts == ()
    references = session.store.get("Anna").references
    with pytest.raises(DoubtfulError, match="does not look like the photos that Anna had before"):
        name_group(session, second, Kind.PERSON, "Anna")
    assert session.store.get("Anna").references == references
    assert len(KeptGroups(session.folder).actions()) == 2
    other = name_group(session, second, Kind.PERSON, "Anna", anyway=True)
    assert "does not look like" in other.doubts[0]
    with pytest.raises(UsageError, match="is enrolled as a person") as caught:
        name_group(session, find(session, strangers, Kind.PET).groups[0], Kind.PET, "Anna")
    assert caught.value.hint == "Choose another name."


def test_a_name_of_another_animal_is_refused(session, strangers):
    (rex,) = find(session, strangers, Kind.PET).groups
    half = replace(rex, id="half", members=rex.members[:3], views=(0, 1, 2))
    cat = name_group(session, half, Kind.PET, "Rex").enrolment.concept
    session.store.put("Rex", Kind.PET, "tabby cat", (cat.identifier,), cat.references)
    dogs = replace(rex, members=tuple(replace(m, word="dog") for m in rex.members))
    with pytest.raises(DoubtfulError, match="shows a dog, and Rex is a tabby cat"):
        name_group(session, dogs, Kind.PET, "Rex")
    assert session.store.get("Rex").references == cat.references
    kittens = replace(rex, members=tuple(replace(m, word="cat") for m in rex.members))
    assert name_group(session, kittens, Kind.PET, "Rex").enrolment.added


def test_views_that_are_far_apart_are_reported(session, strangers):
    first, second, *_ = find(session, strangers).groups
    mixed = replace(first, members=(*first.members[:3], second.members[-1]), views=(0, 1, 2, 3))
    (doubt,) = name_group(session, mixed, Kind.PERSON, "Anna").doubts
    assert second.members[-1].path.name in doubt
    assert "are far apart and may show two individuals" in doubt


def test_what_is_done_with_a_group_is_not_done_again(session, strangers):
    first, second, *_ = find(session, strangers).groups
    name_group(session, first, Kind.PERSON, "Anna")
    ignore_group(session, second, Kind.PERSON)
    session.store.rename("Anna", "Hanna")
    for again in (
        lambda: name_group(session, first, Kind.PERSON, "Ben"),
        lambda: ignore_group(session, first, Kind.PERSON),
    ):
        with pytest.raises(UsageError, match="this group was named Hanna") as caught:
            again()
        assert caught.value.hint.startswith("To change it: myvlm people --undo (2 times")
    with pytest.raises(UsageError, match="this group is ignored"):
        name_group(session, second, Kind.PERSON, "Ben")
    session.store.ignored.remove(second.id)
    assert name_group(session, second, Kind.PERSON, "Ben").enrolment.added


def test_a_pet_is_named(session, strangers):
    (rex,) = find(session, strangers, Kind.PET).groups
    concept = name_group(session, rex, Kind.PET, "Rex").enrolment.concept
    assert concept.kind is Kind.PET
    assert {r.path.name for r in concept.references} <= strangers.names("rex")
    assert find(session, strangers, Kind.PET).groups == ()


def test_a_name_that_cannot_be_stored_is_refused(session, strangers):
    group = find(session, strangers).groups[0]
    with pytest.raises(NameRefusedError):
        name_group(session, group, Kind.PERSON, "a\nb")
    assert session.store.all() == ()


def test_photos_that_changed_since_are_not_enrolled(session, strangers):
    group = find(session, strangers).groups[1]
    for path in group.members[0].path.parent.glob("*.jpg"):
        shutil.copy(strangers.folder / "IMG_00.jpg", path) if path.name != "IMG_00.jpg" else None
    with pytest.raises(NoUsablePhotoError) as caught:
        name_group(session, group, Kind.PERSON, "Ben")
    assert "changed since" in caught.value.hint
    assert session.store.all() == ()


def test_naming_is_undone(session, strangers):
    first, second, *_ = find(session, strangers).groups
    references = name_group(session, first, Kind.PERSON, "Anna").enrolment.concept.references
    added = name_group(session, second, Kind.PERSON, "Anna", anyway=True).enrolment.added
    undone = undo_last(session)
    assert (undone.removed, undone.deleted) == (added, False)
    assert session.store.get("Anna").references == references
    assert undo_last(session, "no group") is None
    undone = undo_last(session, first.id)
    assert undone.deleted
    assert session.store.all() == ()
    assert undo_last(session) is None
    assert [g.id for g in find(session, strangers).groups[:2]] == [first.id, second.id]


def test_undoing_keeps_what_was_added_since(session, strangers):
    first, second, *_ = find(session, strangers).groups
    name_group(session, first, Kind.PERSON, "Anna")
    name_group(session, second, Kind.PERSON, "Anna", anyway=True)
    undo_last(session, first.id)
    assert {r.path.name for r in session.store.get("Anna").references} <= strangers.names("ben")
    assert undo_last(session).deleted  # it was made from groups, and none is left
    assert session.store.all() == ()


@pytest.mark.parametrize("change", ["decided", "renamed", "category", "trained"])
def test_a_concept_that_was_changed_since_is_not_deleted_unasked(session, strangers, change):
    first = find(session, strangers).groups[0]
    concept = name_group(session, first, Kind.PERSON, "Anna").enrolment.concept
    if change == "decided":
        decide(session, [DecisionRequest(strangers.folder / "IMG_08.jpg", "Anna", Verdict.REJECT)])
    elif change == "trained":
        vector = np.full((1, 4), 0.5, np.float32)
        session.store.save_embedding(Embedding(concept.id, "vlm", "rev", "sks", 1, 0, 0.1, vector))
    elif change == "renamed":
        session.store.rename("Anna", "Hanna")
    else:
        session.store.put("Anna", Kind.PERSON, "girl", (concept.identifier,), concept.references)
    with pytest.raises(DoubtfulError) as caught:
        undo_last(session)
    assert "since it was named" in str(caught.value)
    assert caught.value.hint.startswith("To delete it with that: myvlm forget ")
    assert [c.id for c in session.store.all()] == [concept.id]
    assert undo_last(session, anyway=True).deleted
    assert session.store.all() == ()


def test_photos_are_removed_from_a_concept_that_was_renamed(session, strangers):
    first, second, *_ = find(session, strangers).groups
    concept = name_group(session, first, Kind.PERSON, "Anna").enrolment.concept
    name_group(session, second, Kind.PERSON, "Anna", anyway=True)
    session.store.rename("Anna", "Hanna")
    undone = undo_last(session)
    assert (undone.concept.name, undone.done) == ("Hanna", True)
    assert session.store.get("Hanna").references == concept.references


def test_nothing_is_noted_where_nothing_was_added(session, strangers):
    first = find(session, strangers).groups[0]
    name_group(session, first, Kind.PERSON, "Anna")
    best = replace(first, id="best", members=first.best, views=tuple(range(len(first.best))))
    assert name_group(session, best, Kind.PERSON, "Anna").enrolment.added == 0
    assert [a.group for _, a in KeptGroups(session.folder).actions()] == [first.id]


def test_a_step_that_is_refused_is_kept(session, strangers):
    first, second, *_ = find(session, strangers).groups
    name_group(session, first, Kind.PERSON, "Anna")
    name_group(session, second, Kind.PERSON, "Anna", anyway=True)
    anna = session.store.get("Anna")
    kept = KeptGroups(session.folder)
    (number, action), (created, _) = kept.actions()
    kept.drop(created)
    theirs = tuple(r for r in anna.references if r.content_hash in action.added)
    session.store.put("Anna", Kind.PERSON, "person", (anna.identifier,), theirs)
    with pytest.raises(UsageError, match="Anna has no other photos by now"):
        undo_last(session)
    assert kept.actions() == [(number, action)]


def test_an_ignored_group_stays_away_also_in_new_photos(session, strangers, home):
    first, second, *_ = find(session, strangers).groups
    hidden = strangers.folder.parent / "later"
    hidden.mkdir()
    for name in ("IMG_00.jpg", "IMG_01.jpg"):
        os.replace(strangers.folder / name, hidden / name)
    (small,) = [g for g in find(session, strangers).groups if g.photos > 1 and "IMG_02.jpg" in files_of(g)]
    assert small.photos == 4
    ignore_group(session, small, Kind.PERSON)
    assert files_of(find(session, strangers).groups[0]) == files_of(second)
    for name in ("IMG_00.jpg", "IMG_01.jpg"):
        os.replace(hidden / name, strangers.folder / name)
    groups = find(session, strangers)
    assert files_of(groups.groups[0]) == files_of(second)
    assert groups.ignored == 6
    session.cache.clear()  # its places are kept in the store
    assert find(session, strangers).ignored == 6
    undo_last(session)
    assert find(session, strangers).groups[0].id == first.id


def test_an_ignored_group_stays_away_with_another_recogniser(session, strangers):
    first = find(session, strangers).groups[0]
    ignore_group(session, first, Kind.PERSON)
    (ignored,) = session.store.ignored.all()
    session.store.ignored.put(replace(ignored, model="faces:another", mean=np.ones(7, np.float32)))
    assert find(session, strangers).ignored == 6


def test_a_suggestion_is_shown_with_the_group(tmp_path):
    group = Group("a", (Sighting(tmp_path, "c", Box(0, 0, 9, 9), 1.0, maybe="Anna"),) * 2, (0,))
    assert group.maybe == "Anna"
    assert replace(group, members=(*group.members, *[replace(group.members[0], maybe="")] * 3)).maybe == ""


def test_a_rejected_name_leaves_the_face_without_one(session, strangers):
    first = find(session, strangers).groups[0]
    name_group(session, first, Kind.PERSON, "Anna")
    photo = strangers.folder / strangers.photos["ben"][-1].path.name
    decide(session, [DecisionRequest(photo, "Anna", Verdict.CONFIRM)])
    assert photo.name not in listed(session, strangers)
    decide(session, [DecisionRequest(photo, "Anna", Verdict.REJECT)])
    assert photo.name in listed(session, strangers)


def test_forgetting_deletes_what_was_found(session, strangers):
    groups = find(session, strangers)
    KeptGroups(session.folder).show(groups, 2)
    name_group(session, groups.groups[0], Kind.PERSON, "Anna")
    forget(session, "Anna")
    kept = KeptGroups(session.folder)
    assert (kept.listed(Kind.PERSON), kept.count(Kind.PERSON, [strangers.folder]), kept.actions()) == (None, None, [])
    assert not (session.folder / "cache" / "groups.db").exists()


def test_faces_that_are_not_seen_well_are_counted_apart():
    faces = [
        Face(Box(0, 0, 100, 100), 0.9, np.ones(4), sharpness=200, turn=0.1),
        Face(Box(200, 0, 210, 10), 0.9, np.ones(4), sharpness=200, turn=0.1),
        Face(Box(400, 0, 500, 100), 0.9, np.ones(4), sharpness=200, turn=0.9),
    ]
    base = Sighting("a.jpg", "c", Box(0, 0, 0, 0), 0.0)
    found = unnamed_faces(base, faces, GATE, Recognition(), ())
    assert ([s.box for s in found.sightings], found.hidden) == ([faces[0].box], 2)


def test_views_are_different_and_none_is_unlike_the_group():
    rng = np.random.default_rng(0)
    centre = rng.normal(size=32)
    sides = [centre + 0.5 * rng.normal(size=32) for _ in range(3)]
    rows = [side + 0.05 * rng.normal(size=32) for side in sides for _ in range(6)]
    stranger = rng.normal(size=32)
    features = np.stack([*rows, stranger])
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    views = choose_views(features, np.ones(len(features)), most=3)
    assert {v // 6 for v in views} == {0, 1, 2}
    assert len(features) - 1 not in choose_views(features, np.ones(len(features)))
    blurred = np.where(np.arange(len(features)) == views[1], 0.1, 1.0)
    assert views[1] not in choose_views(features, blurred)
    assert choose_views(np.ones((5, 1)), np.ones(5)) == [0]  # copies show nothing new


def test_one_region_shows_an_animal_once():
    twice = [Region(Box(0, 0, 100, 100), "detector", "dog"), Region(Box(0, 10, 100, 110), "detector", "dog")]
    other = Region(Box(200, 0, 300, 100), "detector", "cat")
    assert animal_rows([*twice, other, Region(Box(0, 0, 50, 50), "detector", "mug")]) == [0, 2]
    grid = grid_regions(300, 300)
    assert animal_rows(grid) == []
    assert animal_rows([replace(r, word="dog") for r in grid]) == [0]
    assert animal_rows([replace(r, word="teddy" if r.source == "photo" else "dog") for r in grid]) == []
    cells = [replace(r, word="dog" if i in (5, 8, 11) else "") for i, r in enumerate(grid)]
    assert animal_rows(cells) == [8]
    assert animal_rows([replace(r, word="dog" if i in (5, 8) else "") for i, r in enumerate(grid)]) == []


def test_a_known_list_of_two_thousand_faces_is_loaded_at_once(session, strangers):
    groups = find(session, strangers)
    many = replace(groups, groups=tuple(replace(groups.groups[0], id=str(k)) for k in range(350)))
    kept = KeptGroups(session.folder)
    kept.save(Kind.PERSON, "key", many)
    began = time.perf_counter()
    assert kept.load(Kind.PERSON, "key") == many
    assert time.perf_counter() - began < 0.5
