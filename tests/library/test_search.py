"""Find photos by what their sidecars say: the index, its upkeep, what users type, and what they get."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.errors import UsageError
from engine.library.index import LibraryIndex
from engine.library.query import Term, parse_terms
from engine.library.search import Near, SearchCounts, SearchRequest, distance_km, search
from engine.library.update import PhotoFiles, index_photos
from engine.sidecars.rdf.forms import DC, DIGIKAM, EXIF, IPTC_EXT, PHOTOSHOP, XMP
from engine.sidecars.rdf.packet import Packet
from tests.learned import draw_album
from tests.library.sample import HAMBURG, KIEL, edit, make_library, match, put


@pytest.fixture
def library(tmp_path) -> Path:
    return make_library(tmp_path / "library")


@pytest.fixture
def found(myvlm, library):
    """The names of the photos that a search finds, in their order."""
    assert myvlm("search", "--reindex", library).code == 0

    def find(*arguments) -> list[str]:
        return [Path(line).name for line in myvlm("search", *arguments).out.splitlines()]

    return find


CASES = (
    (["rex"], ["a.jpg", "b.jpg"]),
    (["REX beach"], ["a.jpg"]),
    (["rex", "beach"], ["a.jpg"]),
    (["rex", "--and", "anna"], ["b.jpg"]),
    (["beach -rex"], ["c.jpg"]),
    (["beach", "--not", "rex"], ["c.jpg"]),
    (["--not", "beach"], ["e.jpg", "b.jpg", "d.jpg"]),
    (['"the beach"'], ["c.jpg", "a.jpg"]),
    (['"beach the"'], []),
    (["bea*"], ["c.jpg", "a.jpg"]),
    (["bea"], []),
    (["CAFE"], ["c.jpg"]),
    (["rene"], ["e.jpg"]),
    (["犬"], ["e.jpg"]),
    (["犬が走"], ["e.jpg"]),
    (["走犬"], []),
    (["mug"], ["d.jpg"]),
    (["--name", "big mug"], ["d.jpg"]),
    (["--name", "mug"], []),
    (["--name", "rex", "--name", "ANNA"], ["b.jpg"]),
    (["--kind", "person"], ["e.jpg", "b.jpg"]),
    (["--kind", "thing", "--kind", "pet"], ["b.jpg", "a.jpg", "d.jpg"]),
    (["--since", "2024"], ["e.jpg", "c.jpg", "b.jpg"]),
    (["--since", "2024", "--until", "2024"], ["c.jpg", "b.jpg"]),
    (["--until", "2024-01-04"], ["a.jpg"]),
    (["--until", "2024-01-05"], ["b.jpg", "a.jpg"]),
    (["--since", "2024-02", "--until", "2024-12"], ["c.jpg"]),
    (["--near", "54.3,10.1,5km"], ["a.jpg"]),
    (["--near", "54.3,10.1,500km"], ["a.jpg", "b.jpg"]),
    (["--near", "54.3,10.1"], []),
    (["beach", "--limit", "1", "--since", "2024"], ["c.jpg"]),
    (["nothing"], []),
    (["AND"], ["b.jpg"]),
    (["names:rex"], []),
    (["rex) OR (anna"], []),
)


def test_conditions(found):
    """In one test, so that the library is made once."""
    for arguments, expected in CASES:
        assert (arguments, found(*arguments)) == (arguments, expected)


def test_a_folder_is_searched_alone_by_whatever_way_it_is_reached(found, library, tmp_path):
    (tmp_path / "link").symlink_to(library)
    for folder in (library / "2024", library / "2025" / ".." / "2024", tmp_path / "link" / "2024"):
        assert found("--in", folder) == ["c.jpg", "b.jpg", "d.jpg"]
    assert found("--in", library / "20") == []
    assert found("--in", library / "2023" / "a.jpg", "--in", library / "2025") == ["e.jpg", "a.jpg"]


REFUSED = ('rex" OR *', '"', '""', "*", "-", '"rex', "&", "_", '-"', "--near=1", "--near=91,0,1km", "--since=soon")


def test_what_cannot_be_searched_for_is_said(myvlm):
    for query in REFUSED:
        result = myvlm("search", *([query] if query.startswith("--") else ["--", query]))
        assert (query, result.code, result.out) == (query, 2, "")
        assert result.err.startswith("error: ")


def test_nothing_to_search_for(myvlm):
    assert myvlm("search").code == 2
    assert myvlm("search", "--limit", "3").code == 2


@given(st.text(max_size=30))
def test_no_text_becomes_syntax(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp() / "any-query"
    index = LibraryIndex(folder)
    assert index.db  # created
    index.close()
    try:
        terms = parse_terms([text])
    except UsageError:
        return
    assert not list(search(folder, SearchRequest(terms), SearchCounts()))


def test_terms():
    assert parse_terms(['a -b "c d"* e* -"f g"']) == (
        Term("a"),
        Term("b", excluded=True),
        Term("c d", prefix=True),
        Term("e", prefix=True),
        Term("f g", excluded=True),
    )
    assert parse_terms(["T-shirt", " x "]) == (Term("T-shirt"), Term("x"))


def test_the_best_match_comes_first(myvlm, tmp_path):
    put(tmp_path / "a.jpg", "Rex is somewhere behind the people who wait at the harbour for the ferry to come in.")
    put(tmp_path / "b.jpg", "Rex.", match("Rex"))
    put(tmp_path / "c.jpg", "Rex.", match("Rex"), taken="2024-01-01T00:00:00")
    myvlm("search", "--reindex", tmp_path)
    assert [Path(p).name for p in myvlm("search", "rex").out.split()] == ["c.jpg", "b.jpg", "a.jpg"]


def test_distances():
    assert distance_km(Near(*KIEL, 1), *KIEL) == 0
    assert distance_km(Near(*KIEL, 1), *HAMBURG) == pytest.approx(86.2, abs=0.3)  # great circle by another tool
    assert distance_km(Near(0, 179.9, 1), 0, -179.9) == pytest.approx(22.24, abs=0.01)
    assert distance_km(Near(0, 0, 1), None, None) is None


# What is in the index


def test_words_of_people_are_found_and_those_they_removed_are_not(myvlm, library):
    photo = library / "2023" / "a.jpg"

    def change(packet: Packet) -> None:
        packet.set_default_text(DC, "description", "Our dog at the seaside")
        packet.remove_items(DC, "subject", ["Rex"])
        packet.add_items(DC, "subject", ["holiday"])
        packet.add_items(DIGIKAM, "TagsList", ["Places/Kiel Fjord"], kind="Seq")
        packet.add_items(IPTC_EXT, "PersonInImage", ["Max Frisch"])

    edit(photo, change)
    myvlm("search", "--reindex", library)
    (described,) = myvlm("search", "seaside", "--json").json["photos"]
    assert (described["caption"], described["caption_by"]) == ("Our dog at the seaside", "human")
    assert [n["name"] for n in described["names"]] == ["Max Frisch", "holiday", "Places", "Kiel Fjord"]
    assert described["names"][0]["kind"] == "person"
    for found_by in (["holiday"], ['"kiel fjord"'], ["--name", "max frisch"]):
        assert myvlm("search", *found_by).out == f"{photo}\n"
    assert myvlm("search", '"frisch holiday"').code == 1  # a phrase spans no two names
    for gone in (["beach", "--in", photo], ["--name", "rex", "--in", photo], ["rex", "--in", photo]):
        assert myvlm("search", *gone).code == 1


def correct(photo: Path, **properties: str) -> None:
    """What digiKam and Lightroom do where people correct the date or place of a photo."""
    sidecar = photo.with_name(photo.name + ".xmp")
    namespaces = f'xmlns:exif="{EXIF}" xmlns:photoshop="{PHOTOSHOP}" xmlns:xmp="{XMP}"'
    written = " ".join(f'{name.replace("_", ":")}="{value}"' for name, value in properties.items())
    block = f'<rdf:Description rdf:about="" {namespaces} {written}/></rdf:RDF>'
    sidecar.write_text(sidecar.read_text("utf-8").replace("</rdf:RDF>", block), "utf-8")


def test_dates_and_places_in_sidecars_come_before_those_in_the_photo(found, library, myvlm):
    """Dates of scanning and editing are no dates of the exposure."""
    place = {"exif_GPSLatitude": "54,19.2N", "exif_GPSLongitude": "10,8.4E"}
    correct(library / "2025" / "e.jpg", exif_DateTimeOriginal="1998-08-09T10:11:12", **place)
    correct(library / "2024" / "c.jpg", photoshop_DateCreated="2024-12-31")
    correct(library / "2024" / "b.jpg", xmp_CreateDate="1990-01-01")
    assert myvlm("search", "--reindex", library).code == 0
    assert found("--until", "1998") == ["e.jpg"]
    assert found("--near", "54.32,10.14,1km") == ["a.jpg", "e.jpg"]
    assert found("--until", "1990") == []
    (changed,) = myvlm("search", "--in", library / "2024" / "c.jpg", "--json").json["photos"]
    assert changed["taken"] == "2024-12-31T23:30:00+02:00"  # the photo knows the time of day, too


def test_a_photo_with_a_sidecar_of_another_program_alone_is_found(myvlm, tmp_path, shared):
    import shutil

    source = next((shared / "photos" / "formats").glob("*.jpg"))
    photo = tmp_path / "other" / source.name
    photo.parent.mkdir()
    shutil.copy(source, photo)
    edit(photo, lambda packet: packet.set_default_text(DC, "description", "Written elsewhere"))
    myvlm("search", "--reindex", photo.parent)
    (found,) = myvlm("search", "elsewhere", "--json").json["photos"]
    assert found["caption_by"] == "human"
    from engine.photos.metadata.exif import read_file

    assert found["taken"] == read_file(photo).taken is not None


def test_the_index_is_private_and_follows_the_files(myvlm, home, library):
    result = myvlm("search", "--reindex", library, "--json")
    assert result.json == {"read": 5, "unchanged": 0, "removed": 0, "without_sidecars": 1, "failed": 0}
    assert stat.S_IMODE((home / "library.db").stat().st_mode) == 0o600
    assert myvlm("search", "--reindex", library, "--json").json["unchanged"] == 5
    edit(library / "2024" / "c.jpg", lambda p: p.set_default_text(DC, "description", "Ein Kaffeehaus"))
    result = myvlm("search", "cafe")
    assert "1 result changed since" in result.err
    (library / "2024" / "d.jpg").unlink()
    result = myvlm("search", "mug")
    assert (result.code, result.out) == (1, "")
    assert "1 more is not there now" in result.err
    (library / "2025" / "e.jpg.xmp").write_bytes(b"<x:xmpmeta")
    result = myvlm("search", "--reindex", library, "--json")
    assert result.code == 1
    assert result.json == {"read": 1, "unchanged": 2, "removed": 2, "without_sidecars": 1, "failed": 1}
    assert "e.jpg.xmp" in result.err
    assert myvlm("search", "kaffeehaus").code == 0
    assert myvlm("search", "cafe").code == 1


def test_sidecars_are_found_from_any_folder(myvlm, library, tmp_path, monkeypatch):
    monkeypatch.chdir(library)
    assert myvlm("search", "--reindex", ".").code == 0
    monkeypatch.chdir(tmp_path)
    assert "changed" not in myvlm("search", "rex").err


@pytest.mark.parametrize("damage", [b"no database at all", b""])
def test_a_damaged_index_is_made_anew(myvlm, home, library, damage):
    myvlm("search", "--reindex", library)
    (home / "library.db").write_bytes(damage)
    result = myvlm("search", "rex")
    assert result.code == (3 if damage else 1)
    assert ("was damaged" in result.err) is bool(damage)
    assert "myvlm search --reindex FOLDER" in result.err
    assert myvlm("search", "--reindex", library).code == 0
    assert myvlm("search", "rex").code == 0


def test_texts_that_are_not_utf8_are_indexed(myvlm, library):
    broken = library / os.fsdecode(b"caf\xe9.jpg")
    broken.write_bytes(b"no picture")
    sidecar = broken.with_name(broken.name + ".myvlm.json")
    record = json.loads((library / "2023" / "a.jpg.myvlm.json").read_text())
    sidecar.write_text(json.dumps(record | {"caption": "A cat \ud800 purrs."}))
    (library / os.fsdecode(b"caf\xe8.jpg")).write_bytes(b"no picture")
    (library / os.fsdecode(b"caf\xe8.jpg.xmp")).write_bytes(b"<no xmp")
    result = myvlm("search", "--reindex", library)
    assert (result.code, "Traceback" in result.err) == (1, False)
    assert len(myvlm("search", "purrs").out.splitlines()) == 1
    assert myvlm("summary", library, "--json").json["failed"]


def test_a_limit_that_leaves_photos_out_says_so(found, myvlm):
    assert len(found("beach", "--limit", "1")) == 1
    result = myvlm("search", "beach", "--limit", "1", "--json")
    assert (result.json["more"], len(result.json["photos"])) == (True, 1)
    assert "the first 1 photo found among 5; without --limit: all" in result.err
    assert myvlm("search", "beach", "--limit", "2", "--json").json["more"] is False


def test_a_renamed_concept_is_found_by_the_words_of_its_new_name(session, myvlm, library, tmp_path):
    concept = session.store.get("Rex")
    put(library / "rex.jpg", "Rex sleeps.", match("Rex", concept_id=concept.id))
    session.store.close()
    myvlm("search", "--reindex", library)
    myvlm("concepts", "rename", "Rex", "Uncle Bello")
    for words in (["bello"], ["uncle", "bello"], ["bel*"], ['"uncle bello"'], ["--name", "uncle bello"]):
        assert [Path(p).name for p in myvlm("search", *words).out.splitlines()] == ["rex.jpg"], words
    assert myvlm("search", "ello").code == 1
    (found,) = myvlm("search", "rex", "--in", library / "rex.jpg", "--json").json["photos"]
    assert found["names"] == [
        {"name": "Uncle Bello", "kind": "pet"}
    ]  # the caption has the old name, until the next run
    assert found["caption"] == "Rex sleeps."
    edit(library / "rex.jpg", lambda packet: packet.add_items(DC, "subject", ["uncle bello", "Rex"]))
    myvlm("search", "--reindex", library)
    (found,) = myvlm("search", "--name", "uncle bello", "--json").json["photos"]
    assert [n["name"] for n in found["names"]] == ["Uncle Bello"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rex", "-0", "--captions"], "-0 prints paths alone"),
        (["rex", "-0", "--json"], "-0 prints paths alone"),
        (["rex", "--sidecar-naming", "stem"], "are for --reindex"),
        (["--reindex", "."], None),
        (["--reindex", ".", "--open"], "--reindex takes only photos and folders"),
        (["--reindex"], "no photos given"),
        (["--until", "9999"], "is not a date"),
        (["--until", "9999-12-31"], "is not a date"),
        (["rex", "--in", "/nowhere/at/all"], "no such file or folder"),
    ],
)
def test_options_without_effect_are_refused(myvlm, home, arguments, told, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = myvlm("search", *arguments)
    assert (told is None) or (result.code == 2 and told in result.err)


def test_an_index_of_another_version_is_made_anew(myvlm, home, library):
    myvlm("search", "--reindex", library)
    with sqlite3.connect(home / "library.db") as db:
        db.execute("pragma user_version = 99")
    db.close()
    assert myvlm("search", "rex").code == 1
    assert myvlm("search", "--reindex", library).code == 0
    assert myvlm("search", "rex").code == 0


def test_a_photo_that_fails_keeps_its_row(home, library):
    index = LibraryIndex(home)
    photo = library / "2023" / "a.jpg"
    sidecars = (photo.with_name("a.jpg.xmp"), photo.with_name("a.jpg.myvlm.json"))
    assert index_photos(index, [PhotoFiles(photo, sidecars)]) == ""
    assert index_photos(index, [PhotoFiles(photo, (), failure="it is locked")]) == ""
    assert index.known([photo])[1] == {photo: "it is locked"}
    assert [p.path for p in search(home, SearchRequest(parse_terms(["rex"])), SearchCounts())] == [photo]
    assert index_photos(index, [PhotoFiles(photo, sidecars)]) == ""
    assert index.known([photo])[1] == {}


# What is printed


def test_lists_for_other_programs(myvlm, library):
    odd = os.fsdecode(os.fsencode(library) + b"/2023/odd\n\xff.jpg")
    put(Path(odd), "Rex again.", match("Rex"))
    myvlm("search", "--reindex", library)
    assert myvlm("search", "rex", "--until", "2023").out == f"{library}/2023/a.jpg\n"
    lines = myvlm("search", "rex", "--jsonl").lines
    assert len(lines) == 3
    assert {line["caption_by"] for line in lines} == {"myvlm"}
    (near,) = myvlm("search", "--near", "54.3,10.1,5km", "--json").json["photos"]
    assert near["km"] == pytest.approx(3.4, abs=0.2)
    assert near["place"] == {"latitude": KIEL[0], "longitude": KIEL[1]}
    result = myvlm("search", "mug", "--captions")
    assert result.out == f"{library}/2024/d.jpg: Big Mug\n"
    assert myvlm("search", "again").out == f"{library}/2023/odd\\n\\xff.jpg\n".replace("\\xff", "\\udcff")


def test_paths_end_with_nul_for_xargs(myvlm, home, library):
    odd = os.fsencode(library) + b"/odd\n\xff.jpg"
    put(Path(os.fsdecode(odd)), "Rex again.", match("Rex"))
    myvlm("search", "--reindex", library)
    command = [sys.executable, "-m", "myvlm_cli.main", "search", "again", "-0"]
    done = subprocess.run(command, capture_output=True, check=True, env=os.environ | {"MYVLM_HOME": str(home)})
    assert done.stdout == odd + b"\0"


def test_open_shows_few_photos(myvlm, library, tmp_path, monkeypatch):
    for k in range(12):
        put(library / "many" / f"{k:02}.jpg", "Many.", taken=f"2024-01-{k + 1:02}T00:00:00")
    myvlm("search", "--reindex", library)
    opened = []
    monkeypatch.setattr("myvlm_cli.viewer.shutil.which", lambda name: "/bin/opener")
    monkeypatch.setattr("myvlm_cli.viewer.sys.platform", "linux")
    monkeypatch.setattr("myvlm_cli.viewer.subprocess.Popen", lambda words, **options: opened.append(words))
    assert myvlm("search", "many", "--open").code == 0
    assert opened == [["/bin/opener", str(library / "many" / f"{k:02}.jpg")] for k in range(11, 3, -1)]
    monkeypatch.setattr("myvlm_cli.viewer.shutil.which", lambda name: None)
    assert myvlm("search", "many", "--open").code == 3


def test_searching_creates_nothing_and_loads_nothing_heavy(myvlm, bare_home, library):
    result = myvlm("search", "rex")
    assert (result.code, result.out) == (1, "")
    assert "No photos are indexed yet" in result.err
    assert not bare_home.exists()
    myvlm("search", "--reindex", library)
    heavy = {"torch", "numpy", "PIL", "lxml", "sqlite_utils", "transformers", "rich", "exifread"}
    code = (
        "import sys; sys.argv[1:] = ['search', 'rex', '--json']; from myvlm_cli.main import app\n"
        "code = app(standalone_mode=False)\n"
        f"print(code, sorted({heavy!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)["photos"]) == 2
    assert done.stderr.splitlines()[-1] == "0 []"


# As sidecars are written


@pytest.fixture
def album(session, tmp_path):
    """Rex, Rex with Anna, and nobody; a store that knows both is MYVLM_HOME."""
    draw_album(tmp_path / "album")
    return tmp_path / "album"


def names(result) -> list[str]:
    return sorted(Path(line).name for line in result.out.splitlines())


def test_what_is_captioned_undone_renamed_and_forgotten(myvlm, session, album):
    import shutil

    session.store.close()
    shutil.copy(album / "rex.jpg", album / "raw.jpg")
    (album / "raw.dng").write_bytes(b"II*\0 a raw file")
    assert myvlm("caption", album).code == 0
    assert names(myvlm("search", "--name", "rex")) == ["both.jpg", "raw.dng", "raw.jpg", "rex.jpg"]
    assert names(myvlm("search", "rex", "--and", "anna")) == ["both.jpg"]
    assert names(myvlm("search", "snow", "--kind", "person")) == ["both.jpg"]
    assert myvlm("search", "--reindex", album, "--json").json["unchanged"] == 5  # it was indexed as it was written
    myvlm("concepts", "rename", "Rex", "Bello")
    for query in (["bello"], ["--name", "bello"], ["rex"], ["bello snow"]):
        assert names(myvlm("search", *query)) == ["both.jpg", "raw.dng", "raw.jpg", "rex.jpg"], query
    edit(album / "rex.jpg", lambda p: p.add_items(DC, "subject", ["seaside"]))
    myvlm("caption", album)
    assert names(myvlm("search", "seaside")) == ["rex.jpg"]
    assert names(myvlm("search", "rex")) == []
    assert myvlm("forget", "Bello", "--scrub-sidecars", "--yes").code == 0
    assert names(myvlm("search", "bello")) == []
    assert names(myvlm("search", "seaside")) == ["rex.jpg"]
    assert b"Bello" not in (Path(os.environ["MYVLM_HOME"]) / "library.db").read_bytes()
    for _ in range(2):
        assert myvlm("undo", "--yes").code == 0
    assert names(myvlm("search", "snow")) == names(myvlm("search", "anna")) == []


def test_a_dry_run_indexes_nothing(myvlm, session, album):
    session.store.close()
    assert myvlm("caption", album, "--dry-run").code == 0
    assert not (Path(os.environ["MYVLM_HOME"]) / "library.db").exists()


def test_a_caption_is_written_though_the_index_cannot_be(myvlm, session, album):
    session.store.close()
    (Path(os.environ["MYVLM_HOME"]) / "library.db").mkdir()
    result = myvlm("caption", album, "--json")
    assert result.code == 0
    assert {p["status"] for p in result.json["photos"]} == {"ok"}
    assert (album / "rex.jpg.xmp").exists()
    assert result.err.count("myvlm search does not know what was written") == 1
