import pytest

from tests.learned import draw_album
from tests.pages.browser import OPTIONS, Tabs, find_chromium
from tests.suggested import settle


@pytest.fixture
def album(session, tmp_path):
    """Rex alone, Rex with Anna, nobody, where nothing is sure; a store that knows both is MYVLM_HOME."""
    draw_album(tmp_path / "album")
    settle(tmp_path / "album")
    return tmp_path / "album"


@pytest.fixture(scope="session")
def chromium():
    """One browser for all tests of a process; each tab group has a profile of its own."""
    path = find_chromium()
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, headless=True, args=list(OPTIONS))
        except Error as err:
            pytest.skip(f"{path} does not start: {str(err).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def tabs(chromium):
    tabs = Tabs(chromium)
    yield tabs
    tabs.close()
