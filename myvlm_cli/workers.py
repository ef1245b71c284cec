"""`--workers`, `--cluster` and `--ship-bytes`: processes that work on photos, here or on the machines of a cluster."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from myvlm_cli.options import ADVANCED
from myvlm_cli.output import out

if TYPE_CHECKING:
    from engine.cluster.options import ClusterOptions


@dataclass(frozen=True)
class WorkerChoice:
    """How many processes work on photos, and on which machines."""

    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            help="Share the photos among this many processes, each on a GPU of its own where there is one. Requires:"
            " pip install 'myvlm[cluster]'.",
            rich_help_panel=ADVANCED,
            show_default=False,
        ),
    ] = None
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="ADDRESS",
            help="Work on the machines of this Ray cluster: auto, or HOST:6379. Photos and concepts are sent to them."
            " Default number of workers: one on each GPU, or else on each machine.",
            rich_help_panel=ADVANCED,
            show_default=False,
        ),
    ] = None
    ship_bytes: Annotated[
        bool,
        typer.Option(
            "--ship-bytes",
            help="Read all photos on this machine for the workers. Default: only those that a worker cannot see at the"
            " same path.",
            rich_help_panel=ADVANCED,
        ),
    ] = False

    def open(self, *, explains: bool = False) -> "ClusterOptions | None":
        """Return the engine's options, and warn where photos leave this machine; None for no workers.

        explains: whether the run draws pictures, which workers do not.

        Raises:
            UsageError: there are no workers to ship bytes to, or the run draws pictures.
        """
        if self.cluster is None and self.workers in (None, 1):
            if self.ship_bytes:
                raise UsageError("--ship-bytes needs workers", hint="Example: --cluster auto --ship-bytes")
            return None
        from engine.cluster.options import ClusterOptions

        if explains:
            raise UsageError("--explain draws pictures in one process", hint="Leave out --workers and --cluster.")
        if self.cluster is not None:
            out.warn(f"--cluster: photos and concepts are sent to the machines of the Ray cluster at {self.cluster}")
        return ClusterOptions(self.workers, self.cluster, self.ship_bytes)
