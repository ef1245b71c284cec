"""Names without a VLM: photos that no VLM on this machine knows, concepts that it has not learned, names of others."""

import json
from dataclasses import replace

import pytest
from PIL import Image

from engine.captioning.caption import caption_photos
from engine.captioning.caption_run import CaptionRequest
from engine.captioning.names_only import caption_holds
from engine.captioning.status import StatusRequest, check_status
from engine.core.config_file import remove_value
from engine.photos.discovery import FoundFile
from engine.sidecars.json_sidecar import parse_record, render_record
from engine.sidecars.merge.ownership import DESCRIPTION, PEOPLE, SUBJECT
from engine.sidecars.rdf.packet import Packet
from engine.vlms.in_use import DRAWN_BY
from tests.learned import draw_album, train


@pytest.fixture
def album(tmp_path, session):
    """Rex, Rex with Anna, and nobody, as drawn."""
    folder = tmp_path / "album"
    draw_album(folder)
    return folder


@pytest.fixture
def photos(album, no_vlm):
    """The album as if a camera had taken it: pictures without the mark of the storybook."""
    for path in album.glob("*.jpg"):
        with Image.open(path) as opened:
            opened.load()
        opened.save(path, quality=95)  # neither EXIF nor comments go along
    return album


def words(path):
    """Description, keywords and people of a photo's XMP sidecar; None without a sidecar."""
    sidecar = path.with_name(path.name + ".xmp")
    if not sidecar.exists():
        return None
    packet = Packet(sidecar.read_bytes())
    return packet.default_text(*DESCRIPTION), sorted(packet.items(*SUBJECT)), packet.items(*PEOPLE)


def recorded(path):
    return parse_record(path.with_name(path.name + ".myvlm.json").read_bytes())


def record(path, account):
    path.with_name(path.name + ".myvlm.json").write_bytes(render_record(account))


def states(session, folder, names=None):
    photos = [FoundFile(p, "photo") for p in sorted(folder.glob("*.jpg"))]
    return {s.path.name: str(s.state) for s in check_status(session, photos, StatusRequest(names))}


def everything_in(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_photo_that_the_vlm_does_not_know_gets_names_and_no_description(myvlm, session, photos):
    result = myvlm("caption", photos)
    assert result.code == 0
    assert result.err.count("no VLM for real photos") == 1
    assert words(photos / "both.jpg") == (None, ["Anna", "Rex"], ["Anna"])
    assert words(photos / "nobody.jpg") is None
    assert recorded(photos / "both.jpg").caption is None
    assert "both.jpg: Anna, Rex" in result.out
    before = everything_in(photos)
    again = myvlm("caption", photos)
    assert "Nothing to do: 3 photos up to date" in again.err
    assert everything_in(photos) == before
    assert set(states(session, photos).values()) == {"current"}


def test_a_chosen_vlm_that_does_not_know_a_photo_writes_nothing(myvlm, photos):
    before = everything_in(photos)
    result = myvlm("caption", photos, "--vlm", "storybook")
    assert result.code == 3
    assert "only knows pictures drawn by myvlm" in result.err
    assert everything_in(photos) == before


def test_one_photo_among_drawings_stops_a_chosen_vlm_before_it_writes(myvlm, album):
    with Image.open(album / "rex.jpg") as opened:
        opened.load()
    opened.save(album / "rex.jpg", quality=95)
    before = everything_in(album)
    assert myvlm("caption", album, "--vlm", "storybook").code == 3
    assert everything_in(album) == before


def test_vlm_none_asks_for_names_only(myvlm, session, album):
    result = myvlm("caption", album, "--vlm", "none")
    assert result.code == 0
    assert "no VLM" not in result.err
    assert words(album / "both.jpg") == (None, ["Anna", "Rex"], ["Anna"])
    assert states(session, album)["both.jpg"] == "stale"  # the default VLM can describe it
    myvlm("caption", album)
    assert "Rex" in words(album / "both.jpg")[0]


@pytest.mark.parametrize("command", [["train", "Rex"], ["ask", "album/rex.jpg", "Who is there?"]])
def test_vlm_none_is_for_captions_only(myvlm, album, monkeypatch, command):
    monkeypatch.chdir(album.parent)
    result = myvlm(*command, "--vlm", "none")
    assert result.code == 2
    assert "none" in result.err


def test_noise_of_an_earlier_run_is_removed_and_said(myvlm, session, album, empty_hub):
    path = album / "both.jpg"
    myvlm("caption", path)
    assert words(path)[0]
    path.write_bytes(path.read_bytes().replace(DRAWN_BY.encode(), b"Some camera 123"))
    assert states(session, album)["both.jpg"] == "stale"
    assert myvlm("caption", path).code == 3
    remove_value(session.folder, "vlm")
    result = myvlm("caption", path)
    assert "Removed 1 caption of earlier runs" in result.err
    assert recorded(path).caption is None
    assert words(path) == (None, ["Anna", "Rex"], ["Anna"])
    assert states(session, album)["both.jpg"] == "current"


def test_a_caption_of_a_vlm_that_is_gone_stays_while_it_holds(myvlm, session, photos):
    path = photos / "both.jpg"
    myvlm("caption", path)
    known = replace(recorded(path), caption="Rex and Anna in the snow.", vlm="real/vlm", revision="1", settings="s")
    record(path, replace(known, key="k"))
    assert myvlm("caption", path).code == 0
    assert recorded(path).caption == "Rex and Anna in the snow."
    assert words(path)[0] == "Rex and Anna in the snow."
    assert states(session, photos)["both.jpg"] == "current"
    assert myvlm("reject", path, "Rex").code == 0
    result = myvlm("caption", path)
    assert "Removed 1 caption of earlier runs" in result.err
    assert words(path) == (None, ["Anna"], ["Anna"])


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ({}, True),
        ({"caption": None}, False),
        ({"vlm": "embedded:vlm"}, False),
        ({"facts": "other content"}, False),
        ({"matches": ()}, True),  # it named nobody who could be gone
    ],
)
def test_when_a_caption_holds(session, album, change, holds):
    (result,) = caption_photos(session, [album / "both.jpg"], CaptionRequest())
    known = replace(recorded(album / "both.jpg"), vlm="real/vlm")
    facts = result.facts
    if "facts" in change:
        facts, change = replace(facts, content_hash="0"), {}
    assert caption_holds(replace(known, **change), facts, result.matches, "a camera") is holds
    gone = [m for m in result.matches if m.name != "Rex"]
    assert not caption_holds(known, result.facts, gone, "a camera")


