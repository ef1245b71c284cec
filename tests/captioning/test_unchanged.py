"""A run in which nothing changed reads no photo and loads no model; every kind of change is noticed."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from shutil import copy, copytree

import pytest

from engine.captioning.run_key import run_key
from engine.captioning.unchanged import UnchangedPhotos
from engine.photos import photo_file
from engine.store.known_files import KnownFiles, stamp_of
from tests.learned import draw_album, train

AN_HOUR_AGO = 1_700_000_000


@pytest.fixture
def album(myvlm, session, tmp_path):
    """Three photos that are not new, captioned with all concepts."""
    folder = tmp_path / "album"
    draw_album(folder)
    for path in folder.glob("*.jpg"):
        os.utime(path, (AN_HOUR_AGO, AN_HOUR_AGO))
    assert myvlm("caption", folder, "--json").json["summary"] == {"ok": 3}
    return folder


@pytest.fixture
def read(monkeypatch):
    """The names of the photos that are read."""
    names = []
    original = photo_file.read_bytes

    def note(path, limit):
        names.append(path.name)
        return original(path, limit)

    monkeypatch.setattr(photo_file, "read_bytes", note)
    return names


def test_a_second_run_reads_no_photo_and_says_the_same(myvlm, album, read):
    first = myvlm("caption", album, "--json", "--verify").json
    assert sorted(read) == ["both.jpg", "nobody.jpg", "rex.jpg"]
    read.clear()
    second = myvlm("caption", album, "--json").json
    assert read == []
    for document in (first, second):
        for photo in document["photos"]:
            del photo["seconds"]
    assert second == first and second["summary"] == {"unchanged": 3}
    assert "Nothing to do: 3 photos up to date." in myvlm("caption", album).err


def test_a_second_run_loads_no_numpy_and_no_model(session, album):
    code = (
        "import sys; from myvlm_cli.main import main; sys.argv[0] = 'myvlm'\n"
        "try: main()\n"
        "except SystemExit as stop: code = stop.code\n"
        "heavy = {'numpy', 'torch', 'transformers', 'open_clip', 'onnxruntime', 'sqlite_utils', 'lxml', 'PIL'}\n"
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    environment = os.environ | {"MYVLM_HOME": str(session.folder)}
    run = subprocess.run(
        [sys.executable, "-c", code, "caption", str(album)], capture_output=True, text=True, env=environment, check=True
    )
    assert run.stdout.splitlines()[-1] == "0 []"
    assert "Nothing to do: 3 photos" in run.stderr


def touch(session, album):
    os.utime(album / "rex.jpg")


def replace_with_the_same_size_and_time(session, album):
    before = stamp_of(album / "rex.jpg")
    data = bytearray((album / "rex.jpg").read_bytes())
    data[-3] ^= 1
    (album / "new").write_bytes(data)
    os.utime(album / "new", (AN_HOUR_AGO, AN_HOUR_AGO))
    os.replace(album / "new", album / "rex.jpg")
    assert stamp_of(album / "rex.jpg")[:2] == before[:2]


def edit_sidecar(session, album):
    path = album / "rex.jpg.xmp"
    path.write_bytes(path.read_bytes().replace(b"</rdf:Bag>", b"<rdf:li>holiday</rdf:li></rdf:Bag>", 1))


def delete_sidecar(session, album):
    (album / "rex.jpg.xmp").unlink()


def delete_json(session, album):
    (album / "rex.jpg.myvlm.json").unlink()


def add_adobes_sidecar(session, album):
    (album / "rex.xmp").write_bytes((album / "rex.jpg.xmp").read_bytes())


def add_sidecar_in_other_case(session, album):
    (album / "REX.JPG.XMP").write_bytes((album / "rex.jpg.xmp").read_bytes())


def add_raw_companion(session, album):
    copy(album / "rex.jpg", album / "rex.dng")


@pytest.mark.parametrize(
    "change",
    [
        touch,
        replace_with_the_same_size_and_time,
        edit_sidecar,
        delete_sidecar,
        delete_json,
        add_adobes_sidecar,
        add_sidecar_in_other_case,
        add_raw_companion,
    ],
)
def test_a_change_of_files_is_noticed(myvlm, session, album, read, change):
    myvlm("caption", album)
    read.clear()
    change(session, album)
    myvlm("caption", album)
    assert set(read) >= {"rex.jpg"} and "both.jpg" not in read


def rename(myvlm, session, album):
    myvlm("concepts", "rename", "rex", "Rexi")


def forget(myvlm, session, album):
    myvlm("forget", "anna", "--yes")


def reject(myvlm, session, album):
    myvlm("reject", album / "rex.jpg", "rex")


def train_again(myvlm, session, album):
    train(session, "rex", steps=2)


def set_default(myvlm, session, album):
    myvlm("config", "set", "regions", "people")


@pytest.mark.parametrize("change", [rename, forget, reject, train_again, set_default])
def test_a_change_of_what_is_known_is_noticed(myvlm, session, album, read, change):
    change(myvlm, session, album)
    read.clear()
    myvlm("caption", album)
    assert set(read) >= {"rex.jpg", "both.jpg"}


@pytest.mark.parametrize(
    "options", [("--concepts", "rex"), ("--vlm", "none"), ("--regions", "people"), ("--force",), ("--dry-run",)]
)
def test_other_options_look_again(myvlm, album, read, options):
    read.clear()
    myvlm("caption", album, *options)
    assert set(read) >= {"rex.jpg", "both.jpg"}


def test_a_new_photo_is_captioned_and_the_others_are_not_read(myvlm, album, read):
    copy(album / "nobody.jpg", album / "a-new-one.jpg")
    read.clear()
    result = myvlm("caption", album, "--json")
    assert set(read) == {"a-new-one.jpg"}
    assert result.json["summary"] == {"ok": 1, "unchanged": 3}
    assert result.json["photos"][0]["file"].endswith("a-new-one.jpg")


def test_a_photo_that_is_being_written_is_not_trusted(myvlm, album, read):
    os.utime(album / "rex.jpg")
    myvlm("caption", album)
    read.clear()
    myvlm("caption", album)
    assert read == ["rex.jpg"]


def test_a_photo_that_failed_is_tried_again(myvlm, album, read):
    (album / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    os.utime(album / "broken.jpg", (AN_HOUR_AGO, AN_HOUR_AGO))
    assert myvlm("caption", album).code == 1
    read.clear()
    assert myvlm("caption", album).code == 1
    assert set(read) == {"broken.jpg"}


def test_undo_is_noticed(myvlm, album, read):
    myvlm("undo", "--yes")
    read.clear()
    assert myvlm("caption", album, "--json").json["summary"] == {"ok": 3}


def test_a_link_is_always_read(myvlm, album, read):
    (album / "link.jpg").symlink_to(album.parent / "elsewhere.jpg")
    copy(album / "rex.jpg", album.parent / "elsewhere.jpg")
    myvlm("caption", album)
    read.clear()
    myvlm("caption", album)
    assert read == ["link.jpg"]


def test_a_restored_store_is_noticed(myvlm, session, album, read):
    """A copy of the store from before a decision, and another decision since: as many changes, but others."""
    before = sqlite3.connect(album.parent / "backup.db")
    with closing(sqlite3.connect(session.folder / "store.db")) as store:
        store.backup(before)
    copytree(session.folder / "concepts", album.parent / "concepts")
    myvlm("reject", album / "rex.jpg", "rex")
    myvlm("caption", album)
    with closing(sqlite3.connect(session.folder / "store.db")) as store:
        before.backup(store)
    copytree(album.parent / "concepts", session.folder / "concepts", dirs_exist_ok=True)
    myvlm("reject", album / "both.jpg", "rex")
    read.clear()
    myvlm("caption", album)
    assert set(read) >= {"rex.jpg", "both.jpg"}


def test_a_damaged_table_costs_only_time(myvlm, session, album, read):
    for name in ("files.db-wal", "files.db-shm"):
        (session.folder / "cache" / name).unlink(missing_ok=True)
    (session.folder / "cache" / "files.db").write_bytes(b"no database" * 1000)
    read.clear()
    assert myvlm("caption", album, "--json").json["summary"] == {"unchanged": 3}
    assert len(read) == 3
    read.clear()
    myvlm("caption", album)
    assert read == []


def test_one_query_finds_the_rows_of_a_folder(session, album):
    files = KnownFiles(session.folder / "cache")
    assert sorted(files.of_folder(str(album))) == ["both.jpg", "nobody.jpg", "rex.jpg"]
    plan = files._file._db.execute("explain query plan select name from files where folder = ?", [b"x"]).fetchall()
    assert "USING PRIMARY KEY" in plan[0][3] and "SCAN" not in plan[0][3]


def test_the_key_tells_options_and_models_on_disk_apart(session, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    key = run_key(session.folder, ("caption",))
    assert key == run_key(session.folder, ("caption",)) != run_key(session.folder, ("scan",))
    (tmp_path / "hub" / "models--a--b" / "snapshots" / "1").mkdir(parents=True)
    assert run_key(session.folder, ("caption",)) != key


def test_nothing_is_known_without_a_key(session):
    unchanged = UnchangedPhotos(session.folder, "")
    unchanged.save_facts({"untrained": []})
    assert unchanged.facts is None
