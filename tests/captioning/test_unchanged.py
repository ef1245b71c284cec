"""A run in which nothing changed reads no photo and loads no model; every kind of change is noticed."""

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from shutil import copy, copytree

import pytest

from engine.captioning.caption import caption_photos
from engine.captioning.caption_run import CaptionRequest
from engine.captioning.run_key import run_key
from engine.captioning.unchanged import UnchangedPhotos
from engine.core.types import Decision, Verdict
from engine.photos import photo_file
from engine.photos.content_hash import hash_content
from engine.photos.discovery import FoundFile, find_files
from engine.sidecars import file_states
from engine.store.concepts import ConceptStore
from engine.store.known_files import OF_FOLDER, KnownFiles
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


def loaded(*arguments):
    """The heavy modules that a command loads."""
    code = (
        "import sys; from myvlm_cli.main import main; sys.argv[0] = 'myvlm'\n"
        "try: main()\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "heavy = {'numpy', 'torch', 'transformers', 'open_clip', 'onnxruntime', 'sqlite_utils', 'lxml', 'PIL'}\n"
        "print(*sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()[-1].split()


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
    before = (album / "rex.jpg").stat()
    data = bytearray((album / "rex.jpg").read_bytes())
    data[-3] ^= 1
    (album / "new").write_bytes(data)
    os.utime(album / "new", (AN_HOUR_AGO, AN_HOUR_AGO))
    os.replace(album / "new", album / "rex.jpg")
    after = (album / "rex.jpg").stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def edit_and_set_the_time_back(session, album):
    before = (album / "rex.jpg").stat()
    data = bytearray((album / "rex.jpg").read_bytes())
    data[-3] ^= 1
    (album / "rex.jpg").write_bytes(data)
    os.utime(album / "rex.jpg", ns=(before.st_atime_ns, before.st_mtime_ns))


def edit_sidecar_and_set_the_time_back(session, album):
    path = album / "rex.jpg.xmp"
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"Rex</rdf:li>", b"Dog</rdf:li>", 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


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
        edit_and_set_the_time_back,
        edit_sidecar_and_set_the_time_back,
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
    "options", [("--concepts", "rex"), ("--vlm", "none"), ("--regions", "people"), ("--force",), ("--verify",)]
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


def test_files_that_changed_just_now_are_compared_by_their_bytes(myvlm, album, monkeypatch):
    """A clock may be too coarse to show a second change. Once the first is long ago, how the files look is enough."""
    asked = []
    hash_bytes = file_states.FileState.hash_bytes

    def note(state, **options):
        asked.append(options["with_photos"])
        return hash_bytes(state, **options)

    monkeypatch.setattr(file_states.FileState, "hash_bytes", note)
    assert myvlm("caption", album, "--json").json["summary"] == {"unchanged": 3}
    assert asked, "the sidecars were written just now"
    now = time.time_ns()
    monkeypatch.setattr(file_states.time, "time_ns", lambda: now + 3600 * 10**9)
    myvlm("caption", album)
    asked.clear()
    myvlm("caption", album)
    assert asked == []


def test_a_sidecar_that_changes_at_the_same_time_of_the_clock_is_noticed(session, album):
    """As on a disk whose clock has not moved on: the folder was listed once, so it looks as before."""
    unchanged, file = UnchangedPhotos(session.folder, "key"), FoundFile(album / "rex.jpg", "photo")
    look = unchanged.look(file)
    unchanged.keep([(look, "[]")])
    assert unchanged.find(file) == "[]"
    path = album / "rex.jpg.xmp"
    path.write_bytes(path.read_bytes().replace(b"Rex", b"Max"))
    assert unchanged._states.of(file).digest == look.state.digest
    assert unchanged.find(file) is None
    unchanged.finish()


def test_a_sidecar_that_changes_during_the_run_is_not_taken_for_known(session, album):
    """Another program edits what a run has just written, before the run has remembered how it looks."""
    options = ("during",)
    request = CaptionRequest(force=True)
    unchanged = UnchangedPhotos(session.folder, run_key(session.folder, options))
    for result in caption_photos(session, find_files([album]), request, unchanged=unchanged):
        if result.path.name == "rex.jpg":
            edit_sidecar(session, album)
    again = UnchangedPhotos(session.folder, run_key(session.folder, options))
    found = {f.path.name: again.results(f) for f in find_files([album])}
    assert found["both.jpg"] is not None
    edited = found["rex.jpg"]
    checked = list(caption_photos(session, [album / "rex.jpg"], CaptionRequest()))
    assert edited is None or [replace(r, seconds=0.0) for r in checked] == list(edited)


def test_nothing_is_kept_of_a_run_whose_concepts_changed(myvlm, session, album, read, monkeypatch):
    """Another process decides between the reading of the concepts and the first photo."""
    from myvlm_cli import caption_concepts

    calibrate = caption_concepts.calibrate_unseen
    decided = []

    def decide_meanwhile(*arguments, **options):
        if not decided:
            decided.append(True)
            store = ConceptStore(session.folder)
            rex, content = store.get("rex"), hash_content((album / "rex.jpg").read_bytes())
            store.decisions.put(Decision(rex.id, content, album / "rex.jpg", None, Verdict.REJECT, "2026-01-01"))
            store.close()
        return calibrate(*arguments, **options)

    monkeypatch.setattr(caption_concepts, "calibrate_unseen", decide_meanwhile)
    os.utime(album / "nobody.jpg", (AN_HOUR_AGO + 1, AN_HOUR_AGO + 1))
    assert myvlm("caption", album, "--json").json["summary"] == {"ok": 1, "unchanged": 2}
    assert b"Rex" not in (album / "rex.jpg.myvlm.json").read_bytes()
    assert myvlm("caption", album, "--json").json["summary"] == {"unchanged": 3}


def test_a_photo_that_failed_is_tried_again(myvlm, album, read):
    (album / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    os.utime(album / "broken.jpg", (AN_HOUR_AGO, AN_HOUR_AGO))
    assert myvlm("caption", album).code == 1
    read.clear()
    assert myvlm("caption", album).code == 1
    assert set(read) == {"broken.jpg"}


def test_the_status_of_unchanged_photos_is_known(myvlm, album, read):
    read.clear()
    first = [myvlm("status", album, *options) for options in (("--all",), ("--json",))]
    assert first[1].json["summary"] == {"current": 3} and read
    read.clear()
    assert [myvlm("status", album, *o).out for o in (("--all",), ("--json",))] == [r.out for r in first]
    assert read == []
    assert myvlm("status", album, "--json", "--verify").out == first[1].out
    assert sorted(set(read)) == ["both.jpg", "nobody.jpg", "rex.jpg"]
    assert loaded("status", album) == []


@pytest.fixture
def later(monkeypatch):
    """It is an hour later: nothing changed just now."""
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 3600 * 10**9)


def test_what_changed_has_another_status(myvlm, session, album, read, later):
    myvlm("status", album)
    (album / "rex.jpg.xmp").unlink()
    for _ in range(2):
        assert myvlm("status", album, "--json").json["summary"] == {"current": 2, "dropped": 1}
    os.utime(album / "both.jpg")
    read.clear()
    assert myvlm("status", album, "--json").json["summary"] == {"current": 2, "dropped": 1}
    assert read == ["both.jpg"], "a photo is hashed again if its times changed"
    myvlm("concepts", "rename", "rex", "Rexi")
    read.clear()
    assert myvlm("status", album, "--json").json["summary"] == {"stale": 1, "current": 1, "dropped": 1}
    assert read == [], "other concepts, the same photos"
    assert myvlm("status", album, "--concepts", "nobody").code == 2


def test_status_creates_nothing(myvlm, bare_home, tmp_path):
    draw_album(tmp_path / "album")
    assert myvlm("status", tmp_path / "album", "--json").json["summary"] == {"new": 3}
    assert not bare_home.exists()


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
    assert sorted(files.of_folder(str(album.resolve()), "caption")) == ["both.jpg", "nobody.jpg", "rex.jpg"]
    plan = files._file._db.execute(f"explain query plan {OF_FOLDER}", ["f", "c"]).fetchall()
    assert "USING PRIMARY KEY" in plan[0][3] and "SCAN" not in plan[0][3]


def test_the_key_tells_options_and_models_on_disk_apart(session, empty_hub):
    key = run_key(session.folder, ("caption",))
    assert key == run_key(session.folder, ("caption",)) != run_key(session.folder, ("scan",))
    (empty_hub / "models--a--b" / "snapshots" / "1").mkdir(parents=True)
    assert run_key(session.folder, ("caption",)) != key


def test_nothing_is_known_without_a_key(session, album):
    unchanged = UnchangedPhotos(session.folder, "")
    unchanged.save_facts({"untrained": []})
    assert unchanged.facts() is None
    assert unchanged.look(FoundFile(album / "rex.jpg", "photo")) is None


def test_a_vlms_folder_counts_however_it_is_named(session, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my-vlm").mkdir()
    for name in ("~/my-vlm", f"{tmp_path}/my-vlm+paper", "~/my-vlm+paper"):
        (tmp_path / "my-vlm" / "model.safetensors").write_bytes(b"weights")
        key = run_key(session.folder, ("caption",), name)
        (tmp_path / "my-vlm" / "model.safetensors").write_bytes(b"WEIGHTS")
        assert run_key(session.folder, ("caption",), name) != key, name


def test_the_files_of_a_vlm_in_a_folder_count(session, tmp_path):
    folder = tmp_path / "my-vlm"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    key = run_key(session.folder, ("caption",), str(folder))
    (folder / "model.safetensors").write_bytes(b"WEIGHTS")
    assert run_key(session.folder, ("caption",), str(folder)) != key
    (session.folder / "config.toml").write_text(f'vlm = "{folder}"\n')
    key = run_key(session.folder, ("caption",))
    (folder / "model.safetensors").write_bytes(b"other weights")
    assert run_key(session.folder, ("caption",)) != key


def test_nothing_of_a_forgotten_concept_stays(myvlm, session, album):
    myvlm("forget", "rex", "--yes")
    stored = b"".join(p.read_bytes() for p in (session.folder / "cache").glob("files.db*"))
    assert b"Rex" not in stored and b"rex.jpg" not in stored


def test_files_that_are_gone_are_forgotten(myvlm, session, album):
    (album / "both.jpg").unlink()
    os.utime(album / "rex.jpg")
    myvlm("caption", album)
    files = KnownFiles(session.folder / "cache")
    assert sorted(files.of_folder(str(album.resolve()), "caption")) == ["nobody.jpg", "rex.jpg"]


def test_a_folder_of_names_with_dots_is_looked_at_in_linear_time(tmp_path, monkeypatch):
    """Each photo looks at its own files only, whatever the names have in common."""
    looked = []
    at = file_states._Look.at
    monkeypatch.setattr(
        file_states._Look,
        "at",
        lambda self, folder, photo, files: (at(self, folder, photo, files), looked.append(len(self.parts))),
    )
    for number in range(50):
        for ending in (".jpg", ".jpg.xmp", ".jpg.myvlm.json"):
            (tmp_path / f"2024.01.01 {number}{ending}").touch()
    unchanged = UnchangedPhotos(tmp_path, "key")
    for file in find_files([tmp_path]):
        unchanged.look(file)
    assert looked == [6] * 50  # name and status of three files
