"""Tell by what the file system says of a file whether it may have changed, without reading it."""

import os
import stat
from pathlib import Path
from typing import NamedTuple

RACY_NS = 2_000_000_000
"""A file that was modified within this time before it was looked at may be modified again within the same tick of the
clock, which would not show. FAT has the coarsest clock, 2 s; git treats its index in the same way."""


class Stamp(NamedTuple):
    """How a file looks without being read: a change of its content shows in one of these.

    ctime_ns: when its inode changed, which programs that keep the modification time cannot set; on Windows when the
    file was made.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def stamp_of(path: str | Path) -> Stamp | None:
    """Return the stamp of a regular file; None where there is none. A link is not followed, and has none."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
