import os
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.core.errors import PhotoError
from engine.photos.discovery import (
    MEDIA_SUFFIXES,
    RAW_SUFFIXES,
    SUFFIXES,
    UNREAD_SUFFIXES,
    VIDEO_SUFFIXES,
    FoundFile,
    Selection,
    Tally,
    find_below,
    find_files,
    iter_photos,
)
from engine.photos.gallery_mark import GALLERY_MARK, MARK_TEXT
from engine.photos.photo_file import read_photo
from tests.photo_files import corners, encoded, exif_bytes


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
    return folder


def found_in(folder, selection=None, paths=None):
    return [f.path.relative_to(folder).as_posix() for f in find_files(paths or [folder], selection)]


def test_suffixes_are_apart():
    assert not SUFFIXES & RAW_SUFFIXES
    assert not SUFFIXES & VIDEO_SUFFIXES
    assert not RAW_SUFFIXES & VIDEO_SUFFIXES
    assert {".gif", ".avif", ".heic"} <= SUFFIXES
    assert {".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2"} <= RAW_SUFFIXES
    assert not MEDIA_SUFFIXES & UNREAD_SUFFIXES
    assert all(s == s.lower() and s.startswith(".") for s in MEDIA_SUFFIXES)


def test_pictures_that_are_not_read_are_counted(tmp_path):
    names = ("a.jxl", "B.JXL", "sub/c.psd", ".d.jxl", "@eaDir/e.jxl", "f.svg", "notes.txt", "g.bmp", "h.JP2", "i.j2k")
    make(tmp_path, *names)
    tally = Tally()
    assert len(list(find_files([tmp_path, tmp_path / "sub"], None, tally))) == 3
    assert (tally.unread, tally.undated) == ({".jxl": 2, ".psd": 1}, 0)
    tally.clear()
    list(find_files([tmp_path], Selection(exclude=("*.jxl",)), tally))
    assert tally.unread == {".psd": 1}


def test_only_the_thumbnails_of_a_gallery_are_passed_by(tmp_path):
    make(tmp_path, "a.jpg", "gallery/thumbnails/b.jpg", "gallery/mine.jpg", "gallery/more/thumbnails/c.jpg", "z/c.jpg")
    make(tmp_path, "other/.myvlm-gallery", "other/d.jpg", "other/thumbnails/e.jpg")
    (tmp_path / "gallery" / GALLERY_MARK).write_bytes(MARK_TEXT)
    ours = ["gallery/mine.jpg", "gallery/more/thumbnails/c.jpg"]
    assert found_in(tmp_path) == ["a.jpg", *ours, "other/d.jpg", "other/thumbnails/e.jpg", "z/c.jpg"]
    assert found_in(tmp_path, paths=[tmp_path / "gallery"]) == ours
    thumbnails = tmp_path / "gallery" / "thumbnails"
    assert found_in(tmp_path, paths=[thumbnails]) == ["gallery/thumbnails/b.jpg"]
    assert list(find_below(tmp_path, thumbnails, Selection(), deep=True)) == []
    assert len(list(find_below(tmp_path, tmp_path / "other", Selection(), deep=True))) == 2


def test_photos_that_have_no_date_are_counted(tmp_path):
    dated = encoded(corners(), "JPEG", exif=exif_bytes(exif=[(0x9003, "2020-01-02 03:04:05")]))
    (tmp_path / "dated.jpg").write_bytes(dated)
    make(tmp_path, "a.png", "b.png", "c.mov")
    for since, count in ((datetime(2019, 1, 1), 4), (datetime(2021, 1, 1), 3), (datetime(2200, 1, 1), 0)):
        tally = Tally()
        assert len(list(find_files([tmp_path], Selection(since=since), tally))) == count
        assert tally.undated == 2


def test_raw_and_live_pairs(tmp_path):
    names = (
        *("IMG_1.HEIC", "IMG_1.MOV", "IMG_2.jpg", "IMG_2.CR2", "img_2.dng", "IMG_3.nef", "IMG_4.mov", "IMG_5.png"),
        *("IMG_5.cr3", "IMG_6.JPG", "IMG_6.avi", "IMG_7.heic", "IMG_7.jpg", "IMG_7.arw", "sub/IMG_3.jpg"),
    )
    make(tmp_path, *names)
    found = {f.path.name: f for f in find_files([tmp_path]) if f.path.parent == tmp_path}

    def companions(name):
        return [p.name for p in found[name].companions]

    assert companions("IMG_2.jpg") == ["IMG_2.CR2", "img_2.dng"]
    assert companions("IMG_7.heic") == ["IMG_7.arw"]
    assert companions("IMG_7.jpg") == companions("IMG_5.png") == []
    assert {n for n, f in found.items() if f.kind == "video"} == {"IMG_1.MOV", "IMG_4.mov", "IMG_6.avi"}
    assert {n for n, f in found.items() if f.live} == {"IMG_1.MOV"}
    assert not {"IMG_2.CR2", "img_2.dng", "IMG_7.arw"} & set(found)
    photos = [p.name for p in iter_photos([tmp_path])]
    assert photos.count("IMG_3.nef") == photos.count("IMG_3.jpg") == 1
    assert len(photos) == 9


