"""Processes that share this machine's cores."""

import os
import subprocess
import sys

import pytest

from engine.core.cpu import available_cores, thread_limits


@pytest.fixture
def cores(monkeypatch):
    """A machine with eight cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("MYVLM_WORKERS", raising=False)
    for name in ("OMP_WAIT_POLICY", *(n for n in os.environ if "_NUM_THREADS" in n)):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("workers", "threads"), [(1, "8"), (2, "4"), (3, "2"), (8, "1"), (100, "1")])
def test_workers_share_the_cores(cores, monkeypatch, workers, threads):
    limits = thread_limits(workers)
    assert limits["OMP_NUM_THREADS"] == limits["OPENBLAS_NUM_THREADS"] == threads
    monkeypatch.setenv("MYVLM_WORKERS", limits["MYVLM_WORKERS"])
    assert available_cores() == int(threads)


def test_a_smaller_number_that_the_user_set_is_kept(cores, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_limits(2)["OMP_NUM_THREADS"] == "3"
    assert thread_limits(8)["OMP_NUM_THREADS"] == "1"


def test_a_worker_limits_what_it_loaded_already():
    code = "import cv2, torch\nfrom engine.core.cpu import limit_threads\n" + (
        "print(limit_threads(1000), torch.get_num_threads(), cv2.getNumThreads())"
    )
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["1", "1", "1"]
