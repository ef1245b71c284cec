"""Where a name is found, and what the journal forgets and keeps because of it."""

import os
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlite_utils import Database, Migrations

from engine.sidecars.journal import Journal, Write
from engine.sidecars.journal_migrations import journal_migrations
from engine.sidecars.name_search import NameSearch

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
XMP = '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:li a="{1}">{0}</rdf:li></rdf:RDF>'
SAID = [
    ("Li", XMP.format("Rex", ""), False),
    ("Li", XMP.format("Rex and LI", ""), True),
    ("Rex", XMP.format("Rexford", "Rex_1"), False),
    ("Rex", XMP.format("", "Pets|Rex"), True),
    ("Rex", XMP.format("<!-- it is Rex -->", ""), True),
    ("Rexina", XMP.format("Re<!-- -->xina", ""), True),
    ("Rex Smith", XMP.format("<a>Rex</a> <b>Smith</b>", ""), False),
    ("Rex Smith", XMP.format("Rex\n  Smith", ""), True),
    ("José", XMP.format("Jos&#233;", ""), True),
    ("José", XMP.format("Jose\u0301 runs", ""), True),
    ("Jose\u0301", XMP.format("JOSÉ", ""), True),
    ("Rex & Co", XMP.format("Rex &amp; Co", ""), True),
    ("Rex", '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY r "Rex">]><a>&r;</a>', True),
    ("Rex", "<li>Rex", True),
    ("José", "<li>Jos&#233;", True),
    ("Rex", "<li>Rexford", False),
    ("Rex", '{"caption": "Rexford", "concepts": [{"name": "rex"}]}', True),
    ("José", '{"caption": "Jos\\u00e9 runs"}', True),
    ("Rex", '{"caption": "Rexford", "more": [1, null, "Rex_1"]}', False),
    ("caption", '{"caption": "Rex"}', True),
    ("小明", XMP.format("小明在海边", ""), True),
    ("Rex", "", False),
    (" ", "<a>x</a>", False),
]


@pytest.mark.parametrize(("name", "text", "expected"), SAID)
def test_names_are_found_as_words_of_texts(name, text, expected):
    assert NameSearch({name}, frozenset()).in_data(text.encode()) == expected


def test_names_are_found_in_other_encodings():
    sought = NameSearch({"José"}, frozenset())
    for encoding in ("utf-16", "latin-1", "utf-8-sig"):
        declared = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?><a>José</a>'
        assert sought.in_data(declared.encode(encoding)), encoding
        assert sought.in_data("<a>José".encode(encoding)), encoding


PATHS = [
    ("/photos/Rex/1.jpg", True),
    ("/photos/2020/rex_01.jpg.xmp", True),
    ("/photos/2020/IMG_Rex2.jpg", True),
    ("/photos/Rexford/1.jpg", False),
    ("/photos/T-Rex/1.jpg", True),
    ("/home/rex/Pictures/1.jpg", False),
    ("/home/rex", False),
    ("/home/rex/Pictures/Rex/1.jpg", True),
    ("/data/sidecars/home/rex/Pictures/1.jpg.xmp", False),
    ("/run/media/rex/DISK/1.jpg", False),
    ("/photos/\udcff/rex.jpg", True),
]


@pytest.mark.parametrize(("path", "expected"), PATHS)
def test_names_are_found_in_paths_but_not_in_that_of_home(monkeypatch, path, expected):
    monkeypatch.setenv("HOME", "/home/rex")
    assert NameSearch({"Rex"}, frozenset()).in_path(Path(path)) == expected


def bytes_of(folder):
    return [p.read_bytes() for p in folder.rglob("*") if p.is_file()]


def journalled(home, *writes):
    journal = Journal(home)
    journal.record("r1", "caption", NOW, [Write(Path(p), Path(p).with_suffix(""), b, "f" * 64) for p, b in writes])
    return journal


def test_forgetting_leaves_the_undo_of_others_alone(home, monkeypatch):
    monkeypatch.setenv("HOME", "/home/rex")
    named = XMP.format("Rex", "").encode()
    journal = journalled(
        home,
        ("/home/rex/Rexford/a.jpg.xmp", XMP.format("Rexford", "").encode()),
        ("/home/rex/Rexford/b.jpg.xmp", named),
        ("/home/rex/Rexford/c.jpg.xmp", None),
        ("/home/rex/Rexford/Rex.jpg.xmp", None),
        ("/home/rex/Rex/d.jpg.xmp", b"x"),
    )
    sought = NameSearch({"Rex"}, frozenset())
    assert journal.forget(sought.in_file, sought.in_path) == 3
    left = {w.path.name: (w.before, w.lost) for w in journal.writes("r1")}
    assert left.keys() == {"a.jpg.xmp", "b.jpg.xmp", "c.jpg.xmp"}
    assert (left["b.jpg.xmp"], left["c.jpg.xmp"]) == ((None, True), (None, False))
    assert left["a.jpg.xmp"][0]
    assert journal.folders() == (Path("/home/rex/Rexford"),)
    assert journal.forget(sought.in_file, sought.in_path) == 0
    journal.close()
    assert not any(w in data for w in (b"Rex.jpg", b"/Rex/", b">Rex<") for data in bytes_of(home))


def test_folders_stay_known_when_all_runs_are_pruned(home):
    journal = journalled(home, ("/a/1.jpg.xmp", b"x"), ("/b/1.jpg.xmp", None))
    assert journal.prune(0) == 1
    assert list(journal.sidecars()) == []
    assert journal.folders() == (Path("/a"), Path("/b"))


def test_journals_of_the_first_version_are_brought_up_to_date(home):
    from engine.sidecars.journal_migrations import j001_runs, j002_folders

    home.mkdir(exist_ok=True)
    old = Database(home / "journal.db")
    released = Migrations("myvlm-journal")
    released()(j001_runs)
    released.apply(old)
    old.execute("insert into runs values ('r1', 'caption', '0', '2026', null, null)")
    row = [os.fsencode("/a\udcff/1.jpg.xmp"), b"/a/1.jpg", zlib.compress(b"<x/>"), "a", "b"]
    old.execute(
        "insert into writes (run, path, photo, before, before_hash, after_hash) values ('r1', ?, ?, ?, ?, ?)", row
    )
    old.conn.commit()
    old.close()
    journal = Journal(home)
    (write,) = journal.writes("r1")
    assert (write.before, write.lost) == (b"<x/>", False)
    assert journal.folders() == (Path("/a\udcff"),)
    assert j002_folders.__name__ in {m.name for m in journal_migrations.applied(Database(home / "journal.db"))}