def test_files_named_by_themselves_are_taken_and_paired(tmp_path):
    make(tmp_path, "a.jpg", "a.cr2", "b.cr2", "b.jpg", "notes.txt", "c.mp4", ".hidden.jpg", "thumbs/t.jpg")
    names = ("a.jpg", "b.cr2", "notes.txt", "c.mp4", ".hidden.jpg", "no.jpg", "a.cr2")
    found = list(find_files([tmp_path / n for n in names]))
    assert found == [
        FoundFile(tmp_path / "a.jpg", "photo", (tmp_path / "a.cr2",)),
        FoundFile(tmp_path / "b.cr2", "photo"),
        FoundFile(tmp_path / "notes.txt", "photo"),
        FoundFile(tmp_path / "c.mp4", "video"),
        FoundFile(tmp_path / ".hidden.jpg", "photo"),
        FoundFile(tmp_path / "no.jpg", "photo"),
    ]
    assert found_in(tmp_path, paths=[tmp_path / "thumbs"]) == ["thumbs/t.jpg"]


SKIPPED = (
    *("@eaDir", "#recycle", ".dtrash", ".thumbnails", ".stversions", "lost+found", "thumbs", "encoded-video", ".git"),
    *("A.photoslibrary", "Previews.lrdata", "Thumbs", "$RECYCLE.BIN", "__MACOSX"),
)


@pytest.mark.parametrize("name", SKIPPED)
def test_folders_of_other_programs_are_skipped(tmp_path, name):
    make(tmp_path, f"{name}/x.jpg", f"sub/{name}/x.jpg", "mine/x.jpg", "x.jpg_original", "._x.jpg", "x.jpg.xmp")
    assert found_in(tmp_path) == ["mine/x.jpg"]
    assert found_in(tmp_path, paths=[tmp_path / name]) == [f"{name}/x.jpg"]


SELECTIONS = [
    (Selection(include=("*.jpg",)), "a.JPG 2023/b.jpg 2024/x/c.jpg"),
    (Selection(include=("2024/**",)), "2024/x/c.jpg 2024/x/d.png"),
    (Selection(include=("2024/*.jpg",)), ""),
    (Selection(include=("**/c.*",)), "2024/x/c.jpg"),
    (Selection(include=("**/a.jpg", "/2023/*")), "a.JPG 2023/b.jpg"),
    (Selection(include=("[a-c].jp?",)), "a.JPG 2023/b.jpg 2024/x/c.jpg"),
    (Selection(include=("[!a].jpg",)), "2023/b.jpg 2024/x/c.jpg"),
    (Selection(exclude=("x",)), "a.JPG e.gif 2023/b.jpg"),
    (Selection(exclude=("2024/",)), "a.JPG e.gif 2023/b.jpg"),
    (Selection(exclude=("2024/x",)), "a.JPG e.gif 2023/b.jpg"),
    (Selection(exclude=("*.jpg", "*.Gif")), "2024/x/d.png"),
    (Selection(include=("*.jpg",), exclude=("b*",)), "a.JPG 2024/x/c.jpg"),
    (Selection(exclude=("a.JPG/",)), "a.JPG e.gif 2023/b.jpg 2024/x/c.jpg 2024/x/d.png"),
    (Selection(include=("[",)), ""),
]


@pytest.mark.parametrize(("selection", "expected"), SELECTIONS)
def test_patterns(tmp_path, selection, expected):
    make(tmp_path, "a.JPG", "2023/b.jpg", "2024/x/c.jpg", "2024/x/d.png", "e.gif")
    assert found_in(tmp_path, selection) == expected.split()


@given(st.text("[]!^-a\\*?/.z&|~", max_size=12))
@example("[z-a]")
@example("[!]a]")
@example("[^a]")
@example("[\\")
@example("[a--z]")
@example("[a&&z]")
@example("[a||z]")
@example("[a~~z]")
@example("[[a]")
@example("[!]?")
def test_any_pattern_means_something(pattern):
    for name in ("a", "a/z.a", "]"):
        assert Selection(include=(pattern,)).takes_file(name) in (True, False)
    literal = pattern.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]").strip("/")
    if literal and "//" not in literal and not literal.startswith("/"):
        assert Selection(include=(literal,)).takes_file(pattern.strip("/"))


