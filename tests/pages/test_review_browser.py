"""The review page in a real browser: what the user sees, what keys and fingers do, and what is stored."""

import json
import os
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.concepts.decide import decide
from engine.concepts.decision_log import DecisionLog
from engine.concepts.review import Example, Suggestion, find_suggestions
from engine.core.boxes import Box
from engine.core.errors import StoreError
from engine.core.types import Match, Scale
from engine.pages.review_cards import in_page_order
from engine.pages.review_desk import ReviewDesk
from engine.pages.review_page import write_page
from engine.photos.decode import read_photo
from tests.pages.browser import PHONE, wait_until
from tests.suggested import settle


def make_desk(session, suggestions) -> ReviewDesk:
    log = DecisionLog(in_page_order(suggestions), session.store.decisions, partial(decide, session))
    return ReviewDesk(log, next_command="myvlm caption album", again="myvlm review album --open")


@pytest.fixture
def desk(session, album):
    """Four suggestions: three of Rex, one of Anna."""
    desk = make_desk(session, find_suggestions(session, sorted(album.glob("*.jpg")), None, album).suggestions)
    yield desk
    desk.close()


@pytest.fixture
def served(desk, tabs):
    return tabs.serve(desk)


def stored(session) -> list[tuple[str, str]]:
    """Photo and verdict of every decision in the store."""
    return sorted((d.path.name, str(d.verdict)) for d in session.store.decisions.all())


def shown(desk, *numbers) -> list[str]:
    return [desk.log.suggestions[n].path.name for n in numbers]


def settled(tab) -> None:
    """Wait until the server has answered everything."""
    wait_until(tab, "document.body.getAttribute('aria-busy') !== 'true'")


def wait_for_pictures(tab, selector) -> None:
    every = "selector => [...document.querySelectorAll(selector)].every(image => image.naturalWidth > 0)"
    wait_until(tab, every, selector)


def choices(tab) -> list[str]:
    return tab.eval_on_selector_all(
        ".card", "cards => cards.map(c => ['confirm', 'reject', 'skip'].find(v => c.classList.contains(v)) || '')"
    )


def test_it_loads_with_all_pictures_and_nothing_from_elsewhere(served, tabs):
    tab = tabs.open(served.address)
    assert tab.title() == "myvlm review"
    assert "key=" not in tab.url
    assert tab.locator("#count").text_content() == "0 of 4 done"
    assert tab.locator("h2 .concept").all_text_contents()[:2] == ["Rex", "Anna"]
    wait_for_pictures(tab, ".card img")
    assert tab.locator(".card img").count() == 3 * 4
    assert tab.locator(".card.now").get_attribute("id") == "card-0"
    tab.reload()
    assert tab.locator(".card").count() == 4


def test_keys_decide_and_undo(served, desk, session, tabs):
    tab = tabs.open(served.address)
    for key in "yns":
        tab.keyboard.press(key)
    settled(tab)
    assert choices(tab) == ["confirm", "reject", "skip", ""]
    assert stored(session) == sorted(zip(shown(desk, 0, 1), ["confirm", "reject"], strict=True))
    assert tab.locator(".card.now").get_attribute("id") == "card-3"
    assert tab.locator("#count").text_content() == "3 of 4 done"
    tab.keyboard.press("u")
    tab.keyboard.press("u")
    settled(tab)
    assert choices(tab) == ["confirm", "", "", ""]
    assert stored(session) == [(*shown(desk, 0), "confirm")]
    assert tab.locator(".card.now").get_attribute("id") == "card-1"
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("n")
    settled(tab)
    assert stored(session) == [(*shown(desk, 0), "reject")]
    tab.locator("#undo").click()
    tab.locator("#undo").click()
    settled(tab)
    assert stored(session) == []
    tab.keyboard.press("u")
    settled(tab)
    wait_until(tab, "document.querySelector('#toast span').textContent === 'Nothing to undo'")


def test_buttons_decide_and_take_back(served, session, tabs):
    tab = tabs.open(served.address)
    no = tab.locator("#card-2 [data-choice=reject]")
    no.click()
    settled(tab)
    assert (choices(tab)[2], no.get_attribute("aria-pressed"), len(stored(session))) == ("reject", "true", 1)
    no.click()
    settled(tab)
    assert (choices(tab)[2], no.get_attribute("aria-pressed"), len(stored(session))) == ("", "false", 0)


