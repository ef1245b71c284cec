"""What the file system says of a photo and its sidecars: every change makes another state."""

import os
import time
from pathlib import Path

import pytest

from engine.photos.discovery import FoundFile
from engine.sidecars import file_states
from engine.sidecars.file_states import FileStates
from engine.sidecars.locate import Naming

LONG_AGO = 1_600_000_000


@pytest.fixture
def library(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "a.jpg.xmp", "a.jpg.myvlm.json", "a.cr2", "b.jpg", "c.jpg"):
        (folder / name).write_bytes(name.encode())
        os.utime(folder / name, (LONG_AGO, LONG_AGO))
    return folder


def photo(folder: Path, name: str = "a.jpg") -> FoundFile:
    return FoundFile(folder / name, "photo", (folder / "a.cr2",) if name == "a.jpg" else ())


def state(folder: Path, naming: Naming | None = None):
    found = FileStates(naming or Naming()).of(photo(folder))
    assert found is not None
    return found


def swap(path: Path, data: bytes) -> None:
    """Replace a file as programs do that write a new one and rename it; size and modification time stay."""
    times = path.stat()
    path.with_name("new").write_bytes(data)
    os.utime(path.with_name("new"), ns=(times.st_atime_ns, times.st_mtime_ns))
    path.with_name("new").replace(path)


def edit_and_set_the_time_back(path: Path) -> None:
    times = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (times.st_size, times.st_mtime_ns)


CHANGES = {
    "photo touched": lambda f: os.utime(f / "a.jpg"),
    "photo longer": lambda f: (f / "a.jpg").write_bytes(b"longer than before"),
    "photo replaced, same size and time": lambda f: swap(f / "a.jpg", b"A.JPG"),
    "photo edited, time set back": lambda f: edit_and_set_the_time_back(f / "a.jpg"),
    "xmp edited": lambda f: (f / "a.jpg.xmp").write_bytes(b"a.jpg.XMP"),
    "xmp edited, time set back": lambda f: edit_and_set_the_time_back(f / "a.jpg.xmp"),
    "xmp deleted": lambda f: (f / "a.jpg.xmp").unlink(),
    "xmp becomes a broken link": lambda f: ((f / "a.jpg.xmp").unlink(), (f / "a.jpg.xmp").symlink_to("nowhere")),
    "xmp of another name": lambda f: (f / "a.xmp").write_bytes(b"x"),
    "xmp in capitals": lambda f: (f / "A.JPG.XMP").write_bytes(b"x"),
    "json edited": lambda f: (f / "a.jpg.myvlm.json").write_bytes(b"other"),
    "json deleted": lambda f: (f / "a.jpg.myvlm.json").unlink(),
    "companion edited": lambda f: (f / "a.cr2").write_bytes(b"other"),
    "companion's xmp": lambda f: (f / "a.cr2.xmp").write_bytes(b"x"),
    "another picture of the same name": lambda f: (f / "a.png").write_bytes(b"x"),
    "a file without an ending": lambda f: (f / "A").write_bytes(b"x"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_makes_another_state(library, change):
    before = state(library)
    assert state(library).digest == before.digest
    change(library)
    assert state(library).digest != before.digest


def test_other_photos_of_the_folder_do_not_matter(library):
    before = state(library)
    (library / "b.jpg").write_bytes(b"edited")
    (library / "b.jpg.xmp").write_bytes(b"new")
    (library / "c.jpg").unlink()
    (library / "ab.jpg").write_bytes(b"new")
    assert state(library).digest == before.digest


def test_sidecars_in_a_folder_of_their_own_count(library, tmp_path):
    naming = Naming("auto", tmp_path / "sidecars")
    before = state(library, naming)
    there = tmp_path / "sidecars" / os.path.realpath(library).lstrip("/")
    there.mkdir(parents=True)
    assert state(library, naming).digest == before.digest, "an empty folder is no sidecar"
    (there / "a.jpg.xmp").write_bytes(b"x")
    assert state(library, naming).digest != before.digest
    assert state(library).digest == state(library).digest


def test_companions_that_are_left_out_make_another_state(library):
    (alone,) = [FileStates(Naming()).of(FoundFile(library / "a.jpg", "photo"))]
    assert alone is not None and alone.digest != state(library).digest


def test_links_and_missing_files_have_no_state(library):
    (library / "link.jpg").symlink_to("b.jpg")
    states = FileStates(Naming())
    assert states.of(photo(library, "link.jpg")) is None
    assert states.of(photo(library, "missing.jpg")) is None
    assert states.of(FoundFile(library / "gone" / "a.jpg", "photo")) is None


def test_the_same_photo_by_another_path_has_another_state(library, tmp_path):
    (tmp_path / "way").symlink_to(library)
    by_link = FileStates(Naming()).of(photo(tmp_path / "way"))
    assert by_link is not None and by_link.folder == state(library).folder
    assert by_link.digest != state(library).digest


def test_files_that_changed_just_before_are_unsettled(library, monkeypatch):
    assert state(library).unsettled == "all", "the files were made just now"
    now = time.time_ns()
    monkeypatch.setattr(file_states.time, "time_ns", lambda: now + 3600 * 10**9)
    assert state(library).unsettled == ""
    os.utime(library / "a.jpg.xmp", ns=(now + 3600 * 10**9, now + 3600 * 10**9))
    assert state(library).unsettled == "sidecars"
    os.utime(library / "a.jpg", ns=(now + 7200 * 10**9, now + 7200 * 10**9))
    assert state(library).unsettled == "all", "a time in the future is not long ago"


def test_bytes_tell_what_the_clock_is_too_coarse_for(library):
    before = state(library)
    sidecars, everything = (before.hash_bytes(with_photos=w) for w in (False, True))
    (library / "a.jpg").write_bytes(b"A.JPG")
    assert before.hash_bytes(with_photos=False) == sidecars
    assert before.hash_bytes(with_photos=True) != everything
    (library / "a.jpg.xmp").write_bytes(b"a.jpg.XMP")
    assert before.hash_bytes(with_photos=False) != sidecars
    (library / "a.jpg.xmp").unlink()
    assert before.hash_bytes(with_photos=False) == b"", "a file that is gone never has the same bytes"


def test_each_folder_is_listed_once(library, monkeypatch):
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(file_states.os, "scandir", lambda path: (listed.append(path), scandir(path))[1])
    states = FileStates(Naming())
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        states.of(photo(library, name))
    assert listed[1:] == [str(library)], "the first is that of no folder"
