"""The gallery: its data, its folder, and what it refuses to overwrite."""

import errno
import json
import os
import re
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import engine.pages.gallery_thumbnails
from engine.core.boxes import Box
from engine.core.errors import EngineError, UsageError
from engine.core.types import Kind
from engine.library.index import IndexedName, IndexUpdate, LibraryIndex
from engine.library.search import SearchCounts, SearchRequest, failed_photos, search
from engine.pages.gallery import write_gallery, write_gallery_page
from engine.pages.gallery_data import PAGE, GalleryData, count_names, escaped_json, script
from engine.pages.gallery_folder import check_folder
from engine.pages.gallery_photos import GalleryPhoto, collect
from engine.pages.gallery_thumbnails import Thumbnail, ThumbnailFolder
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.regions.forms import NamedRegion
from engine.sidecars.regions.named import add_regions
from tests.library.sample import edit
from tests.pages.gallery_library import SIZE, add_photo, at, make_library
from tests.photo_files import exif_bytes


@pytest.fixture
def library(myvlm, tmp_path) -> Path:
    folder = make_library(tmp_path / "library")
    assert myvlm("search", "--reindex", folder).code == 0
    return folder


@pytest.fixture
def found(home, library):
    return list(search(home, SearchRequest(folders=(library,)), SearchCounts()))


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def head_of(page: Path) -> dict:
    text = page.read_text("utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def photos_of(folder: Path) -> list[dict]:
    """The photos in the data that the page of a gallery names, in their order."""
    photos = []
    for number, name in enumerate(head_of(folder / "index.html")["scripts"]):
        text = (folder / name).read_text("ascii")
        assert text.startswith(f"myvlmPage({number}, [")
        photos += json.loads(text.removeprefix(f"myvlmPage({number}, ").removesuffix(");\n"))
    return photos


def some_photo(path: str = "/p/a.jpg", **more) -> GalleryPhoto:
    values = {"caption": "", "author": "", "names": (), "taken": None, "place": None} | more
    return GalleryPhoto(Path(path), thumbnail=Thumbnail(4, 3, "t.jpg"), **values)


def test_photos_are_ordered_by_date_with_what_is_known_of_them(found, library, tmp_path):
    written = write_gallery(found, tmp_path / "out", "Our photos")
    photos = photos_of(tmp_path / "out")
    assert [p["path"] for p in photos] == ["2024/c.jpg", "2024/b.jpg", "2023/a.jpg", "broken.jpg", "d.jpg"]
    head = head_of(tmp_path / "out" / "index.html")
    assert [n[:3] for n in head["names"]] == [["Anna", "person", 2], ["Rex", "pet", 2], ["Big Mug", "thing", 1]]
    assert (head["title"], head["photos"], head["root"]) == ("Our photos", 5, "../library/")
    assert photos[1]["caption"] == "Rex and Anna in the snow."
    assert photos[1]["names"] == [1, 0]
    assert photos[1]["boxes"] == [[1, 0.1, 0.2, 0.5, 0.5], [0, 0.0, 0.0, 0.5, 0.5]]  # of a photo of 10 x 10 pixels
    assert (photos[2]["place"], photos[2]["taken"]) == ([54.3, 10.1], "2023-07-01T10:00:00")
    assert photos[1]["size"] == list(SIZE)
    assert "not a picture that can be read" in photos[3]["reason"]
    assert "picture" not in photos[3]
    assert [path.name for path, _ in written.unreadable] == ["broken.jpg"]


def test_a_gallery_is_private_and_its_pictures_have_no_metadata(found, tmp_path):
    folder = tmp_path / "out"
    write_gallery(found, folder, "t")
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    pictures = list((folder / "thumbnails").iterdir())
    assert len(pictures) == 4
    for picture in pictures:
        with Image.open(picture) as opened:
            assert not opened.getexif()


def test_the_same_photos_give_the_same_bytes(found, tmp_path):
    for name in ("one", "two"):
        write_gallery(found, tmp_path / name, "t")
        write_gallery_page(found, tmp_path / f"{name}.html", "t")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_only_photos_that_changed_get_a_new_thumbnail(found, library, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    assert write_gallery(found, folder, "t").made == 4
    before = files(folder)
    assert write_gallery(found, folder, "t").made == 0
    assert files(folder) == before
    add_photo(library / "d.jpg", None, at("Big Mug", Kind.THING))
    os.utime(library / "d.jpg", ns=(5, 5))
    (folder / "thumbnails" / "of mine.jpg").write_bytes(b"x")
    decoded = []
    real = engine.pages.gallery_thumbnails.read_photo
    monkeypatch.setattr(engine.pages.gallery_thumbnails, "read_photo", lambda p: decoded.append(p.name) or real(p))
    again = write_gallery(found, folder, "t")
    assert (again.made, again.removed, sorted(decoded)) == (1, 1, ["broken.jpg", "d.jpg"])
    assert len(list((folder / "thumbnails").iterdir())) == 5
    monkeypatch.setattr(engine.pages.gallery_thumbnails, "_VERSION", 2)
    assert write_gallery(found, folder, "t").made == 4


def test_thumbnails_that_a_power_cut_left_empty_are_made_again(found, tmp_path):
    write_gallery(found, tmp_path / "out", "t")
    picture = min((tmp_path / "out" / "thumbnails").iterdir())
    before = picture.read_bytes()
    picture.write_bytes(b"")
    assert write_gallery(found, tmp_path / "out", "t").made == 1
    assert picture.read_bytes() == before


def test_old_files_go_and_those_of_others_stay(found, tmp_path):
    folder = tmp_path / "out"
    write_gallery(found, folder, "t")
    old = head_of(folder / "index.html")["scripts"]
    (folder / "photos-mine.js").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    written = write_gallery(found[:1], folder, "t")
    assert (written.made, written.removed, len(photos_of(folder))) == (0, 3, 1)
    assert not any((folder / name).exists() for name in old)
    assert (folder / "photos-mine.js").read_text() == (folder / "notes.txt").read_text() == "mine"


def test_a_run_that_is_stopped_leaves_the_earlier_gallery(found, tmp_path):
    folder = tmp_path / "out"
    write_gallery(found[:2], folder, "t")
    before = files(folder)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_gallery(found, folder, "t", step=stop)
    after = files(folder)
    assert {name: after[name] for name in before} == before
    write_gallery(found, folder, "t")
    assert len(photos_of(folder)) == 5


def test_a_folder_that_a_stopped_run_began_is_continued(found, tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(RuntimeError):
        write_gallery(found, folder, "t", step=lambda: (_ for _ in ()).throw(RuntimeError("stopped")))
    assert not (folder / "index.html").exists()
    write_gallery(found, folder, "t")


def put_photo(folder: Path) -> None:
    (folder / "photo.jpg").write_bytes(b"x")


def put_page(folder: Path) -> None:
    (folder / ".myvlm-gallery").write_text("The gallery in this folder was written by myvlm, which may replace and")
    (folder / "index.html").write_text("<title>mine</title>")


def mark(folder: Path) -> None:
    text = "The gallery in this folder was written by myvlm, which may replace and delete its files.\n"
    (folder / ".myvlm-gallery").write_text(text)


def put_own_index(folder: Path) -> None:
    mark(folder)
    (folder / "index.html").write_text("<title>mine</title>")


def put_link(folder: Path) -> None:
    mark(folder)
    (folder.parent / "elsewhere").mkdir()
    (folder / "thumbnails").symlink_to("../elsewhere")


@pytest.mark.parametrize("prepare", [put_photo, put_page, put_own_index, put_link])
def test_nothing_of_others_is_overwritten(found, tmp_path, prepare):
    folder = tmp_path / "out"
    folder.mkdir()
    prepare(folder)
    before = files(tmp_path)
    with pytest.raises(UsageError):
        write_gallery(found, folder, "t")
    assert files(tmp_path) == before


def test_where_a_gallery_cannot_be(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    for path in (tmp_path / "file", tmp_path / "no" / "where", tmp_path / ("x" * 300) / "y"):
        with pytest.raises(UsageError):
            check_folder(path)
    check_folder(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty")


def test_a_full_disk_is_said(found, tmp_path, monkeypatch):
    def fail(path, data, **more):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(engine.pages.gallery_thumbnails, "write_private", fail)
    with pytest.raises(EngineError, match=r"thumbnails/.*cannot be written: No space left"):
        write_gallery(found, tmp_path / "out", "t")


HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "\u2028\u2029",
    "\"quotes\" 'and' & `ticks` ${x}",
    "\\u003c/script>",
    "a\udcffb",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_can_leave_its_place(tmp_path, text):
    path = f"/p/{text.replace('/', '∕')}.jpg"
    name = IndexedName(text.replace("\udcff", "?"), "person")
    photo = some_photo(path, caption=text, names=(name,), reason=text, town=text, also=(text,))
    data = GalleryData([photo])
    code = script(0, data.pages()[0])
    assert code.isascii()
    assert not re.search(r"[<>&'\u2028\u2029]|(?<!\\)\\ud[89a-f]", code)
    described = json.loads(code.removeprefix("myvlmPage(0, ").removesuffix(");\n"))[0]
    assert described["caption"] == text.encode("utf-8", "backslashreplace").decode()
    assert described.get("address", described["path"]).isascii()
    from engine.pages.gallery import _render

    html = _render(data.head(text, None) | {"pages": data.pages()}, files_beside=False)
    html.encode()
    assert "alert(1)</" not in html
    assert html.count("</script>") == 1 + len(re.findall("<script>\n?'use strict'", html))
    assert json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])["pages"][0][0] == described


def test_the_policy_lets_nothing_out(found, tmp_path):
    write_gallery(found, tmp_path / "out", "t")
    text = (tmp_path / "out" / "index.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1].replace("&#39;", "'")
    rules = dict(part.split(" ", 1) for part in policy.split("; "))
    assert rules["default-src"] == rules["connect-src"] == rules["form-action"] == "'none'"
    assert "unsafe" not in policy
    assert not re.search(r"https?:", policy)
    assert not re.search(r"(?:src|href)=\"?https?:", text)


def test_addresses_are_relative_only_beside_the_gallery(tmp_path):
    photos = [some_photo(str(tmp_path / "a b" / name)) for name in ("x y.jpg", "ü.jpg")]
    data = GalleryData(photos)
    assert data.head("t", tmp_path / "gallery")["root"] == "../a%20b/"
    assert data.head("t", tmp_path / "sites" / "gallery")["root"] == (tmp_path / "a b").as_uri() + "/"
    assert data.head("t", None)["root"] == (tmp_path / "a b").as_uri() + "/"
    assert [p.get("address") for p in data.pages()[0]] == ["x%20y.jpg", "%C3%BC.jpg"]
    nothing = GalleryData([]).head("t", None)
    assert (nothing["photos"], nothing["root"]) == (0, "file:///")


def test_pages_hold_some_hundred_photos():
    pages = GalleryData([some_photo(f"/p/{i}.jpg") for i in range(2 * PAGE + 1)]).pages()
    assert [len(page) for page in pages] == [PAGE, PAGE, 1]
    assert pages[1][0]["path"] == f"{PAGE}.jpg"


def test_names_are_counted_once_a_photo_whatever_their_case():
    photos = [
        some_photo(names=(IndexedName("Anna", "person"), IndexedName("anna"), IndexedName("beach"))),
        some_photo(names=(IndexedName("ANNA"), IndexedName("beach"))),
        some_photo(names=(IndexedName("beach"), IndexedName("Rex", "pet"))),
    ]
    assert [(n.name, n.kind, n.photos) for n in count_names(photos)] == [
        ("ANNA", "person", 2),
        ("Rex", "pet", 1),
        ("beach", "", 3),
    ]


def test_regions_that_people_drew_are_shown_upright(home, myvlm, tmp_path):
    photo = tmp_path / "album" / "turned.jpg"
    photo.parent.mkdir()
    Image.new("RGB", (80, 60)).save(photo, "JPEG", exif=exif_bytes(orientation=6))  # 60 x 80 upright
    edit(photo, lambda packet: add_regions(packet, [NamedRegion("Anna", 0.25, 0.5, 0.5, 0.2)], (80, 60)))
    sidecar = photo.with_name("turned.jpg.xmp")
    packet = Packet(sidecar.read_bytes())
    sidecar.write_bytes(re.sub(rb"\s*<myvlm:\w+>.*?</myvlm:\w+>", b"", packet.serialise(), flags=re.DOTALL))
    assert myvlm("search", "--reindex", photo.parent).code == 0
    found = list(search(home, SearchRequest(folders=(photo.parent,)), SearchCounts()))
    [shown] = collect(found, lambda path: Thumbnail(60, 80, "t.jpg"))
    assert [(b.name, b.x, b.y, b.width, b.height) for b in shown.boxes] == [("Anna", 0.4, 0.0, 0.2, 0.5)]


def test_a_name_that_was_removed_has_no_box(found):
    photo = next(p for p in found if p.path.name == "b.jpg")
    [shown] = collect([replace(photo, stored_names='[["Rex", "pet", "idRex"]]')], lambda path: Thumbnail(4, 3, "t.jpg"))
    assert [b.name for b in shown.boxes] == ["Rex"]


def test_a_renamed_concept_has_its_box_under_its_new_name(found):
    photo = next(p for p in found if p.path.name == "a.jpg")
    [shown] = collect([replace(photo, present={"idRex": "Rexy"})], lambda path: Thumbnail(4, 3, "t.jpg"))
    assert ([n.name for n in shown.names], [b.name for b in shown.boxes]) == (["Rexy"], ["Rexy"])


def test_boxes_outside_of_the_photo_are_cut(home, myvlm, tmp_path):
    add_photo(tmp_path / "p" / "a.jpg", None, at("Rex", box=Box(-5, 5, 20, 99)), at("Max", box=Box(50, 50, 60, 60)))
    myvlm("search", "--reindex", tmp_path / "p")
    found = list(search(home, SearchRequest(folders=(tmp_path / "p",)), SearchCounts()))
    [shown] = collect(found, lambda path: Thumbnail(4, 3, "t.jpg"))
    assert [(b.name, b.x, b.y, b.width, b.height) for b in shown.boxes] == [("Rex", 0.0, 0.5, 1.0, 0.5)]


def test_what_browsers_cannot_show_has_a_larger_copy(tmp_path):
    Image.new("RGB", (2000, 1000)).save(tmp_path / "a.tif")
    Image.new("RGB", (2000, 1000)).save(tmp_path / "b.png")
    (tmp_path / "out").mkdir()
    folder = ThumbnailFolder(tmp_path / "out")
    one, two = folder.of(tmp_path / "a.tif"), folder.of(tmp_path / "b.png")
    assert (one.width, one.height, two.preview) == (512, 256, "")
    with Image.open(tmp_path / "out" / one.preview) as preview:
        assert preview.size == (1600, 800)
    assert ThumbnailFolder(tmp_path / "out").of(tmp_path / "a.tif") == one


def test_a_raw_file_of_the_same_shot_is_not_shown_twice(home, myvlm, tmp_path):
    add_photo(tmp_path / "p" / "a.jpg", "One.", at("Rex"))
    add_photo(tmp_path / "p" / "a.cr2", "One.", at("Rex"))
    record = tmp_path / "p" / "a.cr2.myvlm.json"
    record.write_text(record.read_text().replace('"same_as": null', '"same_as": "a.jpg"'))
    myvlm("search", "--reindex", tmp_path / "p")
    found = list(search(home, SearchRequest(folders=(tmp_path / "p",)), SearchCounts()))
    [shown] = collect(found, lambda path: Thumbnail(4, 3, "t.jpg"))
    assert (shown.path.name, shown.also) == ("a.jpg", ("a.cr2",))
    [alone] = collect([p for p in found if p.path.suffix == ".cr2"], lambda path: Thumbnail(4, 3, "t.jpg"))
    assert (alone.path.name, alone.also) == ("a.cr2", ())


def test_photos_that_were_not_captioned_come_last_with_the_reason(home, library, tmp_path):
    (library / "empty.jpg").write_bytes(b"")
    fine = add_photo(library / "fine.jpg")
    (library / "fine.jpg.xmp").write_bytes(b"<x>")
    update = IndexUpdate(
        failures={library / n: f"{library / n}: why" for n in ("empty.jpg", "fine.jpg", "gone.jpg", "d.jpg")}
    )
    with LibraryIndex(home) as index:
        index.write(update)
    failed = failed_photos(home, [library])
    assert [path.name for path, _ in failed] == ["d.jpg", "empty.jpg", "fine.jpg"]
    assert (
        failed_photos(home, [library / "2024"]) == failed_photos(home, []) == failed_photos(tmp_path, [library]) == []
    )
    found = list(search(home, SearchRequest(folders=(library,)), SearchCounts()))
    written = write_gallery(found, tmp_path / "out", "t", failed=failed)
    shown = photos_of(tmp_path / "out")[-3:]
    assert [(p["path"], p.get("reason"), "picture" in p) for p in shown] == [
        ("d.jpg", None, True),  # it has been captioned
        ("empty.jpg", "the file is empty", False),
        ("fine.jpg", "why", True),
    ]
    assert {path.name for path, _ in written.unreadable} == {"broken.jpg", "empty.jpg"}
    assert fine.exists()


def test_keywords_that_only_group_others_are_no_names(found):
    photo = next(p for p in found if p.path.name == "a.jpg")
    names = json.dumps([["Rex", "pet", ""], ["Pets", "", ""], ["Things", "", ""], ["beach", "", ""]])
    [shown] = collect([replace(photo, stored_names=names)], lambda path: Thumbnail(4, 3, "t.jpg"))
    assert [n.name for n in shown.names] == ["Rex", "Things", "beach"]


def test_a_region_named_as_a_group_of_keywords_has_no_box(found, home, myvlm, library, tmp_path):
    photo = library / "2023" / "a.jpg"
    edit(photo, lambda packet: add_regions(packet, [NamedRegion("Pets", 0.5, 0.5, 0.2, 0.2, "BarCode")], (10, 10)))
    sidecar = photo.with_name("a.jpg.xmp")
    packet = Packet(sidecar.read_bytes())
    sidecar.write_bytes(re.sub(rb"\s*<myvlm:Region\w*>.*?</myvlm:Region\w*>", b"", packet.serialise(), flags=re.DOTALL))
    myvlm("search", "--reindex", library)
    [again] = [p for p in search(home, SearchRequest(folders=(library,)), SearchCounts()) if p.path == photo]
    both = replace(again, stored_names='[["Rex", "pet", "idRex"], ["Pets", "", ""]]')
    write_gallery([both], tmp_path / "out", "t")
    assert [n[:2] for n in head_of(tmp_path / "out" / "index.html")["names"]] == [["Rex", "pet"]]
    [shown] = photos_of(tmp_path / "out")
    assert [box[0] for box in shown["boxes"]] == [0]


def test_escaped_json_is_json():
    assert json.loads(escaped_json({"a": ["<b>", "\u2028", "'"]})) == {"a": ["<b>", "\u2028", "'"]}
    assert escaped_json("<") == '"\\u003c"'
