"""The gallery in a real browser, opened from disk."""

from pathlib import Path

import pytest

from engine.core.types import Kind
from tests.pages.browser import PHONE, wait_until
from tests.pages.gallery_library import add_photo, at, make_library


@pytest.fixture
def open_page(tabs):
    """Open a file in a new tab, and wait until all photos are read."""

    def open_file(path: Path, **options):
        tab = tabs.open(path.resolve(), **options)
        wait_until(tab, "() => photos.length === head.photos && document.querySelector('.tile') !== null")
        return tab

    return open_file


@pytest.fixture
def library(myvlm, tmp_path, monkeypatch) -> Path:
    folder = make_library(tmp_path / "a library")
    hostile = at("</script><script>bad()</script>", Kind.PERSON)
    add_photo(folder / "2024" / "<img src=x onerror=bad()>.jpg", '"><b>bold</b> \u2028', hostile, taken="2024-02-02")
    assert myvlm("search", "--reindex", folder).code == 0
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def gallery(myvlm, library) -> Path:
    myvlm("search", "--in", library, "--html", "gallery/")
    return Path("gallery/index.html")


def shown(page) -> list[str]:
    return page.eval_on_selector_all(".tile", "tiles => tiles.map((t) => t.photo.path.split('/').pop())")


def swipe(page, x: int, y: int) -> None:
    """Move a finger over the photo."""
    script = """([x, y]) => { const stage = document.querySelector('.stage');
        const touch = (clientX, clientY) => new Touch({identifier: 1, target: stage, clientX, clientY});
        const start = touch(200, 200), end = touch(200 + x, 200 + y);
        stage.dispatchEvent(new TouchEvent('touchstart', {touches: [start], changedTouches: [start]}));
        stage.dispatchEvent(new TouchEvent('touchend', {touches: [], changedTouches: [end]})); }"""
    page.evaluate(script, [x, y])


def test_names_words_and_dates_are_found(gallery, open_page):
    page = open_page(gallery)
    everything = ["c.jpg", "<img src=x onerror=bad()>.jpg", "b.jpg", "a.jpg", "broken.jpg", "d.jpg"]
    assert shown(page) == everything
    assert page.inner_text("#count") == "6 photos"
    page.click(".chip:has-text('Rex')")
    assert shown(page) == ["b.jpg", "a.jpg"]
    assert page.inner_text("#count") == "2 of 6 photos"
    page.click(".chip:has-text('Anna')")
    assert shown(page) == ["b.jpg"]
    assert page.eval_on_selector_all(".chip[aria-pressed=true]", "chips => chips.length") == 2
    page.click("#clear")
    for words, expected in (("cafe", ["c.jpg"]), ("REX snow", ["b.jpg"]), ("july 2023", ["a.jpg"]), ("xyz", [])):
        page.fill("#words", words)
        assert shown(page) == expected, words
    page.click("#nothing button")
    assert shown(page) == everything


def test_a_photo_is_enlarged_and_the_keys_work(gallery, open_page):
    page = open_page(gallery)
    page.click(".tile >> nth=2")
    page.wait_for_selector("#viewer[open]")
    assert page.inner_text(".about .caption") == "Rex and Anna in the snow."
    assert "5 January 2024, 09:00" in page.inner_text(".about")
    wait_until(page, "() => document.querySelector('.frame img').src.endsWith('/a%20library/2024/b.jpg')")
    assert page.get_attribute(".about a", "href") == "../a%20library/2024/b.jpg"
    page.keyboard.press("b")
    assert page.eval_on_selector_all(".frame .box", "boxes => boxes.map((b) => b.textContent)") == ["Rex", "Anna"]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.inner_text(".frame .note") == "Not a picture that can be read."
    page.keyboard.press("ArrowLeft")
    assert page.inner_text(".about .caption") == "Rex runs on the beach."
    page.keyboard.press("Escape")
    page.wait_for_selector("#viewer", state="hidden")
    assert page.evaluate("document.activeElement.photo.path") == "2023/a.jpg"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    page.wait_for_selector("#viewer[open]")
    page.go_back()
    page.wait_for_selector("#viewer", state="hidden")


