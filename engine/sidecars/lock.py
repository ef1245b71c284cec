"""The lock that lets one run write at a time, with a file that says which run holds it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from engine.core.errors import EnvironmentFault, StoreLockedError
from engine.core.files import make_private_folder, read_text, write_private


@contextmanager
def run_lock(folder: Path, command: str) -> Iterator[None]:
    """Hold the lock of all runs that write sidecars. The system frees it when the process ends, however it ends.

    folder: the data folder. command: the name of this run in messages of others.

    Raises:
        StoreLockedError: another process holds it; the message says which.
        EnvironmentFault: the data folder cannot be written.
    """
    owner = folder / "run.owner"
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    try:
        make_private_folder(folder)
        lock = FileLock(folder / "run.lock", timeout=0, mode=0o600)
        lock.acquire()
        write_private(owner, f"myvlm {command}, process {os.getpid()}, since {now}\n".encode())
    except Timeout as err:
        raise StoreLockedError(
            f"another run is writing sidecars: {_describe(owner)}", hint="Wait until it has finished, or stop it."
        ) from err
    except OSError as err:
        raise EnvironmentFault(f"{folder}: {err.strerror or err}", hint="Set MYVLM_HOME to a folder you own.") from err
    try:
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _describe(owner: Path) -> str:
    """Describe the run that holds the lock."""
    try:
        return read_text(owner, 2**16).strip() or "it does not say which"
    except OSError:
        return "it has just begun"
