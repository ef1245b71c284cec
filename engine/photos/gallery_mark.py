"""How the folder of a gallery is known, so that its thumbnails are not taken for photos."""

from pathlib import Path

from engine.core.files import read_bytes

GALLERY_MARK = ".myvlm-gallery"
"""The file that marks the folder of a gallery."""
MARK_TEXT = b"The gallery in this folder was written by myvlm, which may replace and delete its files.\n"
THUMBNAILS = "thumbnails"
"""The folder in it with nothing but thumbnails."""


def is_gallery(folder: Path) -> bool:
    """Return whether a folder holds a gallery that myvlm wrote, or began to write."""
    try:
        return read_bytes(folder / GALLERY_MARK, 2**16).startswith(MARK_TEXT)
    except (OSError, ValueError):  # a name with NUL
        return False


def holds_thumbnails(folder: Path) -> bool:
    """Return whether a folder is that of the thumbnails of a gallery."""
    return folder.name == THUMBNAILS and is_gallery(folder.parent)
