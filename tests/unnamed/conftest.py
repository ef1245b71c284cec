import shutil
from pathlib import Path

import pytest

from engine.photos.discovery import find_files
from engine.recognition.scan import scan
from engine.session import Session, SessionOptions
from tests.conftest import choose_storybook
from tests.unnamed.library import Strangers, draw_library


@pytest.fixture(scope="module")
def scanned(tmp_path_factory) -> tuple[Strangers, Path]:
    """The drawn library, and a data folder in which its features are cached."""
    base = tmp_path_factory.mktemp("strangers")
    choose_storybook(base / "home")
    session = Session(SessionOptions("storybook"), base / "home")
    strangers = draw_library(base / "photos")
    list(scan(session, find_files([strangers.folder])))
    session.store.close()
    return strangers, base / "home"


@pytest.fixture
def strangers(scanned, home, tmp_path) -> Strangers:
    """A copy of the drawn library; MYVLM_HOME knows its features."""
    drawn, known = scanned
    shutil.rmtree(home)
    shutil.copytree(known, home)
    folder = shutil.copytree(drawn.folder, tmp_path / "photos")
    return Strangers(folder, drawn.photos)


@pytest.fixture
def session(strangers, home) -> Session:
    return Session(SessionOptions("storybook"), home)
