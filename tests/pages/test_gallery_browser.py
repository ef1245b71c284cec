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
    page.select_option("#order", "date")
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
    assert myvlm("search", "--name", "rex", "--html", "gallery").code == 0
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


def test_photos_of_which_only_the_year_is_known_are_under_their_year(myvlm, tmp_path, open_page):
    for name, taken in (("c", "1988-07-01T10:00:00"), ("b", "1987"), ("a", "1979-01"), ("n", None)):
        add_photo(tmp_path / "p" / f"{name}.jpg", None, at("Rex"), taken=taken)
    for k in range(12):
        add_photo(tmp_path / "p" / f"y{k}.jpg", None, at("Rex"), taken="1985" if k % 2 else "1985-05-02")
    assert myvlm("search", "--reindex", tmp_path / "p").code == 0
    assert myvlm("search", "--in", tmp_path / "p", "--html", tmp_path / "gallery").code == 0
    page = open_page(tmp_path / "gallery" / "index.html")
    headings = page.evaluate("grid.rows.filter((row) => row.heading).map((row) => row.heading)")
    assert headings == ["1987–1988", "May 1985", "1985", "1979", "No date"]
    years = page.eval_on_selector_all("#years .year", "all => all.map((a) => a.firstChild.textContent)")
    assert years == ["1988", "1987", "1985", "1979", "No date"]
    months = page.eval_on_selector_all("#years .month", "all => all.map((a) => a.dataset.part)")
    assert months == ["1988-07", "1985-05", "1979-01"]
    page.goto(f"{page.url}#photo-2")
    page.wait_for_selector("#viewer[open]")
    assert page.inner_text(".about dd >> nth=0") == "1987"


def test_the_tab_key_reaches_a_photo_in_sight(myvlm, tmp_path, open_page):
    for i in range(240):
        add_photo(tmp_path / "p" / f"{i:03}.jpg", None, at("Rex"), taken=f"{2024 - i // 40}-03-01")
    assert myvlm("search", "--reindex", tmp_path / "p").code == 0
    assert myvlm("search", "--in", tmp_path / "p", "--html", tmp_path / "gallery").code == 0
    page = open_page(tmp_path / "gallery" / "index.html")
    reachable = "[...document.querySelectorAll('.tile[tabindex=\"0\"]')]"
    in_sight = f"{reachable}.map((t) => t.getBoundingClientRect()).map((r) => r.bottom > 0 && r.top < innerHeight)"
    assert page.evaluate(in_sight) == [True]
    for move in ("window.scrollTo(0, 1e6)", "window.scrollTo(0, 900)"):
        page.evaluate(move)
        page.wait_for_timeout(300)
        assert page.evaluate(in_sight) == [True]
    page.click("#years .year >> nth=3")
    page.wait_for_timeout(300)
    assert page.evaluate(in_sight) == [True]
    assert page.evaluate(f"{reachable}[0].photo.taken") == "2021-03-01"
    page.focus(".tile[tabindex='0']")
    photo = page.evaluate("document.activeElement.photo.path")
    page.evaluate("window.scrollTo(0, 0)")
    page.wait_for_timeout(300)
    assert page.evaluate("document.activeElement.photo.path") == photo
    assert page.evaluate(f"{reachable}.length") == 1


def test_ranked_photos_begin_with_the_best_and_can_be_ordered_by_date(myvlm, library, open_page):
    add_photo(library / "old.jpg", "Rex, Rex.", at("Rex"), taken="1999-01-01")
    assert myvlm("search", "--reindex", library).code == 0
    ranked = [Path(line).name for line in myvlm("search", "rex").out.splitlines()]
    assert myvlm("search", "rex", "--html", "rex.html").code == 0
    page = open_page(Path("rex.html"))
    headings = "all => all.map((h) => h.firstChild.textContent)"
    assert shown(page) == ranked != ["b.jpg", "a.jpg", "old.jpg"]
    assert page.eval_on_selector_all("#photos h2", headings) == ["Best match first"]
    assert page.query_selector("#years a") is None
    page.select_option("#order", "date")
    assert shown(page) == ["b.jpg", "a.jpg", "old.jpg"]
    assert page.eval_on_selector_all("#photos h2", headings) == ["1999–2024"]
    assert len(page.query_selector_all("#years .year")) == 3
    page.select_option("#order", "rank")
    assert shown(page) == ranked
    myvlm("search", "nobody", "--html", "rex.html")
    page.reload()
    assert page.inner_text(".note-box >> visible=true") == "No photos."
    assert page.inner_text("#count") == "0 photos"
