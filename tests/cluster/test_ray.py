"""Workers in processes of Ray: one Ray for all tests of this module."""

import os
import shutil
import signal
import sqlite3
import time
from collections import Counter
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engine.captioning.caption import caption_photos
from engine.captioning.caption_run import CaptionRequest
from engine.cluster.dispatch import Dispatcher
from engine.cluster.options import ClusterOptions
from engine.cluster.ray_runtime import Plan, _start
from engine.cluster.worker import Share
from engine.core.errors import EnvironmentFault, WeightsMissingError
from engine.photos.discovery import find_files
from engine.storybook.album import ANNA, REX
from engine.storybook.photos import save_photo
from engine.storybook.world.individuals import draw_individual
from engine.storybook.world.scenes import compose
from tests.cluster.toys import Toy, ToySetup, make_files
from tests.kill import sidecars

NAMES = [f"{n:02d}" for n in range(12)]
ONE, TWO = ClusterOptions(workers=1), ClusterOptions(workers=2, threads=1)


@pytest.fixture(scope="module")
def ray():
    """A running Ray, which the runs of the tests use as it is."""
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install '.[cluster]'")
    from engine.cluster.ray_runtime import ray_running

    with ray_running(ClusterOptions(workers=3), uses_gpu=False) as (module, _):
        yield module


def run_toys(setup, files, options=TWO):
    from engine.cluster.ray_pool import RayPool

    task = Toy()
    with RayPool(setup, options, uses_gpu=False) as pool:
        return [r for rs in Dispatcher(pool, task, size=3).run(map(task.begin, files)) for r in rs]


def test_photos_are_done_although_workers_end(ray, tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    files = make_files(tmp_path, NAMES)
    assert run_toys(ToySetup(poison=("01", "08"), marks=marks), files) == NAMES
    assert sorted(p.name for p in marks.iterdir()) == ["01", "08"]


def test_the_only_worker_may_end_late_in_a_run(ray, tmp_path, monkeypatch):
    marks = tmp_path / "marks"
    marks.mkdir()
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600 * len(list(marks.iterdir())))
    monkeypatch.setattr("engine.cluster.ray_pool._LOOK", 0.01)
    monkeypatch.setattr("engine.cluster.ray_pool.time", clock)  # each worker that ends did so after an hour
    files = make_files(tmp_path, NAMES[:4])
    assert run_toys(ToySetup(poison=("01",), marks=marks), files, ONE) == NAMES[:4]


def test_an_error_of_ray_is_one_of_the_run(ray, tmp_path, monkeypatch):
    from engine.cluster.ray_pool import RayPool

    def full(ref):
        raise ray.exceptions.OutOfDiskError("the disk is full")

    monkeypatch.setattr(ray, "put", full)
    with pytest.raises(EnvironmentFault, match="the disk is full"), RayPool(ToySetup(), ONE, uses_gpu=False) as pool:
        pool.has_room()


def test_where_no_cluster_listens_is_said_at_once(ray):
    with pytest.raises(EnvironmentFault, match=r"127\.0\.0\.1:1: .*refused"):
        _start(ray, ClusterOptions(address="127.0.0.1:1"), "")