def test_a_renamed_concept_keeps_its_captions_without_a_vlm(myvlm, album):
    myvlm("caption", album)
    before = words(album / "both.jpg")[0]
    assert "Rex" in before
    myvlm("concepts", "rename", "Rex", "Waldo")
    result = myvlm("caption", album, "--vlm", "none")
    assert "removed" not in result.err
    assert words(album / "both.jpg") == (before.replace("Rex", "Waldo"), ["Anna", "Waldo"], ["Anna"])


def test_only_counts_what_the_xmp_sidecars_say_too(myvlm, album):
    myvlm("caption", album)
    for path in album.glob("*.myvlm.json"):
        path.unlink()
    result = myvlm("caption", album, "--concepts", "Rex", "--only")
    assert "removes names from 1 photo: Anna (1)" in result.err


def test_without_concepts_and_vlm_nothing_is_written(myvlm, session, photos):
    for name in ("Rex", "Anna"):
        session.store.forget(name)
    before = everything_in(photos)
    result = myvlm("caption", photos)
    assert (result.code, everything_in(photos)) == (0, before)
    assert "No concepts yet" in result.err


def test_what_is_refused_is_refused_before_calibration(myvlm, photos, tmp_path):
    result = myvlm("caption", photos, "--vlm", "llava-1.6")
    assert (result.code, "are not on this disk" in result.err) == (3, True)
    assert not list(photos.glob("*.xmp"))


def test_one_damaged_file_fails_alone(myvlm, album):
    (album / "empty.jpg").write_bytes(b"")
    result = myvlm("caption", album, "--vlm", "storybook", "--json")
    assert (result.code, result.json["summary"]) == (1, {"failed": 1, "ok": 3})


def test_a_concept_that_the_vlm_cannot_be_told_of_is_named_in_keywords(myvlm, session, album):
    session.store._db.execute("delete from embeddings")
    session.store._db.conn.commit()
    myvlm("config", "set", "speak", "embedding")
    result = myvlm("caption", album)
    assert result.code == 0
    assert result.err.count("not trained yet") == 1
    assert "myvlm train Anna Rex" in result.err
    description, keywords, people = words(album / "both.jpg")
    assert "Rex" not in description
    assert (keywords, people) == (["Anna", "Rex"], ["Anna"])
    assert states(session, album)["both.jpg"] == "current"
    train(session, "Rex", steps=1)
    assert states(session, album) == {"both.jpg": "stale", "nobody.jpg": "current", "rex.jpg": "stale"}
    myvlm("caption", album)
    assert "Rex" in words(album / "both.jpg")[0]


