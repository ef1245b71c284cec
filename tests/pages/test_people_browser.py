"""The people page in a real browser: what the user sees, what keys do, and what is stored."""

import re
import urllib.request
from dataclasses import replace

import pytest

from engine.core.types import Kind
from engine.pages.people_cards import dates_text, make_cards
from engine.pages.people_desk import PeopleDesk
from engine.photos.discovery import find_files
from engine.unnamed.find import GroupRequest, find_unnamed
from tests.pages.browser import PHONE, wait_until
from tests.pages.test_review_browser import settled, wait_for_pictures
from tests.unnamed.conftest import scanned, session, strangers  # noqa: F401  fixtures
from tests.unnamed.library import make_log


def make_desk(session, groups) -> PeopleDesk:  # noqa: F811
    log = make_log(session, groups, Kind.PERSON)
    return PeopleDesk(log, Kind.PERSON, more=3, next_command="myvlm caption photos", again="myvlm people --open")


@pytest.fixture
def groups(session, strangers):  # noqa: F811
    return find_unnamed(session, find_files([strangers.folder]), GroupRequest()).groups


@pytest.fixture
def desk(session, groups):  # noqa: F811
    desk = make_desk(session, groups)
    yield desk
    desk.close()


@pytest.fixture
def served(desk, tabs):
    return tabs.serve(desk)


def concepts(session):  # noqa: F811
    return {c.name: len(c.references) for c in session.store.all()}


def states(tab):
    return tab.eval_on_selector_all(".card", "cards => cards.map(c => c.querySelector('.verdict').textContent)")


def test_it_shows_each_group_with_its_views(served, tabs):
    tab = tabs.open(served.address)
    assert tab.title() == "myvlm people"
    assert tab.locator("#count").text_content() == "0 of 4 done"
    assert tab.locator(".card").count() == 4
    wait_for_pictures(tab, "#card-0 img")
    assert tab.locator("#card-0 .line p").text_content() == "6 photos · May 2021 – Nov 2021"
    assert "3 more are not on this page" in tab.locator("main").text_content()
    box = tab.locator(".bar").bounding_box()
    assert box["height"] <= 64


def test_a_name_is_typed_stored_and_taken_back(served, session, tabs):  # noqa: F811
    tab = tabs.open(served.address)
    tab.keyboard.press("Enter")
    tab.keyboard.type("Anna iju")  # keys are letters in the field
    tab.keyboard.press("Enter")
    settled(tab)
    assert states(tab) == ["Anna iju", "", "", ""]
    assert concepts(session).keys() == {"Anna iju"}
    assert tab.locator("#card-0").get_attribute("class").count("colour-") == 1
    assert "learned" in tab.locator("#card-0 .told").text_content()
    assert tab.evaluate("document.activeElement.id") == "name-1"
    assert tab.eval_on_selector_all("#names option", "all => all.map(o => o.value)") == ["Anna iju"]
    tab.keyboard.press("Escape")
    tab.keyboard.press("u")
    settled(tab)
    assert states(tab) == ["", "", "", ""]
    assert concepts(session) == {}


def test_ignoring_and_moving_by_keys(served, session, tabs):  # noqa: F811
    tab = tabs.open(served.address)
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("i")
    settled(tab)
    assert states(tab) == ["", "Ignored", "", ""]
    assert len(session.store.ignored.all()) == 1
    assert tab.locator(".card.now").get_attribute("id") == "card-2"
    tab.keyboard.press("k")
    tab.keyboard.press("i")  # is ignored already
    settled(tab)
    assert len(session.store.ignored.all()) == 1
    tab.locator("#card-1 [data-undo]").click()
    settled(tab)
    assert session.store.ignored.all() == ()


def test_two_groups_with_one_name_become_one(served, session, tabs):  # noqa: F811
    tab = tabs.open(served.address)
    for number in (0, 1, 1):
        tab.locator(f"#name-{number}").fill("Anna")
        tab.locator(f"#card-{number} .naming button").click()
        settled(tab)
    before = concepts(session)
    assert states(tab)[:2] == ["Anna", ""]  # asked for twice, and not confirmed
    assert "does not look like the photos that Anna had before" in tab.locator("#card-1 .problem").text_content()
    tab.locator("#name-1").fill("Ann")
    assert not tab.locator("#card-1 [data-anyway]").is_visible()
    tab.locator("#name-1").fill("Anna")
    tab.keyboard.press("Enter")
    settled(tab)
    assert concepts(session) == before
    tab.locator("#card-1 [data-anyway]").click()
    settled(tab)
    assert states(tab)[:2] == ["Anna", "Anna"]
    assert not tab.locator("#card-1 [data-anyway]").is_visible()
    assert concepts(session).keys() == {"Anna"}
    assert "does not look like the photos that Anna had before" in tab.locator("#card-1 .told").text_content()
    tab.locator("#card-0 [data-undo]").click()
    settled(tab)
    assert states(tab)[:2] == ["", "Anna"]
    tab.locator("#card-1 [data-undo]").click()
    settled(tab)
    assert concepts(session) == {}


def test_a_name_that_cannot_be_stored_is_refused_beside_the_field(served, session, tabs):  # noqa: F811
    tabs.expected.append("400")
    tabs.expected.append("500")
    tab = tabs.open(served.address)
    tab.locator("#name-0").fill("‮Anna")
    tab.locator("#card-0 .naming button").click()
    settled(tab)
    assert tab.locator("#card-0 .problem").is_visible()
    assert concepts(session) == {}
    tab.locator("#name-0").fill("   ")
    tab.locator("#card-0 .naming button").click()
    settled(tab)
    assert concepts(session) == {}


