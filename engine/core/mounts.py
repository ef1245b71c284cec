"""Tell what kind of file system a folder is on."""

import os
import re
import sys
from pathlib import Path

from engine.core.files import read_text

_NETWORK = frozenset(
    "nfs nfs4 cifs smb3 smbfs 9p afs ceph glusterfs davfs vboxsf prl_fs drvfs fuse.sshfs fuse.rclone fuse.glusterfs"
    " fuse.gvfsd-fuse fuse.s3fs fuse.davfs2 fuse.vmhgfs-fuse".split()
)
"""File systems on which other machines change files without an event."""
_MOUNTS = Path("/proc/self/mounts")


def is_on_network(folder: Path, mounts: Path = _MOUNTS) -> bool:
    """Return whether a folder is on a network drive, as far as the system tells (Linux)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        lines = read_text(mounts, 2**22).splitlines()
    except (OSError, ValueError):
        return False
    place, kind = "", ""
    real = os.path.realpath(folder)
    for line in lines:
        _, point, its_kind, *_ = line.split(" ")
        point = re.sub(r"\\(0[14][0-2]|134)", lambda match: chr(int(match[1], 8)), point)  # space, tab, line end, \
        if (real == point or real.startswith(point.rstrip("/") + "/")) and len(point) >= len(place):
            place, kind = point, its_kind
    return kind in _NETWORK
