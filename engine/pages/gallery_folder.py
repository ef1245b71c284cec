"""Write the files of a gallery into its folder: only there, and over nothing but an earlier gallery.

The data are in files whose names hold a digest of their content. So the page and its data always belong together: a
run that is stopped leaves the earlier page with the earlier data.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from engine.core.errors import StoreLockedError, UsageError
from engine.core.files import make_private_folder, read_bytes, remove_leftovers, sha256_of, write_private
from engine.pages.page_file import is_page
from engine.photos.gallery_mark import GALLERY_MARK, MARK_TEXT, THUMBNAILS, is_gallery

MARK = "myvlm search"
"""What made a page, as in `render_page`."""
INDEX = "index.html"
_LOCK = ".myvlm-gallery.lock"
_SCRIPT_NAME, _SCRIPT_START = "photos-*.js", b"myvlmPage("


def check_folder(folder: Path) -> None:
    """Check that a gallery may be written into a folder.

    Raises:
        UsageError: it holds something else, or cannot be created.
    """
    if not os.path.lexists(folder):
        if not (os.path.lexists(folder.parent) and folder.parent.is_dir()):  # lexists takes names that are too long
            raise UsageError(f"--html: there is no folder {folder.parent}", hint="Create it, or give another folder.")
        return
    if not folder.is_dir():
        raise UsageError(f"--html would replace {folder}, which is no folder", hint="Give another folder, or FILE.html")
    if not is_gallery(folder):
        if any(folder.iterdir()):
            hint = f"Give an empty or a new folder: --html {folder / 'gallery'}"
            raise UsageError(f"--html: {folder} holds other files than a gallery", hint=hint)
        return
    for path, is_ours in ((folder / INDEX, is_page(folder / INDEX, MARK)), (folder / THUMBNAILS, _is_own(folder))):
        if os.path.lexists(path) and not is_ours:
            raise UsageError(f"--html would replace {path}, which myvlm did not write", hint="Give another folder.")


def _is_own(folder: Path) -> bool:
    """Return whether the thumbnails lie in the gallery: a link could lead anywhere."""
    return (folder / THUMBNAILS).is_dir() and not (folder / THUMBNAILS).is_symlink()


def has_page(folder: Path) -> bool:
    """Return whether a folder holds a whole gallery."""
    return is_gallery(folder) and is_page(folder / INDEX, MARK)


@contextmanager
def prepared_folder(folder: Path) -> Iterator[Path]:
    """Create the folder of a gallery, mark it, lock it, and yield the folder of its thumbnails.

    Raises:
        UsageError: as `check_folder`.
        StoreLockedError: another run writes into it.
        OSError: a folder cannot be created.
    """
    check_folder(folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    if not is_gallery(folder):
        write_private(folder / GALLERY_MARK, MARK_TEXT)
    with _locked(folder):
        remove_leftovers(folder)
        thumbnails = make_private_folder(folder / THUMBNAILS)
        remove_leftovers(thumbnails)
        yield thumbnails


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a gallery; the system frees it when the process ends, however it ends."""
    lock = FileLock(folder / _LOCK, timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout as err:
        hint = "Wait until it has finished, or give another folder."
        raise StoreLockedError(f"another run is writing the gallery {folder}", hint=hint) from err
    try:
        yield
    finally:
        lock.release()


def write_script(folder: Path, text: str) -> str:
    """Write a file of data unless it is there, and return its name."""
    data = text.encode("ascii")
    name = _SCRIPT_NAME.replace("*", sha256_of(data)[:16])
    if not _starts_with(folder / name, data):
        write_private(folder / name, data)
    return name


def remove_old_scripts(folder: Path, kept: Iterable[str]) -> None:
    """Delete the files of data of earlier galleries; other files of such names stay."""
    names = set(kept)
    for path in sorted(folder.glob(_SCRIPT_NAME)):
        if path.name not in names and not path.is_symlink() and _starts_with(path, _SCRIPT_START):
            path.unlink()


def _starts_with(path: Path, text: bytes) -> bool:
    try:
        return read_bytes(path, 2**28)[: len(text)] == text
    except OSError:
        return False
