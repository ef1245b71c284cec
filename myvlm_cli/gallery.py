"""`myvlm search --html`: write what was found as a web page, or as a gallery in a folder."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.errors import UsageError
from myvlm_cli.output import out, path_text
from myvlm_cli.words import count

if TYPE_CHECKING:
    from engine.library.search import FoundPhoto, SearchCounts, SearchRequest
    from engine.pages.gallery import WrittenGallery

PAGE_SUFFIXES = (".html", ".htm")


@dataclass(frozen=True)
class HtmlTarget:
    """Where the page goes. path: a file, or the folder of a gallery."""

    path: Path
    is_folder: bool

    @property
    def exists(self) -> bool:
        """Whether there is an earlier page or gallery."""
        from engine.pages import gallery_folder
        from engine.pages.page_file import is_page

        return gallery_folder.has_page(self.path) if self.is_folder else is_page(self.path, gallery_folder.MARK)


def read_target(text: str) -> HtmlTarget:
    """Read the value of --html: a folder if it exists as one, ends with a slash or has no .html ending.

    Raises:
        UsageError: it holds something that myvlm did not write, or cannot be created.
    """
    from engine.pages import gallery_folder
    from engine.pages.page_file import check_target

    try:
        path = Path(text).expanduser()
    except RuntimeError as err:
        raise UsageError(f"--html: there is no home folder for {text}", hint="Give a folder that exists.") from err
    named_folder = text.endswith(("/", os.sep)) or path.suffix.lower() not in PAGE_SUFFIXES
    if not named_folder and path.name == gallery_folder.INDEX and gallery_folder.is_gallery(path.parent):
        return HtmlTarget(path.parent, is_folder=True)
    target = HtmlTarget(path, is_folder=named_folder or path.is_dir())
    if target.is_folder:
        gallery_folder.check_folder(path)
    else:
        check_target(path, gallery_folder.MARK)
    return target


def write_html(
    found: "Sequence[FoundPhoto]",
    target: HtmlTarget,
    title: str,
    request: "SearchRequest",
    counts: "SearchCounts",
    *,
    like: bool,
) -> "tuple[Sequence[FoundPhoto], WrittenGallery | None]":
    """Write the page or the gallery; return the photos on it, and what was written: nothing without photos, but an
    earlier page or gallery is emptied then.

    found: without the limit of the request, if that can be. Of whole folders photos that failed are shown, too. counts:
    `more` is set. like: whether they are ranked by a description.
    """
    from engine.core.paths import home
    from engine.library.search import SearchRequest, failed_photos
    from engine.pages.gallery import PAGE_LIMIT, write_gallery, write_gallery_page

    limit, is_whole = request.limit, request == SearchRequest(folders=request.folders)
    failed = failed_photos(home(), request.folders) if is_whole and target.is_folder else []
    if not (found or failed or target.exists):
        return found, None
    shown = found[: limit or (None if target.is_folder else PAGE_LIMIT)]
    counts.more = counts.more or len(shown) < len(found)
    write = write_gallery if target.is_folder else write_gallery_page
    with out.progress(
        "writing the gallery" if target.is_folder else "writing the page", len(shown) + len(failed)
    ) as bar:
        order = _order(request, like=like)
        more = len(found) - len(shown)
        written = write(shown, target.path, title, failed=failed, more=more, order=order, step=bar.advance)
    if not written.photos:
        out.warn(f"no photo was found: {path_text(target.path)} is empty now")
    for path, reason in written.unreadable:
        out.warn(f"{path_text(path)}: {reason}")
    if not limit and len(shown) < len(found):
        out.warn(f"the page has {len(shown):,} of {len(found):,} photos; for all: --limit, or a folder for --html")
    return shown, written


def _order(request: "SearchRequest", *, like: bool) -> str:
    """Return in which order photos are found, "" if it is that of their dates."""
    if like or request.asks_for_words:
        return "Best match first"
    return "Nearest first" if request.near else ""


def tell_written(written: "WrittenGallery") -> None:
    """Print what was written, and what to do next."""
    made = f"{count(written.made, 'thumbnail')} made"
    removed = f", {written.removed:,} removed" if written.removed else ""
    unreadable = f"; {len(written.unreadable):,} without a picture" if written.unreadable else ""
    out.say(f"{count(written.photos, 'photo')} written: {made}{removed}; {_size(written.size)}{unreadable}")
    out.say("Open the page in a browser; it works offline. To update it, run this command again.")


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size < 1e8 else f"{size / 1e6:,.0f} MB"


def title_of(asked: Sequence[str], folders: Sequence[Path]) -> str:
    """Return the title of a page: what was searched for, else the folder's name."""
    if asked:
        return " ".join(asked)
    return (Path(os.path.realpath(folders[0])).name or "Photos") if len(folders) == 1 else "Photos"


def refuse_with_html(*, captions: bool, null: bool, jsonl: bool) -> None:
    """Refuse ways of listing photos beside --html, which prints the path of the page.

    Raises:
        UsageError: one of them was given.
    """
    given = [name for name, is_given in (("--captions", captions), ("-0", null), ("--jsonl", jsonl)) if is_given]
    if given:
        raise UsageError(f"--html prints the path of the page; {given[0]} lists photos", hint="Leave one of them out.")