def test_a_reload_and_a_second_tab_see_what_was_decided(served, session, tabs):
    context = tabs.context()
    first, second = tabs.open(served.address, context), tabs.open(served.address, context)
    first.keyboard.press("y")
    settled(first)
    first.reload()
    assert choices(first) == ["confirm", "", "", ""]
    second.wait_for_selector("#card-0.confirm")  # it asks every few seconds
    second.keyboard.press("u")
    settled(second)
    assert stored(session) == []
    first.wait_for_selector("#card-0:not(.confirm)")
    assert choices(first) == choices(second) == [""] * 4


def test_several_are_selected_and_decided_at_once(served, desk, session, tabs):
    tab = tabs.open(served.address)
    tab.keyboard.press("a")
    assert tab.locator("#selection b").text_content() == "3 selected"
    tab.keyboard.press("Escape")
    assert tab.locator("#selection").is_hidden()
    tab.locator("#card-0 .pick").click()
    tab.locator("#card-2 .pick").click(modifiers=["Shift"])
    assert tab.locator(".card.picked").count() == 3
    tab.locator("#card-1 .pick").click()
    tab.locator("#selection [data-choice=reject]").click()
    settled(tab)
    assert choices(tab) == ["reject", "", "reject", ""]
    assert stored(session) == sorted((name, "reject") for name in shown(desk, 0, 2))
    assert "2 rejected" in tab.locator("#toast").text_content()
    tab.locator("#toast button").click()
    settled(tab)
    assert (choices(tab), stored(session)) == ([""] * 4, [])
    tab.locator("#card-0").focus()
    tab.keyboard.press("Shift+ArrowRight")
    tab.keyboard.press("y")
    settled(tab)
    assert choices(tab) == ["confirm", "confirm", "", ""]


def test_a_photo_is_enlarged_and_decided_there(served, desk, session, tabs):
    tab = tabs.open(served.address)
    tab.locator("#card-1 .crop").click()
    look = tab.locator("#look")
    assert look.is_visible()
    assert tab.locator("#look .name").text_content() == shown(desk, 1)[0]
    wait_until(tab, "document.getElementById('look-image').naturalWidth > 0")
    assert tab.locator("#look .look-known img").count() == 3
    tab.keyboard.press("y")
    settled(tab)
    assert stored(session) == [(*shown(desk, 1), "confirm")]
    assert tab.locator("#look .name").text_content() == shown(desk, 2)[0]
    tab.keyboard.press("ArrowLeft")
    assert tab.locator("#look .verdict-text").text_content() == "✓ Rex"
    tab.keyboard.press("Escape")
    assert look.is_hidden()
    assert tab.locator(".card.now").get_attribute("id") == "card-1"
    tab.keyboard.press("Enter")
    assert look.is_visible()


def test_an_enlarged_photo_is_decided_about_alone(served, desk, session, tabs):
    tab = tabs.open(served.address)
    for key in ("x", "ArrowRight", "x"):
        tab.keyboard.press(key)
    tab.locator("#card-3 .crop").click()
    tab.locator("#look [data-choice=confirm]").click()
    settled(tab)
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("n")
    settled(tab)
    decided = [n for n, choice in enumerate(choices(tab)) if choice]
    assert 3 in decided
    assert len(decided) == 2
    assert (*shown(desk, 3), "confirm") in stored(session)
    tab.keyboard.press("Escape")
    assert tab.locator(".card.picked").count() == 2  # they are still selected


def test_what_is_hidden_is_not_selected(served, session, tabs):
    tab = tabs.open(served.address)
    for key in ("x", "ArrowRight", "x"):
        tab.keyboard.press(key)
    tab.locator("#card-0 [data-choice=confirm]").click()
    tab.locator("#hide").click()
    assert tab.locator("#selection b").text_content() == "1 selected"
    tab.keyboard.press("n")
    settled(tab)
    assert choices(tab)[:2] == ["confirm", "reject"]


def test_help_names_the_keys(served, tabs):
    tab = tabs.open(served.address)
    tab.keyboard.press("?")
    assert tab.locator("#help").is_visible()
    tab.keyboard.press("y")  # it decides nothing behind the dialog
    tab.keyboard.press("Escape")
    assert tab.locator("#help").is_hidden()
    assert choices(tab) == [""] * 4


def test_decided_ones_and_other_concepts_can_be_hidden(served, tabs):
    tab = tabs.open(served.address)
    tab.locator(".chip[data-group='1']").click()
    assert [tab.locator(f"#card-{n}").is_visible() for n in range(4)] == [False, False, False, True]
    tab.locator(".chip[data-group='']").click()
    tab.keyboard.press("y")
    tab.locator("#hide").click()
    assert [tab.locator(f"#card-{n}").is_visible() for n in range(4)] == [False, True, True, True]


