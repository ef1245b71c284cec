"""What is refused before Ray starts."""

import sys
from dataclasses import replace

import pytest

from engine.cluster.options import ClusterOptions
from engine.core.errors import EnvironmentFault, UsageError
from engine.session import Session, SessionOptions
from engine.vlms.memory import Room
from myvlm_cli.workers import WorkerChoice


@pytest.mark.parametrize("command", ["caption", "scan"])
def test_without_ray_the_command_that_installs_it_is_named(command, drawn, home, myvlm, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    result = myvlm(command, drawn.path, "--workers", 2)
    assert result.code == 3
    assert "Ray, which is not installed" in result.err
    assert "pip install 'myvlm[cluster]'" in result.err
    assert not list(drawn.path.parent.glob("*.xmp"))


def test_one_worker_is_this_process():
    assert WorkerChoice(workers=1).open() is None
    assert WorkerChoice(workers=1, cluster="auto").open() == ClusterOptions(1, "auto")


def test_workers_explain_nothing(drawn, home, myvlm, tmp_path):
    result = myvlm("caption", drawn.path, "--workers", 2, "--explain", tmp_path / "pictures")
    assert result.code == 2
    assert "--explain" in result.err


def test_bytes_are_shipped_to_workers_only(drawn, home, myvlm):
    assert myvlm("scan", drawn.path, "--ship-bytes").code == 2


@pytest.fixture
def with_ray(monkeypatch):
    """Ray may be missing here: nothing of it is used."""
    monkeypatch.setattr("engine.cluster.options.find_spec", lambda name: name)


@pytest.mark.parametrize("address", ["local", " LOCAL", ""])
def test_an_address_with_which_ray_would_start_an_open_one_is_refused(address, with_ray, home):
    with pytest.raises(UsageError, match="no Ray cluster"):
        ClusterOptions(address=address).check(Session(SessionOptions("none"), home))


def test_workers_do_not_share_one_gpu_by_its_number(with_ray, home):
    with pytest.raises(UsageError, match="cuda:1"):
        ClusterOptions(2).check(Session(SessionOptions(device="cuda:1"), home))


def test_a_vlm_in_a_server_is_not_for_a_cluster(with_ray, home):
    session = Session(SessionOptions("openai:http://127.0.0.1:9/v1#some"), home)
    ClusterOptions(2).check(session, describes=True)
    with pytest.raises(UsageError, match="server"):
        ClusterOptions(address="auto").check(session, describes=True)


def test_the_memory_must_hold_a_vlm_for_each_worker(with_ray, home):
    session = Session(SessionOptions("storybook", device="cpu"), home)
    session.__dict__["vlm_config"] = replace(session.vlm_config, memory_gb={"float32": 5.0})
    session.models.__dict__["room"] = Room("cpu", 16.0)
    ClusterOptions(3).check(session, describes=True)
    ClusterOptions(4).check(session)  # a scan loads no VLM
    with pytest.raises(EnvironmentFault, match="20 GB") as caught:
        ClusterOptions(4).check(session, describes=True)
    assert "--workers 3" in caught.value.hint


def test_the_memory_of_a_gpu_must_hold_a_vlm_for_each_of_its_workers(with_ray, home, monkeypatch):
    session = Session(SessionOptions("storybook"), home)
    session.__dict__["vlm_config"] = replace(session.vlm_config, memory_gb={"float32": 10.0})
    session.__dict__["vlm_precision"] = "float32"
    session.models.__dict__["room"] = Room("cuda", 16.0)
    monkeypatch.setattr(type(session), "uses_cuda", True)
    monkeypatch.setattr("engine.cluster.options._count_gpus", lambda: 2)
    ClusterOptions(2).check(session, describes=True)
    with pytest.raises(EnvironmentFault, match=r"2 workers need 20 GB of GPU memory .* one GPU has 16 GB") as caught:
        ClusterOptions(3).check(session, describes=True)
    assert "--workers 2" in caught.value.hint
