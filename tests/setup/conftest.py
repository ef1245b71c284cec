"""A hub and a hub cache of a test's own."""

import shutil

import pytest

from tests.setup.hub_server import run_hub


@pytest.fixture(autouse=True)
def home(home):
    """A data folder that does not exist yet: nothing is chosen."""
    shutil.rmtree(home)
    return home


@pytest.fixture
def hub(monkeypatch, cache):
    """A running hub that the real client talks to, whatever this process decided before about the network."""
    from huggingface_hub import constants

    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):  # go_online removes them; the test run needs them again
        monkeypatch.setenv(name, "1")
    with run_hub() as running:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield running


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty hub cache."""
    from huggingface_hub import constants

    folder = tmp_path / "hub-cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture
def said():
    """What was said to the user: a list that is also the function."""

    class Lines(list):
        def __call__(self, line):
            self.append(line)

    return Lines()
