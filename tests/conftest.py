import atexit
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import settings

from engine.core.paths import stay_offline

stay_offline()
# One thread a worker, and one in each command that a test starts: they are read when torch and the like are imported.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
os.environ |= dict.fromkeys(THREADS, "1")
# Tests neither see nor change the models of this machine. It is read when huggingface_hub is imported.
os.environ["HF_HOME"] = mkdtemp(prefix="myvlm-tests-hub-")
os.environ.pop("HF_HUB_CACHE", None)
os.environ["OLLAMA_HOST"] = "127.0.0.1:9"  # where no Ollama is
atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)
settings.register_profile("beside other workers", deadline=None)
settings.load_profile("beside other workers")
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Every test has a data folder of its own, whose `config.toml` chooses the models that are shipped."""
    folder = tmp_path / "home"
    monkeypatch.setenv("MYVLM_HOME", str(folder))
    choose_storybook(folder)
    return folder


@pytest.fixture
def bare_home(home, empty_hub):
    """A data folder that does not exist yet: nothing is chosen, and no VLM for real photos is on disk."""
    shutil.rmtree(home)
    return home


@pytest.fixture
def no_vlm(empty_hub):
    """No VLM is chosen in the data folder in use, whose recogniser stays, and none for real photos is on disk."""
    (Path(os.environ["MYVLM_HOME"]) / "config.toml").write_text('recogniser = "storybook"\n')


@pytest.fixture
def empty_hub(tmp_path, monkeypatch):
    """The hub's cache is an empty folder, whatever this machine has."""
    folder = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    return folder


def choose_storybook(folder: Path) -> None:
    """Write the `config.toml` that `myvlm demo` writes."""
    folder.mkdir(mode=0o700, parents=True)
    with open(folder / "config.toml", "x", opener=lambda path, flags: os.open(path, flags, 0o600)) as f:
        f.write('vlm = "storybook"\nrecogniser = "storybook"\n')


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared photos, sidecars and reference numbers, beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("../shared is not here")
    return SHARED


@pytest.fixture(scope="session")
def parity() -> Callable[[str], Path]:
    """A folder of reference numbers by its name; MYVLM_PARITY names another set of them."""

    def find(name: str) -> Path:
        folder = Path(os.environ.get("MYVLM_PARITY", SHARED / "parity")) / name
        if not folder.is_dir():
            pytest.skip(f"the reference numbers are not here: {folder}")
        return folder

    return find


@pytest.fixture(scope="session", autouse=True)
def one_onnx_thread():
    """ONNX Runtime reads no variable: sessions that ask for nothing get one thread, as torch has."""
    import onnxruntime

    plain = onnxruntime.InferenceSession.__init__

    def bounded(self, model, sess_options=None, *arguments, **named):
        if sess_options is None:
            sess_options = onnxruntime.SessionOptions()
            sess_options.intra_op_num_threads = 1
        plain(self, model, sess_options, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnxruntime.InferenceSession, "__init__", bounded)
        yield


@pytest.fixture(scope="session")
def learned_folder(tmp_path_factory) -> Path:
    """The folder with the store that knows Rex and Anna, and with their photos; the workers share one."""
    from tests.learned import learned

    base = tmp_path_factory.getbasetemp()
    return learned(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture
def myvlm(capsys, monkeypatch):
    """Run a command in this process: models stay imported, exit codes and streams are the real ones."""
    from tests.learned import commands

    yield from commands(capsys, monkeypatch)


@pytest.fixture
def session(learned_folder, tmp_path, monkeypatch):
    """A session on a copy of the store that knows Rex and Anna; the copy is MYVLM_HOME."""
    from tests.learned import use_copy

    return use_copy(learned_folder, tmp_path, monkeypatch)


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


def pytest_xdist_auto_num_workers(config) -> int:
    """A worker a core, at most four, since each holds the models; none for single files, which are done sooner so."""
    is_single = config.args_source is pytest.Config.ArgsSource.ARGS and not any(Path(a).is_dir() for a in config.args)
    return 0 if is_single or cores() == 1 else min(4, cores())


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pytest_report_header() -> str:
    return f"shared: {'present' if SHARED.is_dir() else 'absent'}, MYVLM_HOME per test, cores {cores()}"