def test_workers_share_the_cores_and_keep_the_number_of_threads_that_was_set(ray, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert Plan(3, 0.5, 3).share(1) == Share(3)
    assert Plan(2, 0.0, 2, (4, 5, 8, 9), 2).share(1) == Share(2, (8, 9))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert Plan(3, 0.0, 3, (0, 1)).share(1) == Share(3, (), "3")


def test_a_photo_that_ends_every_worker_fails_alone(ray, tmp_path, capfd):
    files = make_files(tmp_path, NAMES[:4])
    assert run_toys(ToySetup(poison=("01",)), files) == ["00", "01 failed", "02", "03"]
    assert capfd.readouterr().out == ""  # Ray would tell of the workers


def test_an_error_that_concerns_all_photos_ends_the_run_as_itself(ray, tmp_path):
    files = make_files(tmp_path, NAMES[:2])
    with pytest.raises(WeightsMissingError, match=r"^the weights are gone$") as caught:
        run_toys(ToySetup(missing_weights=True), files)
    assert caught.value.hint == "Run: myvlm setup"
    with pytest.raises(ZeroDivisionError, match=r"^by zero$"):
        run_toys(ToySetup(error=ZeroDivisionError("by zero")), files)


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """18 photos, one of them twice more under other names, a damaged one, a video."""
    folder = tmp_path_factory.mktemp("cluster") / "library"
    rng = np.random.default_rng(41)
    for n in range(18):
        cast = ((REX,), (REX, ANNA), (draw_individual(rng, "teapot"),))[n % 3]
        save_photo(compose(rng, cast, place="snow"), folder / str(n // 3) / f"{n % 3}.jpg")
    for n in (0, 5):
        shutil.copy(folder / "0" / "0.jpg", folder / str(n) / "same.jpg")
    (folder / "3" / "broken.jpg").write_bytes((folder / "3" / "0.jpg").read_bytes()[:3000])
    (folder / "4" / "film.mp4").write_bytes(b"film")
    return folder


def describe(result):
    return result.path.name, result.status, result.caption, result.reason


def test_a_killed_worker_leaves_every_sidecar_right_and_written_once(ray, session, library):
    from engine.cluster.caption import caption_on

    plain = [describe(r) for r in caption_photos(session, find_files([library]), CaptionRequest())]
    expected = sidecars(library)
    assert len(expected) == 40
    for name in expected:
        (library / name).unlink()
    session.cache.clear()
    writes = journal(session.folder)

    results = []
    for result in caption_photos(session, find_files([library]), CaptionRequest(), prepare=caption_on(session, TWO)):
        if not results:
            os.kill(worker_pids()[0], signal.SIGKILL)
        results.append(describe(result))
    assert results == plain
    assert sidecars(library) == expected
    assert set((journal(session.folder) - writes).values()) == {1}


def journal(folder: Path) -> Counter:
    """How often each file was written, by the journal."""
    with sqlite3.connect(folder / "journal.db") as db:
        return Counter(row[0] for row in db.execute("select path from writes"))


def worker_pids() -> list[int]:
    """The processes of our workers: descendants of this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cmdline").read_bytes().startswith(b"ray::Worker") and is_ours(int(process.name)):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def is_ours(pid: int) -> bool:
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if pid == os.getpid():
            return True
    return False


def test_scan_sends_bytes_up_to_the_limit(ray, session, library, myvlm):
    session.cache.clear()
    some = myvlm("scan", library, "--workers", 2, "--ship-bytes", "--limit", 5, "--jsonl")
    assert some.code == 0, some.err
    assert [line["status"] for line in some.lines] == ["ok"] * 3 + ["unchanged"] + ["ok"] * 2
    plain = myvlm("scan", library, "--jsonl")
    assert Counter(line["status"] for line in plain.lines) == {"unchanged": 7, "ok": 13, "failed": 1, "skipped": 1}


@pytest.mark.slow
def test_the_benchmark_compares_the_same_work(ray, tmp_path):
    from engine.benchmarks.speed import workers
    from engine.benchmarks.speed.drawn_library import draw_photos
    from engine.benchmarks.speed.measurement import SpeedSettings

    settings = SpeedSettings(tmp_path, photos=3, rounds=1)
    draw_photos(tmp_path, 3, settings.seed, workers.SIZE)
    with ExitStack() as stack:
        scans = [[(r.path, r.status, r.faces, r.regions) for r in way()] for way in workers.scan_ways(settings, stack)]
    with ExitStack() as stack:
        captions = [[describe(r) for r in way()] for way in workers.caption_ways(settings, stack)]
    assert len(scans[0]) == len(captions[0]) == 3
    assert scans[0] == scans[1] == scans[2]
    assert captions[0] == captions[1] == captions[2]