def test_done_ends_it_in_all_tabs(served, tabs):
    context = tabs.context()
    first, second = tabs.open(served.address, context), tabs.open(served.address, context)
    tabs.expected.append("Failed to load resource")
    for key in "ynyn":
        first.keyboard.press(key)
    settled(first)
    assert "primary" in first.locator("#finish").get_attribute("class")
    first.locator("#finish").click()
    first.wait_for_selector("#over:not([hidden])")
    assert "2 confirmed, 2 rejected, 0 undecided" in first.locator("#over").text_content()
    assert first.locator("#over code").text_content() == "myvlm caption album"
    second.wait_for_selector("#over:not([hidden])")
    assert "This review has ended" in second.locator("#over").text_content()
    served.close()
    assert served.ending == "done"


def test_closing_the_last_tab_ends_it(desk, tabs):
    served = tabs.serve(desk, closed_seconds=1.0)
    tab = tabs.open(served.address)
    tab.reload()
    tab.wait_for_timeout(2000)
    assert served.ending is None  # a reload is no end
    tab.close()
    served._thread.join(15)
    assert served.ending == "closed"


def test_what_cannot_be_stored_or_shown_says_why(served, desk, session, album, tabs):
    tabs.expected.append("404")
    gone = desk.log.suggestions[0].path
    gone.unlink()
    tab = tabs.open(served.address)
    note = tab.locator("#card-0 .crop .note")
    note.wait_for()
    assert note.text_content() == "The photo is not there any more."
    tab.keyboard.press("y")
    tab.locator("#card-0 .problem:not([hidden])").wait_for()
    assert "No such file" in tab.locator("#card-0 .problem").text_content()
    assert choices(tab)[0] == ""
    assert stored(session) == []


def test_what_fails_is_seen_in_the_enlarged_view(served, desk, tabs):
    tabs.expected.append("404")
    (gone,) = shown(desk, 0)
    desk.log.suggestions[0].path.unlink()
    tab = tabs.open(served.address)
    tab.keyboard.press("Enter")
    tab.keyboard.press("y")
    settled(tab)
    wait_until(tab, "!document.querySelector('#toast').hidden")
    toast = tab.locator("#toast")
    assert f"{gone} could not be stored: " in toast.text_content()
    box = toast.bounding_box()
    middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    assert tab.evaluate("([x, y]) => Boolean(document.elementFromPoint(x, y).closest('#toast'))", middle)
    tab.keyboard.press("ArrowLeft")
    assert "No such file" in tab.locator("#look .problem").text_content()
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#look .problem").is_hidden()
    tab.keyboard.press("Escape")
    wait_until(
        tab, "document.querySelector('#toast').parentElement === document.body"
    )  # it is not gone with the dialog


def test_the_page_says_when_myvlm_is_gone_and_what_was_not_stored(served, session, tabs):
    tabs.expected.append("Failed to load resource")
    tab = tabs.open(served.address)
    tab.keyboard.press("y")
    settled(tab)
    served.close()
    tab.keyboard.press("n")
    tab.keyboard.press("y")
    tab.wait_for_selector("#over:not([hidden])")
    told = tab.locator("#over").text_content()
    assert "1 confirmed, 0 rejected, 3 undecided." in told
    assert "not stored" in told
    assert "is stored" not in told
    assert tab.locator("#over code").text_content() == "myvlm review album --open"
    assert len(stored(session)) == 1


def test_a_last_step_that_was_lost_is_told(served, session, tabs):
    tabs.expected.append("Failed to load resource")
    tab = tabs.open(served.address)
    tab.keyboard.press("y")
    settled(tab)
    served.close()
    tab.keyboard.press("u")
    tab.wait_for_selector("#over:not([hidden])")
    assert "Your last step was not carried out." in tab.locator("#over").text_content()
    assert len(stored(session)) == 1


def slowly(desk, seconds=1.0):
    """Make each decision of a desk take a while."""
    carry_out = desk.log._decide
    desk.log._decide = lambda requests: (time.sleep(seconds), carry_out(requests))[1]


