"""How many workers a run has, and where."""

from dataclasses import dataclass
from importlib.util import find_spec
from math import ceil

from engine.core.errors import EnvironmentFault, UsageError
from engine.session import Session
from engine.vlms.memory import memory_needed


@dataclass(frozen=True)
class ClusterOptions:
    """workers: processes; None for one on each GPU, or else each machine, of a cluster. address: of a Ray cluster, None
    for this machine alone. ship_bytes: the driver reads all photos for the workers; else only those that a worker
    cannot see. threads: cores of each worker on this machine without GPUs; None shares all of them.
    """

    workers: int | None = None
    address: str | None = None
    ship_bytes: bool = False
    threads: int | None = None

    def check(self, session: Session, *, describes: bool = False) -> None:
        """Check before other work that workers can run with these models. describes: whether they load the VLM.

        Raises:
            EnvironmentFault: Ray is not installed, or the memory does not hold a VLM for each worker.
            UsageError: a device or a VLM was chosen that workers cannot share, or the address is none.
        """
        if self.address is not None and self.address.strip().lower() in ("", "local"):
            raise UsageError(
                f"--cluster {self.address!r} is no Ray cluster",
                hint="Use --cluster auto or HOST:6379, or --workers N on this machine alone.",
            )
        if find_spec("ray") is None:
            raise EnvironmentFault(
                "--workers and --cluster need Ray, which is not installed", hint="Run: pip install 'myvlm[cluster]'"
            )
        device = str(session.models.setting("device").value)
        if ":" in device:
            raise UsageError(f"--device {device} is one GPU, and every worker has its own", hint="Use --device cuda.")
        if not describes:
            return
        if self.address is not None and session.vlm_config.server is not None:
            raise UsageError(
                "--cluster needs a VLM whose weights are on its machines, and this one runs in a server",
                hint="Use --workers N on this machine, or a VLM on disk: --vlm NAME.",
            )
        if self.address is None:
            _check_memory(session, self.workers or 1)


def _check_memory(session: Session, workers: int) -> None:
    """Check that the memory of this machine, or of each of its GPUs, holds the VLM once for each of its workers."""
    if not session.has_vlm:
        return
    room, gpus = session.models.room, _count_gpus() if session.uses_cuda else 0
    sharing = ceil(workers / max(1, gpus))
    needed = memory_needed(session.vlm_config, session.vlm_precision, 1)
    if room.gb and sharing > 1 and needed * sharing > room.gb:
        most = max(1, int(room.gb / needed)) * max(1, gpus)
        owner = "one GPU" if gpus else "this machine"
        raise EnvironmentFault(
            f"{sharing} workers need {needed * sharing:.0f} GB of {room.words} for {session.vlm_config.name}, and"
            f" {owner} has {room.gb:.0f} GB",
            hint=f"Use --workers {most}, or a smaller VLM: --vlm NAME." if most > 1 else "Leave out --workers.",
        )


def _count_gpus() -> int:
    import torch

    return torch.cuda.device_count()
