"""Wait until files that changed have settled: a copy, a camera import or a sync client may still be writing them."""

import stat
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SETTLE_SECONDS = 5.0
"""A file is settled when its size and its time of modification stayed the same for so long."""
PATIENCE_SECONDS = 60.0
"""Files that have settled wait for others that have not, so that they are captioned together, but only so long."""
Look = tuple[int, int, int]


@dataclass
class Settling:
    """Files that changed. Each is looked at when it changes, and again when it should have settled.

    clock: seconds, which only grow.
    """

    clock: Callable[[], float]
    _moving: OrderedDict[Path, tuple[Look, float]] = field(default_factory=OrderedDict)
    _settled: dict[Path, float] = field(default_factory=dict)

    def touch(self, path: Path) -> None:
        """Note that a file may have changed. One that does not exist, or is no regular file, is forgotten.

        A file that is waited for and looks as it did keeps its time: somebody may only have read it.
        """
        look = look_at(path)
        if path in self._moving and self._moving[path][0] == look:
            return
        self._settled.pop(path, None)
        self._moving.pop(path, None)
        if look is not None:
            self._moving[path] = look, self.clock() + SETTLE_SECONDS

    def due(self) -> float | None:
        """Return in how many seconds something may have settled; None if nothing changed."""
        moments = [end for _, end in list(self._moving.values())[:1]]
        if self._settled:
            moments.append(min(self._settled.values()) + PATIENCE_SECONDS)
        return max(0.0, min(moments) - self.clock()) if moments else None

    def take(self) -> frozenset[Path]:
        """Return the files that have settled, if no other is still changing, or if they have waited long enough."""
        self._look_again()
        if not self._settled:
            return frozenset()
        if self._moving and self.clock() - min(self._settled.values()) < PATIENCE_SECONDS:
            return frozenset()
        settled, self._settled = frozenset(self._settled), {}
        return settled

    def _look_again(self) -> None:
        now = self.clock()
        while self._moving:
            path, (before, end) = next(iter(self._moving.items()))
            if end > now:
                return
            del self._moving[path]
            look = look_at(path)
            if look == before:
                self._settled[path] = now
            elif look is not None:
                self._moving[path] = look, now + SETTLE_SECONDS


def look_at(path: Path) -> Look | None:
    """Return size, time of modification and inode of a regular file, or of what a link leads to; None for others."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return (status.st_size, status.st_mtime_ns, status.st_ino) if stat.S_ISREG(status.st_mode) else None
