"""Start Ray on this machine or join a cluster, and leave nothing behind.

A Ray of our own listens on the loopback address only, takes a token that no other program has, sends no usage
statistics, and keeps its files in a private folder that is deleted at the end.
"""

import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from engine.cluster.dispatch import MOST_BYTES
from engine.cluster.options import ClusterOptions
from engine.cluster.worker import Share
from engine.core.cpu import allowed_cores
from engine.core.errors import EnvironmentFault, first_line
from engine.core.files import finish_first, is_running

if TYPE_CHECKING:
    from types import ModuleType

DEPTH = 2
"""Shards that a worker holds: the one in work, and the next, so that it never waits for the driver."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # docs.ray.io, "Usage Stats Collection"
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else Ray warns of its future behaviour
    "RAY_DISABLE_IMPORT_WARNING": "1",
}
_LOCAL = {
    # A token of this process: Ray reads it once.
    "RAY_AUTH_MODE": "token",  # docs.ray.io, "Ray token authentication"
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    # Without clusters, Ray listens on the loopback address alone; it names the systems where that is its default.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_worker_niceness": "0",
}


@dataclass(frozen=True)
class Plan:
    """The workers of a run.

    gpus: of each, which may be a fraction. on_each: how many are on a machine. cores: of this machine, which are given
    out to its workers; () where they are not. threads: cores for each of them.
    """

    workers: int
    gpus: float
    on_each: int
    cores: tuple[int, ...] = ()
    threads: int = 1

    def share(self, slot: int) -> Share:
        """Return what one of the workers may use."""
        enough = self.workers * self.threads <= len(self.cores)
        own = self.cores[slot * self.threads : (slot + 1) * self.threads] if enough else ()
        return Share(self.on_each, own, os.environ.get("OMP_NUM_THREADS"))


@contextmanager
def ray_running(options: ClusterOptions, *, uses_gpu: bool) -> "Iterator[tuple[ModuleType, Plan]]":
    """Start or join Ray, and yield the module with the plan of workers. A Ray that already runs here is used as it is.

    Raises:
        EnvironmentFault: Ray cannot be started, or there is no cluster at the address.
    """
    with _environment(_QUIET | _LOCAL if options.address is None else _QUIET):
        import ray

        if ray.is_initialized():
            yield ray, _make_plan(ray, options, uses_gpu=uses_gpu)
            return
        folder = _make_folder()
        try:
            _start(ray, options, folder)
            yield ray, _make_plan(ray, options, uses_gpu=uses_gpu)
        finally:
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def _make_folder() -> str:
    """Make a private folder for Ray's files, with a short path because of its sockets; delete those of killed runs."""
    base = Path("/tmp") if os.name == "posix" else Path(tempfile.gettempdir())
    for left in base.glob("myvlm-ray-*"):
        number = left.name.split("-")[2]
        if number.isdecimal() and not is_running(int(number)):
            shutil.rmtree(left, ignore_errors=True)  # does nothing to those of other users
    return tempfile.mkdtemp(prefix=f"myvlm-ray-{os.getpid()}-", dir=base)


def _start(ray: "ModuleType", options: ClusterOptions, folder: str) -> None:
    workers = options.workers or 1
    own = {
        "address": "local",
        "num_cpus": workers,
        "include_dashboard": False,
        "object_store_memory": MOST_BYTES * (2 * DEPTH * workers + 4),
        "_temp_dir": folder,
    }
    chosen = own if options.address is None else {"address": options.address}
    with finish_first():  # Ray sets a handler of its own for SIGTERM
        try:
            _check_answers(options.address or "")
            ray.init(**chosen, log_to_driver=False, logging_level=logging.ERROR)
            # Else Ray prints to stdout that a worker ended; it has no option for that (checked with 2.60).
            ray._private.worker._worker_logs_enabled = False
        except (ray.exceptions.RayError, RuntimeError, OSError, ValueError) as err:
            why = first_line(err)
            if options.address is None:
                raise EnvironmentFault(f"Ray cannot be started: {why}", hint="Leave out --workers.") from err
            raise EnvironmentFault(
                f"no Ray cluster can be joined at {options.address}: {why}",
                hint="Run on the first machine: ray start --head   On the others: ray start --address=FIRST:6379",
            ) from err


def _check_answers(address: str) -> None:
    """Check that something listens at HOST:PORT, if the address is one: Ray itself would try for minutes.

    Raises:
        OSError: nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


@contextmanager
def as_faults(ray: "ModuleType") -> Iterator[None]:
    """Let errors of Ray be those of a run.

    Raises:
        EnvironmentFault: Ray failed.
    """
    try:
        yield
    except ray.exceptions.RayError as err:
        raise EnvironmentFault(
            f"Ray failed: {first_line(err)}", hint="Try again, or without --workers and --cluster."
        ) from err


def _make_plan(ray: "ModuleType", options: ClusterOptions, *, uses_gpu: bool) -> Plan:
    """Plan one worker on each GPU, or else on each machine, unless a number was asked for."""
    nodes = [n["Resources"] for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU")]
    gpus = int(sum(n.get("GPU", 0) for n in nodes)) if uses_gpu else 0
    workers = options.workers or gpus or max(1, len(nodes))
    gpus_each = 1 / ceil(workers / gpus) if gpus else 0.0
    if options.address is not None or gpus:
        return Plan(workers, gpus_each, ceil(workers / max(1, len(nodes))))
    cores = allowed_cores()
    return Plan(workers, gpus_each, workers, cores, options.threads or max(1, len(cores) // workers))


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while: Ray's processes inherit them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ |= values
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