def test_patterns_come_before_pairs(tmp_path):
    make(tmp_path, "a.jpg", "a.cr2")
    assert list(find_files([tmp_path], Selection(include=("*.jpg",)))) == [FoundFile(tmp_path / "a.jpg", "photo")]
    assert list(find_files([tmp_path], Selection(include=("*.CR2",)))) == [FoundFile(tmp_path / "a.cr2", "photo")]
    named = [tmp_path / "a.jpg", tmp_path / "a.cr2"]
    assert [f.path.name for f in find_files(named, Selection(exclude=("*.jpg",)))] == ["a.cr2"]


def test_dates_of_exif_else_of_the_file(tmp_path):
    for name, taken in (("old.jpg", "2019:06:30 23:59:59"), ("new.jpg", "2019:07:01 00:00:00")):
        corners().save(tmp_path / name, exif=exif_bytes(exif=[(0x9003, taken), (0x9011, "+09:00")]))
    corners().save(tmp_path / "plain.png")
    os.utime(tmp_path / "plain.png", (0, datetime(2019, 7, 2).timestamp()))
    border = datetime(2019, 7, 1)
    assert found_in(tmp_path, Selection(since=border)) == ["new.jpg", "plain.png"]
    assert found_in(tmp_path, Selection(until=border)) == ["old.jpg"]
    assert found_in(tmp_path, Selection(since=border, until=border + timedelta(days=1))) == ["new.jpg"]
    assert found_in(tmp_path, Selection(since=border.astimezone(UTC))) == ["new.jpg", "plain.png"]
    missing = tmp_path / "no.jpg"
    assert list(iter_photos([missing])) == [missing]
    assert [f.path for f in find_files([missing], Selection(since=border))] == [missing]


def test_names_that_are_not_utf8(tmp_path):
    names = [b"caf\xe9.jpg", b"caf\xe9.cr2", b"\xff\xfe", b"line\nbreak.png"]
    for name in names[:2] + names[3:]:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    inside = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + names[2]))
    make(inside, "z.gif")
    found = list(find_files([tmp_path], Selection(exclude=("y*",))))
    assert [os.fsencode(f.path.name) for f in found] == [b"caf\xe9.jpg", b"line\nbreak.png", b"z.gif"]
    assert os.fsencode(found[0].companions[0].name) == b"caf\xe9.cr2"


def test_loops_links_and_real_files_once(tmp_path):
    make(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "a").symlink_to(tmp_path / "a")
    (tmp_path / "b" / "hard.jpg").hardlink_to(tmp_path / "a" / "1.jpg")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "b" / "link.jpg").symlink_to(tmp_path / "a" / "1.jpg")
    found = [p.name for p in iter_photos([tmp_path, tmp_path / "a", tmp_path / "b" / "2.jpg"])]
    assert found == ["1.jpg", "2.jpg", "hard.jpg"], "a hard link is a photo of its own, with sidecars of its own"
    named = [tmp_path / "b" / n for n in ("link.jpg", "hard.jpg", "hard.jpg", "../b/hard.jpg")]
    assert [p.name for p in iter_photos([*named, tmp_path / "a" / "b" / "2.jpg", tmp_path])] == [
        *("link.jpg", "hard.jpg", "2.jpg")
    ]


def test_many_links_between_folders_take_no_time(tmp_path):
    for level in range(40):
        make(tmp_path, f"{level}/{level}.jpg")
    for level in range(39):
        for name in "xyz":
            (tmp_path / str(level) / name).symlink_to(tmp_path / str(level + 1))
    assert len(list(iter_photos([tmp_path / "0"]))) == 40


def test_pipes_and_broken_links(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert found_in(tmp_path) == ["gone.jpg"]
    for name, said in (("pipe.jpg", "not a regular file"), ("gone.jpg", "No such file")):
        (path,) = iter_photos([tmp_path / name])
        with pytest.raises(PhotoError, match=said) as caught:
            read_photo(path)
        assert caught.value.hint


def test_a_folder_that_cannot_be_listed_fails_by_itself(tmp_path, monkeypatch):
    make(tmp_path, "a/1.jpg", "b/2.jpg")
    scandir = os.scandir

    def refusing(path):
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    bad, good = find_files([tmp_path])
    assert (bad.path, good.path.name) == (tmp_path / "a", "2.jpg")
    with pytest.raises(PhotoError, match="a: "):
        read_photo(bad.path)


def test_folders_are_read_as_they_are_needed(tmp_path, monkeypatch):
    for n in range(50):
        make(tmp_path, f"{n:02}/x.jpg")
    scandir, listed = os.scandir, []
    monkeypatch.setattr(os, "scandir", lambda path: (listed.append(path), scandir(path))[1])
    assert len(list(islice(find_files([tmp_path]), 3))) == 3
    assert len(listed) == 4

    def endless():
        yield tmp_path / "00"
        raise AssertionError("read on")

    assert next(iter_photos(endless())).parent.name == "00"
