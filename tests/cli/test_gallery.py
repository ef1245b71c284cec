"""myvlm search --html: a page or a gallery of what was found."""

import json
import stat
from pathlib import Path

import pytest

import engine.pages.gallery
from engine.pages.gallery_folder import prepared_folder
from tests.pages.gallery_library import add_photo, at, make_library
from tests.pages.test_gallery import head_of, photos_of


@pytest.fixture
def library(myvlm, tmp_path, monkeypatch) -> Path:
    folder = make_library(tmp_path / "library")
    assert myvlm("search", "--reindex", folder).code == 0
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_whole_library_becomes_a_gallery(myvlm, library):
    result = myvlm("search", "--in", library, "--html", "gallery/")
    assert result.code == 1  # broken.jpg
    assert result.out == "gallery/index.html\n"
    assert "5 photos written: 4 thumbnails made" in result.err
    assert "1 without a picture" in result.err
    assert "broken.jpg: not a picture that can be read" in result.err
    assert head_of(Path("gallery/index.html"))["title"] == "library"
    assert len(photos_of(Path("gallery"))) == 5


def test_a_whole_library_shows_what_failed(myvlm, library):
    (library / "d.jpg.xmp").write_bytes(b"<x>")
    assert myvlm("search", "--reindex", library).code == 1
    myvlm("search", "--in", library, "--html", "gallery/")
    [photo] = [p for p in photos_of(Path("gallery")) if p["path"] == "d.jpg"]
    assert "d.jpg.xmp" in photo["reason"]
    myvlm("search", "--in", library, "--until", "2100", "--html", "gallery/")
    assert len(photos_of(Path("gallery"))) == 4  # those with a date


@pytest.mark.parametrize("target", ["new", "new/", "there", "there/", "gallery", "gallery/index.html"])
def test_what_is_taken_for_a_folder(myvlm, library, target):
    Path("there").mkdir()
    myvlm("search", "rex", "--html", "gallery")
    result = myvlm("search", "rex", "beach", "--html", target)
    assert result.code == 0, result.err
    page = Path(result.out.strip())
    assert page.name == "index.html"
    assert head_of(page)["title"] == "rex beach"
    assert len(photos_of(page.parent)) == 1


def test_one_page_holds_its_thumbnails(myvlm, library):
    result = myvlm("search", "rex", "--html", "rex.html", "--json")
    assert result.code == 0, result.err
    assert (result.json["html"], len(result.json["photos"]), result.json["more"]) == ("rex.html", 2, False)
    head = head_of(Path("rex.html"))
    assert [p["path"] for p in head["pages"][0]] == ["2023/a.jpg", "2024/b.jpg"]
    assert all(p["picture"].startswith("data:image/jpeg;base64,") for p in head["pages"][0])
    assert stat.S_IMODE(Path("rex.html").stat().st_mode) == 0o600
    assert myvlm("search", "anna", "--html", "rex.html").code == 1


def test_a_page_that_is_cut_says_so(myvlm, library, monkeypatch):
    monkeypatch.setattr(engine.pages.gallery, "PAGE_LIMIT", 1)
    result = myvlm("search", "rex", "--html", "rex.html")
    assert "the page has 1 of 2 photos" in result.err
    assert head_of(Path("rex.html"))["more"] == 1
    result = myvlm("search", "rex", "--html", "rex.html", "--limit", "2")
    assert "the page has" not in result.err
    assert len(head_of(Path("rex.html"))["pages"][0]) == 2
    assert myvlm("search", "rex", "--html", "gallery", "--limit", "1").code == 0
    assert head_of(Path("gallery/index.html"))["more"] == 1


def test_advice_about_the_limit_is_given_only_where_there_is_one(myvlm, library, monkeypatch):
    monkeypatch.setattr(engine.pages.gallery, "PAGE_LIMIT", 1)
    result = myvlm("search", "rex", "--html", "rex.html")
    assert "the first 1 photo found among 5\n" in result.err
    assert "for all: --limit" in result.err
    for limited in (["--limit", "1"], ["--limit", "1", "--html", "gallery"]):
        assert "; without --limit: all" in myvlm("search", "rex", *limited).err