def test_all_photos_of_a_group_are_shown_and_enlarged(served, tabs):
    tab = tabs.open(served.address)
    tab.keyboard.press("o")
    assert tab.locator("#members").is_visible()
    assert tab.locator(".thumbs li").count() == 6
    wait_for_pictures(tab, ".thumbs img")
    tab.locator(".thumbs button").first.click()
    wait_until(tab, "document.querySelector('#photo-image').naturalWidth > 400")
    assert tab.locator("#photo-title").text_content().startswith("IMG_00.jpg photos · 1 May 2021")
    tab.keyboard.press("Escape")
    tab.keyboard.press("Escape")
    assert not tab.locator("#members").is_visible()
    assert tab.locator(".card.now").get_attribute("id") == "card-0"


def test_a_suggested_name_is_one_click_away(session, groups, tabs):  # noqa: F811
    guessed = replace(groups[0], members=tuple(replace(m, maybe="<b>Anna</b>") for m in groups[0].members))
    desk = make_desk(session, [guessed])
    tab = tabs.open(tabs.serve(desk).address)
    tab.locator("[data-maybe]").click()
    settled(tab)
    assert states(tab) == ["<b>Anna</b>"]
    assert concepts(session).keys() == {"<b>Anna</b>"}
    assert tab.locator("b", has_text=re.compile("^Anna$")).count() == 0
    desk.close()


def test_two_photos_are_to_be_looked_at_first(session, groups, tabs):  # noqa: F811
    pair = replace(groups[0], members=groups[0].members[:2], views=(0, 1))
    desk = make_desk(session, [pair, groups[1]])
    tab = tabs.open(tabs.serve(desk).address)
    assert "look at both before you name it" in tab.locator("#card-0").text_content()
    assert tab.locator("#card-1 .hint").count() == 0
    tab.locator("#name-0").fill("Anna")
    tab.locator("#card-0 .naming button").click()
    settled(tab)
    assert "A group in two photos may show two individuals" in tab.locator("#card-0 .told").text_content()
    assert not tab.locator("#card-0 .hint").is_visible()
    desk.close()


def test_a_reload_and_another_tab_see_what_was_done(served, tabs):
    tab = tabs.open(served.address)
    other = tabs.open(served.address)
    tab.keyboard.press("i")
    settled(tab)
    wait_until(other, "document.querySelector('#card-0').classList.contains('ignored')")
    tab.reload()
    assert states(tab)[0] == "Ignored"


def test_it_ends_when_the_user_is_done(served, tabs):
    tab = tabs.open(served.address)
    tab.keyboard.press("i")
    settled(tab)
    tab.locator("#finish").click()
    wait_until(tab, "!document.querySelector('#over').hidden")
    assert "0 named, 1 ignored, 3 left" in tab.locator("#over").text_content()
    assert str(served.ending or "done") == "done"


def test_it_says_what_was_not_carried_out(served, session, tabs):  # noqa: F811
    tabs.expected.append("Failed to load resource")
    tab = tabs.open(served.address)
    tab.keyboard.press("i")
    settled(tab)
    served.close()
    tab.keyboard.press("i")
    wait_until(tab, "!document.querySelector('#over').hidden")
    told = tab.locator("#over").text_content()
    assert "0 named, 1 ignored, 3 left. 1 action was not carried out." in told
    assert len(session.store.ignored.all()) == 1


def test_it_fits_a_phone(served, tabs):
    tab = tabs.open(served.address, viewport=PHONE, has_touch=True, is_mobile=True)
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    tab.locator("#card-0 [data-ignore]").tap()
    settled(tab)
    assert states(tab)[0] == "Ignored"


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"do": "name", "group": 9, "name": "A"},
        {"do": "name", "group": True, "name": "A"},
        {"do": "name", "group": 0, "name": 5},
        {"do": "ignore", "groups": []},
        {"do": "ignore", "groups": [0, "1"]},
        {"do": "undo", "group": -1},
    ],
)
def test_malformed_actions_are_refused(desk, request_):
    from engine.core.errors import UsageError

    if request_.get("do") == "undo":
        desk.act({"do": "ignore", "groups": [3]})
    with pytest.raises(UsageError):
        desk.act(request_)


def test_only_its_own_pictures_are_served(desk, tabs):
    served = tabs.serve(desk)
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with opener.open(served.address) as answer:
        place = answer.url
    with opener.open(f"{place}picture/0") as answer:
        assert answer.headers["Content-Type"] == "image/jpeg"
    for wrong in ("picture/99999", "picture/../../etc/passwd", "picture/-1"):
        with pytest.raises(urllib.error.HTTPError):
            opener.open(f"{place}{wrong}")


def test_texts_of_cards(groups):
    cards, pictures = make_cards(groups, Kind.PERSON)
    assert (cards[0].photos, cards[0].kind, cards[0].left_out) == (6, "", 0)
    assert len(pictures) == sum(len(c.views) + 2 * len(c.members) for c in cards)
    assert dates_text("", "") == ""
    assert dates_text("2021-05-01", "2021-05-30") == "May 2021"
    assert dates_text("2020-12-01", "2021-05-30") == "Dec 2020 – May 2021"
