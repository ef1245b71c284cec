"""Names that a human removed from a photo's XMP sidecar."""

from pathlib import Path

from engine.sidecars.read import naming_file, read_sidecar
from engine.sidecars.xmp import read_removed_names


def load_removed_names(xmp: Path) -> frozenset[str]:
    """Read the keys of the names that a human removed from a photo's XMP sidecar; empty where there is no sidecar.

    Raises:
        SidecarError: the sidecar cannot be read, so that nothing can be written into it either.
    """
    data = read_sidecar(xmp)
    with naming_file(xmp):
        return frozenset() if data is None else read_removed_names(data)
