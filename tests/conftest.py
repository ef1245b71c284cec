import os
from pathlib import Path

import pytest

from engine.config import stay_offline

stay_offline()
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Every test has a concept store of its own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("MYVLM_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared photos, sidecars and reference numbers, beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("../shared is not here")
    return SHARED


@pytest.fixture
def myvlm(capsys, monkeypatch):
    """Run a command in this process: models stay imported, exit codes and streams are the real ones."""
    from tests.learned import commands

    yield from commands(capsys, monkeypatch)


@pytest.fixture
def session(tmp_path_factory, tmp_path, monkeypatch):
    """A session on a copy of the store that knows Rex and Anna; the copy is MYVLM_HOME."""
    from tests.learned import use_copy

    return use_copy(tmp_path_factory.getbasetemp(), tmp_path, monkeypatch)


@pytest.fixture
def drawn(tmp_path):
    """A drawn photo on disk: a red dog on the beach."""
    import numpy as np

    from engine.storybook.photos import save_photo
    from engine.storybook.world.individuals import draw_figure
    from engine.storybook.world.scenes import compose

    rng = np.random.default_rng(3)
    scene = compose(rng, (draw_figure(rng, "dog"),), place="beach")
    return save_photo(scene, tmp_path / "photos" / "dog.jpg", orientation=6)


def pytest_report_header() -> str:
    return f"shared: {'present' if SHARED.is_dir() else 'absent'}, MYVLM_HOME per test, cpus {os.cpu_count()}"