@pytest.mark.parametrize("leave", ["reload", "close"])
def test_what_waits_is_stored_when_the_page_is_left(served, desk, session, tabs, leave):
    slowly(desk)
    tabs.may_leave = True
    tab = tabs.open(served.address)
    other = tab.context.new_page()
    tab.bring_to_front()
    for key in "ynuyy":
        tab.keyboard.press(key)
    if leave == "reload":
        tab.reload()
        wait_until(tab, "document.querySelector('#count').textContent.startsWith('3')")
        assert choices(tab).count("confirm") == 3
    else:
        tab.close(run_before_unload=True)
        for _ in range(150):
            if len(stored(session)) == 3:
                break
            other.wait_for_timeout(100)
    assert tabs.left == 1
    assert [verdict for _, verdict in stored(session)] == ["confirm"] * 3


def test_what_waits_is_sent_together(served, desk, session, tabs):
    slowly(desk, 0.3)
    requests = []
    tab = tabs.open(served.address)
    tab.on("request", lambda request: requests.append(request.url.rpartition("/")[2]))
    for key in "ynsyu":
        tab.keyboard.press(key)
    settled(tab)
    assert requests.count("act") == 2
    assert choices(tab) == ["confirm", "reject", "skip", ""]
    assert len(stored(session)) == 2


def test_the_page_shows_what_was_stored_despite_an_error(served, desk, session, tabs):
    carry_out, broken = desk.log._decide, [True]
    tabs.expected.append("500")

    def break_once(requests):
        results = carry_out(requests)
        if broken.pop() if broken else False:
            raise StoreError("the disk is full")
        return results

    desk.log._decide = break_once
    tab = tabs.open(served.address)
    tab.keyboard.press("y")
    settled(tab)
    wait_until(tab, "document.querySelector('#toast span').textContent.startsWith('the disk is full')")
    assert (choices(tab)[0], len(stored(session))) == ("confirm", 1)
    tab.keyboard.press("u")
    settled(tab)
    assert (choices(tab)[0], len(stored(session))) == ("", 0)


EVIL = "</script><img src=x onerror=alert(1)>\"'&<!-- {{ 7*7 }}"


def test_hostile_names_are_only_text(session, album, tabs, tmp_path):
    renamed = session.store.rename("Rex", EVIL)
    name = b"<script>alert(2)<!-- \"' \xe2\x80\xa8 \xff <img src=x onerror=alert(3)>.jpg"
    target = album / os.fsdecode(name)
    (album / "rex.jpg").rename(target)
    settle(album)
    suggestions = find_suggestions(session, sorted(album.glob("*.jpg")), None, album).suggestions
    desk = make_desk(session, suggestions)
    number = next(n for n, s in enumerate(desk.log.suggestions) if s.path == target)
    shown_name = os.fsdecode(name).encode("utf-8", "backslashreplace").decode()
    write_page(suggestions, tmp_path / "page.html")
    served = tabs.serve(desk)
    for address in (served.address, tmp_path / "page.html"):
        tab = tabs.open(address)
        assert tab.locator("h2 .concept").first.text_content() == EVIL
        assert tab.locator(f"#card-{number} .name").text_content() == shown_name
        tab.locator(f"#card-{number} .crop").click()
        assert tab.locator("#look .concept").text_content() == EVIL
        assert tab.locator("#look .name").text_content() == shown_name
        assert tab.locator("img[src=x]").count() == 0
        tab.keyboard.press("y")
        assert EVIL in tab.locator(f"#card-{number} .verdict").text_content()
        settled(tab)
    assert [d.concept_id for d in session.store.decisions.all()] == [renamed.id]
    desk.close()