def test_arrow_keys_move_among_the_photos(gallery, open_page):
    page = open_page(gallery, viewport={"width": 700, "height": 600})
    focused = []
    page.focus(".tile >> nth=0")
    for key in ("ArrowRight", "ArrowDown", "ArrowUp", "End", "Home", "ArrowLeft"):
        page.keyboard.press(key)
        focused.append(page.evaluate("document.activeElement.photo.path.split('/').pop()"))
    assert [focused[0], *focused[3:]] == ["<img src=x onerror=bad()>.jpg", "d.jpg", "c.jpg", "c.jpg"]
    assert focused[1] != focused[0] == focused[2]
    assert page.eval_on_selector_all(".tile[tabindex='0']", "tiles => tiles.length") == 1


def test_boxes_appear_under_the_pointer_and_at_the_focus(gallery, open_page):
    page = open_page(gallery)
    page.hover(".tile >> nth=2")
    assert page.eval_on_selector_all(".tile .box", "boxes => boxes.map((b) => b.textContent)") == ["Rex", "Anna"]
    page.hover("h1")
    assert page.query_selector(".tile .box") is None
    page.focus(".tile >> nth=3")
    assert page.eval_on_selector_all(".tile .box", "boxes => boxes.map((b) => b.textContent)") == ["Rex"]


def test_no_text_becomes_code(gallery, open_page):
    page = open_page(gallery)
    page.click(".tile >> nth=1")
    page.wait_for_selector("#viewer[open]")
    assert page.inner_text(".about .chip") == "</script><script>bad()</script>"
    assert page.inner_text(".about .caption").startswith('"><b>bold</b>')
    assert (
        page.evaluate("document.querySelectorAll('.about b, .tile b, script:not(:empty)').length") == 5
    )  # four are ours


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_one_page_works_on_a_phone(myvlm, library, open_page, scheme):
    assert myvlm("search", "rex", "--html", "rex.html").code == 0
    phone = {"viewport": PHONE, "has_touch": True, "is_mobile": True, "color_scheme": scheme}
    page = open_page(Path("rex.html"), **phone)
    assert page.evaluate("document.scrollingElement.scrollWidth") == 390
    assert page.evaluate("document.querySelector('.bar').offsetHeight") <= 64
    page.tap(".tile >> nth=1")
    page.wait_for_selector("#viewer[open]")
    assert page.inner_text(".about .caption") == "Rex runs on the beach."
    swipe(page, 200, 10)
    assert page.inner_text(".about .caption") == "Rex and Anna in the snow."
    swipe(page, -200, 10)
    assert page.inner_text(".about .caption") == "Rex runs on the beach."
    swipe(page, 10, 200)
    page.wait_for_selector("#viewer", state="hidden")
    page.tap(".tile >> nth=0")
    page.tap("#viewer [data-close]")
    page.wait_for_selector("#viewer", state="hidden")


def test_only_what_is_in_sight_is_loaded(myvlm, tmp_path, open_page, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(600):
        add_photo(tmp_path / "p" / f"{i:03}.jpg", None, at("Rex"), taken=f"20{10 + i // 50}-03-0{i % 9 + 1}")
    assert myvlm("search", "--reindex", "p").code == 0
    assert myvlm("search", "rex", "--html", "gallery").code == 0
    page = open_page(Path("gallery/index.html"))
    assert page.evaluate("document.querySelectorAll('.tile').length") < 120
    page.goto(f"{page.url}#photo-560")  # of the second page of data
    page.reload()
    wait_until(page, "() => document.querySelector('.place-in-list').textContent === '560 of 600 photos'")
    page.keyboard.press("Escape")
    page.click("#years .year >> nth=-1")
    wait_until(page, "() => document.querySelectorAll('.tile')[30].photo.path <= '049.jpg'")
    assert page.evaluate("document.querySelectorAll('.tile').length") < 150
    assert page.inner_text("#years [aria-current]").startswith("March")