def test_the_order_of_rank_is_kept(myvlm, library):
    add_photo(library / "old.jpg", "Rex, Rex and Rex again.", at("Rex"), taken="1999-01-01")
    add_photo(library / "new.jpg", "Many words that say little of what is seen, and Rex.", taken="2025-01-01")
    assert myvlm("search", "--reindex", library).code == 0
    for words, order in (
        (["rex"], "Best match first"),
        (["--near", "54.3,10.1,9km"], "Nearest first"),
        (["--in", str(library)], ""),
    ):
        listed = [Path(line).name for line in myvlm("search", *words).out.splitlines()]
        myvlm("search", *words, "--html", "gallery")
        assert head_of(Path("gallery/index.html"))["order"] == order
        assert [Path(p["path"]).name for p in photos_of(Path("gallery"))] == listed
    best = [Path(line).name for line in myvlm("search", "rex").out.splitlines()]
    assert best.index("new.jpg") > 0


def test_an_earlier_gallery_is_emptied_where_nothing_is_found(myvlm, library):
    for target, page in (("gallery", Path("gallery/index.html")), ("page.html", Path("page.html"))):
        assert myvlm("search", "rex", "--html", target).code == 0
        result = myvlm("search", "nobody", "--html", target, "--json")
        assert (result.code, result.json["html"], result.json["photos"]) == (1, str(page), [])
        assert f"no photo was found: {target} is empty now" in result.err
        assert head_of(page)["photos"] == 0
        assert ">No photos.<" in page.read_text()
    assert not list(Path("gallery/thumbnails").iterdir())
    assert not list(Path("gallery").glob("photos-*"))


def test_two_runs_do_not_write_one_gallery_at_a_time(myvlm, library):
    with prepared_folder(Path("gallery")):
        result = myvlm("search", "rex", "--html", "gallery")
    assert (result.code, result.out) == (4, "")
    assert "another run is writing the gallery gallery" in result.err
    assert not Path("gallery/index.html").exists()
    assert myvlm("search", "rex", "--html", "gallery").code == 0


def test_nothing_found_writes_nothing(myvlm, library):
    for target in ("gallery", "page.html"):
        result = myvlm("search", "nobody", "--html", target, "--json")
        assert (result.code, result.json["html"], Path(target).exists()) == (1, None, False)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("library", "holds other files than a gallery"),
        ("library/", "--html library/gallery"),
        ("mine.html", "is no page of myvlm search"),
        ("file", "is no folder"),
        ("no/where.html", "there is no folder no"),
        ("no/where/", "there is no folder no"),
        ("~nosuchuser/x.html", "there is no home folder for ~nosuchuser/x.html"),
    ],
)
def test_what_is_not_replaced(myvlm, library, target, told):
    Path("mine.html").write_text("mine")
    Path("file").write_text("mine")
    result = myvlm("search", "rex", "--html", target)
    assert (result.code, result.out) == (2, "")
    assert told in result.err
    assert Path("mine.html").read_text() == Path("file").read_text() == "mine"


@pytest.mark.parametrize("option", ["--captions", "-0", "--jsonl"])
def test_lists_beside_a_page_are_refused(myvlm, library, option):
    result = myvlm("search", "rex", "--html", "page.html", option)
    assert result.code == 2
    assert f"{option} lists photos" in result.err


def test_open_shows_the_page(myvlm, library, monkeypatch):
    opened = []
    monkeypatch.setattr("myvlm_cli.search.open_address", lambda address: opened.append(address) or True)
    result = myvlm("search", "rex", "--html", "gallery", "--open")
    assert (result.code, opened) == (0, [str(Path("gallery/index.html").absolute())])
    assert "no browser" not in result.err


def test_without_a_browser_the_page_is_named(myvlm, library, monkeypatch):
    monkeypatch.setattr("myvlm_cli.viewer.shutil.which", lambda name: None)
    result = myvlm("search", "rex", "--html", "gallery", "--open")
    assert (result.code, result.out) == (0, "gallery/index.html\n")
    assert "Open gallery/index.html in a browser" in result.err
    assert "xargs" not in result.err


def test_a_gallery_in_the_library_is_not_captioned(myvlm, library):
    assert myvlm("search", "rex", "--html", library / "gallery").code == 0
    assert "5 photos indexed" in myvlm("search", "--reindex", library).err


def test_paths_that_are_not_utf8_are_shown(myvlm, tmp_path, monkeypatch):
    add_photo(tmp_path / "p" / "a\udcff.jpg", "One.", at("Rex"))
    assert myvlm("search", "--reindex", tmp_path / "p").code == 0
    monkeypatch.chdir(tmp_path)
    assert myvlm("search", "one", "--html", "gallery").code == 0
    [photo] = photos_of(Path("gallery"))
    assert (photo["path"], photo["address"]) == ("a\\udcff.jpg", "a%FF.jpg")
    assert json.dumps(photo).isascii()
