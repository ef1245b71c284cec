"""Content hashes of photos that look as they did: scan and status read such photos no more."""

import os
from shutil import copy

import pytest

from engine.photos import photo_file
from engine.store.known_contents import KnownContents
from tests.learned import draw_album

AN_HOUR_AGO = 1_700_000_000


@pytest.fixture
def album(session, tmp_path):
    folder = tmp_path / "album"
    draw_album(folder)
    for path in folder.glob("*.jpg"):
        os.utime(path, (AN_HOUR_AGO, AN_HOUR_AGO))
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


def test_a_second_scan_reads_what_changed(myvlm, album, read):
    assert myvlm("scan", album, "--json").json["summary"] == {"ok": 3}
    read.clear()
    assert myvlm("scan", album, "--json").json["summary"] == {"unchanged": 3}
    assert read == []
    assert myvlm("scan", album, "--verify", "--json").json["summary"] == {"unchanged": 3}
    assert sorted(read) == ["both.jpg", "nobody.jpg", "rex.jpg"]
    read.clear()
    before = (album / "rex.jpg").stat()
    copy(album / "nobody.jpg", album / "rex.jpg")  # the same file with other content
    os.utime(album / "rex.jpg", ns=(before.st_atime_ns, before.st_mtime_ns))
    myvlm("scan", album)
    assert read == ["rex.jpg"]


def test_a_scan_of_other_features_reads_again(myvlm, album, read):
    myvlm("scan", album, "--faces-only")
    read.clear()
    assert myvlm("scan", album, "--json").json["summary"] == {"ok": 3}
    assert len(read) == 3


def test_status_says_the_same_and_notices_what_changed(myvlm, album, read):
    myvlm("caption", album)
    first = myvlm("status", album, "--all", "--json", "--verify").json
    myvlm("status", album)
    assert myvlm("status", album, "--all", "--json").json == first
    (album / "rex.jpg").write_bytes((album / "both.jpg").read_bytes())
    os.utime(album / "rex.jpg", (AN_HOUR_AGO, AN_HOUR_AGO))
    second = myvlm("status", album, "--json").json
    assert (first["summary"], second["summary"]) == ({"current": 3}, {"current": 2, "stale": 1})


def test_a_photo_that_is_being_written_is_not_kept(tmp_path):
    (tmp_path / "new.jpg").write_bytes(b"new")
    contents = KnownContents(tmp_path / "cache")
    contents.open(tmp_path / "new.jpg")
    contents.flush()
    assert KnownContents(tmp_path / "cache").content_hash(tmp_path / "new.jpg") is None
    os.utime(tmp_path / "new.jpg", (AN_HOUR_AGO, AN_HOUR_AGO))
    kept = contents.open(tmp_path / "new.jpg").content_hash
    contents.flush()
    assert KnownContents(tmp_path / "cache").content_hash(tmp_path / "new.jpg") == kept
    assert KnownContents(None).content_hash(tmp_path / "new.jpg") is None