@pytest.mark.parametrize("form", ["served", "file"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_has_a_low_header_and_no_sideways_scrolling(served, desk, tabs, tmp_path, form, scheme, width):
    write_page(desk.log.suggestions, tmp_path / "page.html")
    tab = tabs.open(
        served.address if form == "served" else tmp_path / "page.html",
        viewport={**PHONE, "width": width},
        color_scheme=scheme,
        is_mobile=True,
        has_touch=True,
    )
    assert tab.locator("header").bounding_box()["height"] <= 64
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.locator("#finish").bounding_box()["x"] + tab.locator("#finish").bounding_box()["width"] <= width
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(245, 245, 243)", "dark": "rgb(22, 22, 21)"}[scheme]
    for button in tab.locator("#card-0 [data-choice]").all():
        assert button.bounding_box()["height"] >= 44  # for a finger
    tab.locator("#card-0 [data-choice=confirm]").tap()
    settled(tab)
    assert choices(tab)[0] == "confirm"
    tab.locator("#card-1 .crop").tap()
    assert tab.locator("#look [data-choice=confirm]").is_visible()
    box = tab.locator("#look .look-nav").bounding_box()
    assert box["y"] + box["height"] <= PHONE["height"]


@pytest.fixture
def many(session, tmp_path):
    """Make suggestions of as many photos as asked for, of Rex and Anna in turn."""

    def make(count: int) -> list[Suggestion]:
        rng = np.random.default_rng(1)
        concepts = session.store.all()
        suggestions = []
        for k in range(count):
            path = tmp_path / "many" / f"{k // 100}" / f"IMG_{k:04}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).resize((160, 120)).save(path, quality=60)
            concept = concepts[k % 2]
            match = Match(
                concept.id, concept.name, concept.kind, 1, 2.0, 4.0, Box(20, 20, 100, 100), "detector", Scale.LOG_ODDS
            )
            reference = concept.references[0]
            nearest = (Example(reference.path, reference.content_hash, reference.box, 0.8),)
            suggestions.append(Suggestion(path, read_photo(path).content_hash, match, 1.0, nearest))
        return suggestions

    return make


def test_six_cards_are_on_a_laptops_screen(session, many, tabs):
    desk = make_desk(session, many(16))
    served = tabs.serve(desk)
    tab = tabs.open(served.address)
    boxes = [card.bounding_box() for card in tab.locator(".card").all()[:8]]
    whole = [b for b in boxes if b["y"] + b["height"] <= 800 and b["x"] + b["width"] <= 1280]
    assert len(whole) >= 6
    tab.keyboard.press("ArrowDown")
    assert tab.locator(".card.now").get_attribute("id") == "card-4"
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowUp")
    assert tab.locator(".card.now").get_attribute("id") == "card-1"
    desk.close()


def test_a_thousand_items(session, many, tabs):
    desk = make_desk(session, many(1000))
    made = []
    picture = desk.picture
    desk.picture = lambda number: made.append(number) or picture(number)
    served = tabs.serve(desk)
    tab = tabs.open(served.address)
    wait_for_pictures(tab, "#card-0 img")
    tab.wait_for_load_state("networkidle")
    assert tab.locator(".card").count() == 1000
    assert 0 < len(made) < 500  # of 2,000: only what is near the screen
    tab.keyboard.press("y")
    tab.locator("#card-999").scroll_into_view_if_needed()
    wait_until(tab, "document.querySelector('#card-999 .crop img').naturalWidth > 0")
    tab.locator("#card-999 [data-choice=reject]").click()
    settled(tab)
    assert stored(session) == sorted(zip(shown(desk, 0, 999), ["confirm", "reject"], strict=True))
    tab.locator("#card-500 .pick").click()  # the first of the second concept
    tab.locator("#card-998 .pick").click(modifiers=["Shift"])
    assert tab.locator(".card.picked").count() == 499
    tab.locator("#selection [data-choice=skip]").click()
    settled(tab)
    assert tab.locator("#count").text_content() == "501 of 1000 done"
    tab.reload()
    assert (choices(tab).count("skip"), choices(tab).count("")) == (499, 499)
    desk.close()


def test_the_page_in_a_file_saves_decisions(session, album, tabs, tmp_path, myvlm):
    suggestions = find_suggestions(session, sorted(album.glob("*.jpg")), None, album).suggestions
    path = tmp_path / "page.html"
    write_page(suggestions, path)
    context = tabs.context(accept_downloads=True)
    tab = tabs.open(path, context)
    wait_for_pictures(tab, ".card img")
    for key in "ynsyu":
        tab.keyboard.press(key)
    assert choices(tab) == ["confirm", "reject", "skip", ""]
    tab.reload()
    assert choices(tab) == ["confirm", "reject", "skip", ""]
    tab.locator("#card-1 .crop").click()
    assert tab.evaluate("document.getElementById('look-image').naturalWidth") > 0
    tab.keyboard.press("Escape")
    with tab.expect_download() as download:
        tab.locator("#finish").click()
    assert download.value.suggested_filename == "myvlm-decisions.jsonl"
    saved = tmp_path / "saved.jsonl"
    download.value.save_as(saved)
    lines = [json.loads(line) for line in saved.read_text().splitlines()]
    assert [line["verdict"] for line in lines] == ["confirm", "reject"]
    assert tab.evaluate("localStorage.length") == 0
    assert myvlm("review", "--apply", saved).code == 0
    assert stored(session) == sorted((Path(line["photo"]).name, line["verdict"]) for line in lines)
