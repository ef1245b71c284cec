"""Write a gallery of photos: a folder that opens from disk, or one page with everything inside.

A gallery shows thumbnails, captions and names, finds photos by names, words and months, and enlarges them. It loads
nothing but its own files and, to enlarge a photo, the photo's file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.core.errors import EngineError
from engine.core.files import write_private
from engine.library.search import FoundPhoto
from engine.pages import gallery_folder as own
from engine.pages.gallery_data import GalleryData, script
from engine.pages.gallery_photos import GalleryPhoto, collect
from engine.pages.gallery_thumbnails import ThumbnailFolder, make_in_memory
from engine.pages.page_file import write_page_file
from engine.pages.render import render_page

PAGE_LIMIT = 500
"""Default for the most photos in one file; each takes about 25 kB."""
_SIDE_IN_PAGE = 384
"""Longest side in pixels of the thumbnails in one file."""
_SCRIPTS = ("gallery_photos.js", "gallery_grid.js", "gallery_viewer.js", "gallery.js")


@dataclass(frozen=True)
class WrittenGallery:
    """What was written.

    page: the file to open. photos: how many it shows. made, removed: how many thumbnails were made and deleted;
    size: bytes of all files. unreadable: photos that are shown without a picture, and why.
    """

    page: Path
    photos: int
    made: int
    removed: int
    size: int
    unreadable: tuple[tuple[Path, str], ...]


def write_gallery(
    found: Sequence[FoundPhoto],
    folder: Path,
    title: str,
    *,
    failed: Sequence[tuple[Path, str]] = (),
    more: int = 0,
    order: str = "",
    step: Callable[[], None] = lambda: None,
) -> WrittenGallery:
    """Write a gallery into a folder, readable by its owner only; the thumbnails of unchanged photos are kept.

    The same photos with the same sidecars give the same bytes. failed: photos that were not captioned, with the
    reasons, to be shown, too; more: how many photos were left out; order: what the order of `found` is, such as "Best
    match first", which the page then begins with; "" for the newest first; step: called for each photo.

    Raises:
        UsageError: the folder holds something else, see `gallery_folder.check_folder`.
        StoreLockedError: another run writes into the folder.
        EngineError: writing failed.
    """
    try:
        with own.prepared_folder(folder) as place:
            thumbnails = ThumbnailFolder(place)
            photos = collect(found, thumbnails.of, failed=failed, ranked=bool(order), step=step)
            data = GalleryData(photos)
            names = [own.write_script(folder, script(i, page)) for i, page in enumerate(data.pages())]
            head = data.head(title, folder.resolve(), more=more, order=order)
            head |= {"scripts": names, "thumbnails": f"{own.THUMBNAILS}/"}
            page = folder / own.INDEX
            write_private(page, _render(head, files_beside=True).encode())
            own.remove_old_scripts(folder, names)
            removed = thumbnails.remove_unused()
            size = sum(p.stat().st_size for p in (page, *(folder / n for n in names))) + thumbnails.size()
    except OSError as err:
        raise _cannot_be_written(folder, err) from err
    return WrittenGallery(page, len(photos), len(thumbnails.made), removed, size, _unreadable(photos))


def write_gallery_page(
    found: Sequence[FoundPhoto],
    target: Path,
    title: str,
    *,
    failed: Sequence[tuple[Path, str]] = (),
    more: int = 0,
    order: str = "",
    step: Callable[[], None] = lambda: None,
) -> WrittenGallery:
    """Write one page with the thumbnails inside; otherwise as `write_gallery`.

    Raises:
        UsageError: the page may not be written to this path, see `page_file.check_target`.
        EngineError: writing failed.
    """
    photos = collect(
        found, lambda path: make_in_memory(path, _SIDE_IN_PAGE), failed=failed, ranked=bool(order), step=step
    )
    data = GalleryData(photos)
    head = data.head(title, None, more=more, order=order) | {"pages": data.pages()}
    html = _render(head, files_beside=False)
    write_page_file(html, target, own.MARK)
    made = sum(photo.thumbnail is not None for photo in photos)
    return WrittenGallery(target, len(photos), made, 0, target.stat().st_size, _unreadable(photos))


def _render(head: dict[str, object], *, files_beside: bool) -> str:
    return render_page(
        "gallery.html.j2",
        mark=own.MARK,
        scripts=_SCRIPTS,
        styles=("gallery.css",),
        data=head,
        images="'self' file: data:",
        files_beside=files_beside,
        title=head["title"],
        photos=head["photos"],
    )


def _unreadable(photos: Sequence[GalleryPhoto]) -> tuple[tuple[Path, str], ...]:
    return tuple((photo.path, photo.reason) for photo in photos if photo.thumbnail is None)


def _cannot_be_written(folder: Path, err: OSError) -> EngineError:
    hint = "Check free space and permissions, or give another folder."
    return EngineError(f"{err.filename or folder} cannot be written: {err.strerror or err}", hint=hint)
