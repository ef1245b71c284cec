"""How many workers a run has, and where."""

from dataclasses import dataclass
from importlib.util import find_spec

from engine.core.errors import EnvironmentFault, UsageError
from engine.session import Session
from engine.vlms.memory import memory_needed


@dataclass(frozen=True)
class ClusterOptions:
    """workers: processes; None for one on each GPU, or else each machine, of a cluster. address: of a Ray cluster, None
    for this machine alone. ship_bytes: the driver reads all photos for the workers; else only those that a worker
    cannot see. threads: of each worker; None shares the cores of a machine among its workers.
    """

    workers: int | None = None
    address: str | None = None
    ship_bytes: bool = False
    threads: int | None = None

    def check(self, session: Session, *, describes: bool = False) -> None:
        """Check before other work that workers can run with these models. describes: whether they load the VLM.

        Raises:
            EnvironmentFault: Ray is not installed, or the memory does not hold a VLM for each worker.
            UsageError: a device or a VLM was chosen that workers cannot share.
        """
        if find_spec("ray") is None:
            raise EnvironmentFault(
                "several workers need Ray, which is not installed", hint="Run: pip install 'myvlm[cluster]'"
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
        if self.address is None and not session.uses_cuda:
            _check_memory(session, self.workers or 1)


def _check_memory(session: Session, workers: int) -> None:
    """Check that a CPU's memory holds the VLM once for each worker."""
    if not session.has_vlm:
        return
    gb = session.models.room.gb
    needed = memory_needed(session.vlm_config, session.vlm_precision, 1)
    if gb and needed * workers > gb:
        most = max(1, int(gb / needed))
        name = session.vlm_config.name
        raise EnvironmentFault(
            f"{workers} workers need {needed * workers:.0f} GB of memory for {name}, and this machine has {gb:.0f} GB",
            hint=f"Use --workers {most}, or a smaller VLM: --vlm NAME." if most > 1 else "Leave out --workers.",
        )
