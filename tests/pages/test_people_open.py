"""myvlm people --open: serve the page, store what is named, and say what to do next."""

import pytest

from tests.pages.test_review_open import browser, visit  # noqa: F401  a fixture
from tests.unnamed.conftest import scanned, strangers  # noqa: F401  fixtures

NAME, IGNORE = {"do": "name", "group": 0, "name": "Anna"}, {"do": "ignore", "groups": [1]}


@pytest.fixture
def folder(strangers):  # noqa: F811
    return strangers.folder


def test_what_is_done_on_the_page_is_stored(myvlm, folder, browser):  # noqa: F811
    browser(lambda address: visit(address, NAME, IGNORE))
    result = myvlm("people", folder, "--open")
    assert result.code == 0, result.err
    assert result.out.startswith("http://127.0.0.1:")
    assert "1 group named, 1 ignored, 0 left." in result.err
    assert result.err.endswith(f"Next: myvlm caption {folder}\n")
    assert [c["name"] for c in myvlm("concepts", "--json").json["concepts"]] == ["Anna"]
    assert len(myvlm("people", "--ignored", "--json").json["ignored"]) == 1
    assert "Anna is forgotten" not in myvlm("people", "--undo").err  # the last step was to ignore
    assert "Anna is forgotten" in myvlm("people", "--undo").err


def test_undo_on_the_page_leaves_nothing(myvlm, folder, browser):  # noqa: F811
    browser(lambda address: visit(address, NAME, {"do": "undo", "group": 0}))
    result = myvlm("people", folder, "--open", "--limit", 1)
    assert "0 groups named, 0 ignored, 1 left." in result.err
    assert result.err.endswith(f"Next: myvlm people {folder} --open --limit=1\n")
    assert myvlm("concepts", "--json").json["concepts"] == []


def test_what_was_listed_last_is_not_named_again(myvlm, folder, browser):  # noqa: F811
    photos = sorted(folder.rglob("*.jpg"))
    assert len(photos) > 3
    assert myvlm("people", *photos).code == 0
    browser(visit)
    assert myvlm("people", "--open").err.endswith("Next: myvlm people --open\n")
    browser(lambda address: visit(address, NAME))
    assert myvlm("people", "--open", *photos).err.endswith("Next: myvlm caption PATHS\n")


def test_animals_have_a_page_too(myvlm, folder, browser):  # noqa: F811
    browser(lambda address: visit(address, {**NAME, "name": "Rex"}))
    result = myvlm("people", "--pets", folder, "--open")
    assert "1 group named" in result.err
    (concept,) = myvlm("concepts", "--json").json["concepts"]
    assert (concept["name"], concept["kind"]) == ("Rex", "pet")


def test_nothing_is_served_when_there_is_nobody(myvlm, folder, browser):  # noqa: F811
    browser(lambda address: pytest.fail("a browser was opened"))
    result = myvlm("people", folder, "--open", "--include", "none*")
    assert (result.code, result.out) == (0, "")
    assert "No photos found." in result.err