def test_names_of_concepts_that_are_not_asked_for_stay(myvlm, session, album):
    myvlm("caption", album)
    before = everything_in(album)
    assert myvlm("caption", album, "--concepts", "Rex").code == 0
    assert everything_in(album) == before
    assert set(states(session, album, ("Rex",)).values()) == {"current"}
    assert myvlm("caption", album, "--concepts", "Rex", "--force").code == 0
    assert "Anna" in words(album / "both.jpg")[0]


def test_only_removes_the_other_names_and_says_so_first(myvlm, album):
    myvlm("caption", album)
    dry = myvlm("caption", album, "--concepts", "Rex", "--only", "--dry-run")
    assert "would remove names from 1 photo: Anna (1)" in dry.err
    assert "Anna" in words(album / "both.jpg")[0]
    result = myvlm("caption", album, "--concepts", "Rex", "--only")
    assert "removes names from 1 photo: Anna (1)" in result.err
    description, keywords, people = words(album / "both.jpg")
    assert "Anna" not in description
    assert (keywords, people) == (["Rex"], [])
    assert myvlm("caption", album, "--only").code == 2


def test_after_forget_the_photos_of_others_are_current(myvlm, session, album):
    myvlm("caption", album)
    assert myvlm("forget", "Anna", "--yes").code == 0
    assert states(session, album) == {"both.jpg": "stale", "nobody.jpg": "current", "rex.jpg": "current"}
    result = myvlm("caption", album, "--json")
    assert result.json["summary"] == {"ok": 1, "unchanged": 2}
    assert words(album / "both.jpg")[1] == ["Rex"]
    assert set(states(session, album).values()) == {"current"}


def test_forgetting_a_second_name_brings_the_first_one_back(myvlm, session, album):
    photos = [r.path for r in session.store.get("Rex").references]
    assert myvlm("add-concept", "Double", *photos, "--kind", "pet").code == 0
    result = myvlm("caption", album)
    assert "concepts merge" in result.err
    assert words(album / "rex.jpg")[1] == []
    assert myvlm("forget", "Double", "--yes").code == 0
    assert states(session, album)["rex.jpg"] == "stale"
    myvlm("caption", album)
    assert words(album / "rex.jpg")[1] == ["Rex"]
    assert set(states(session, album).values()) == {"current"}


def test_a_description_that_was_there_from_the_start_is_not_called_edited(myvlm, session, album):
    xmp = album / "rex.jpg.xmp"
    xmp.write_text(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>'
        '<rdf:li xml:lang="x-default">Our holiday</rdf:li></rdf:Alt></dc:description></rdf:Description></rdf:RDF>'
        "</x:xmpmeta>"
    )
    myvlm("caption", album)
    assert words(album / "rex.jpg")[0] == "Our holiday"
    assert states(session, album)["rex.jpg"] == "current"
    edited = (album / "both.jpg.xmp").read_text().replace(" is ", " was ")
    assert " was " in edited
    (album / "both.jpg.xmp").write_text(edited)
    assert states(session, album)["both.jpg"] == "edited"


def test_what_is_up_to_date_is_printed_only_on_request(myvlm, album):
    myvlm("caption", album)
    (album / "rex.jpg.myvlm.json").unlink()
    assert [line.split(":")[0].rsplit("/", 1)[-1] for line in myvlm("caption", album).out.splitlines()] == ["rex.jpg"]
    assert len(myvlm("caption", album, "--all").out.splitlines()) == 3


def test_a_limit_counts_photos_that_get_names_only(myvlm, photos):
    assert myvlm("scan", photos).code == 0
    result = myvlm("caption", photos, "--limit", "1", "--json")
    assert result.json["summary"] == {"ok": 1}


def test_json_sidecars_without_a_caption_follow_the_schema(myvlm, photos):
    from tests.sidecars.test_json_sidecar import VALIDATOR

    myvlm("caption", photos)
    for path in photos.glob("*.myvlm.json"):
        VALIDATOR.validate(json.loads(path.read_text()))
