"""Find photos and videos under files and folders, each once, folder by folder."""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

from engine.photos.gallery_mark import holds_thumbnails
from engine.photos.selection import Selection, Tally

__all__ = [
    "LEADING_SUFFIXES",
    "MEDIA_SUFFIXES",
    "MOVING_SUFFIXES",
    "RAW_SUFFIXES",
    "SUFFIXES",
    "UNREAD_SUFFIXES",
    "VIDEO_SUFFIXES",
    "FoundFile",
    "Selection",
    "Tally",
    "find_below",
    "find_files",
    "is_photo_name",
    "iter_photos",
]

LEADING_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".heic", ".heif", ".hif"})
"""Endings of the pictures that cameras save beside a raw file or a short video."""
SUFFIXES = LEADING_SUFFIXES | frozenset(
    ".mpo .png .apng .webp .tif .tiff .avif .gif .bmp .dib .jp2 .j2k .j2c .jpc .jpf .jpx".split()
)
"""Endings of files in folders that are taken for photos (compared without case), beside those of raw files."""
RAW_SUFFIXES = frozenset(
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .rw2 .rwl .sr2"
    " .srf .srw .x3f".split()
)
"""Endings that only raw files of cameras have."""
VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .asf .avi .divx .flv .insv .m2t .m2ts .m4v .mkv .mov .mp .mp4 .mpeg .mpg .mts .mxf .ogv .vob .webm"
    " .wmv".split()
)
UNREAD_SUFFIXES = frozenset(
    {
        *(".jxl", ".jxr", ".wdp", ".hdp", ".bpg", ".flif", ".qoi"),  # successors of JPEG and PNG
        *(".psd", ".psb", ".xcf", ".kra", ".ora", ".afphoto"),  # projects of image editors
        *(".exr", ".hdr", ".dpx", ".tga", ".pcx", ".pct", ".pict", ".dds", ".fits"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".pam"),
        # sequences, spheres, stereo, Photo CD
        *(".heics", ".heifs", ".avifs", ".livp", ".insp", ".jps", ".pns", ".pcd"),
        *(".bay", ".cap", ".dcs", ".drf", ".eip", ".k25", ".kc2", ".ptx", ".pxn", ".r3d", ".rwz", ".braw"),  # raw
    }
)
"""Endings of pictures in folders that are not read but counted, because they may be photos. Drawings, icons and
documents (SVG, ICO, EPS, PDF) are not counted: they need no captions.
"""
MEDIA_SUFFIXES = SUFFIXES | RAW_SUFFIXES | VIDEO_SUFFIXES
_COUNTED_SUFFIXES = MEDIA_SUFFIXES | UNREAD_SUFFIXES
MOVING_SUFFIXES = frozenset({".mov", ".mp4", ".mp"})
"""Endings of the moving half of a Live Photo (Apple) or motion photo (older Pixels)."""
SKIPPED_FOLDERS = frozenset(
    {
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),  # Synology, QNAP
        *(".dtrash", ".thumbnails", ".stversions"),  # digiKam, desktops, Syncthing
        *("lost+found", "$recycle.bin", "system volume information", "__macosx"),  # file systems, archives
        *("thumbs", "encoded-video"),  # Immich
    }
)
"""Folders of other programs that hold no photos of the user. Such a folder is searched only if it is given itself."""
SKIPPED_FOLDER_SUFFIXES = (
    *(".photoslibrary", ".photolibrary", ".migratedphotolibrary", ".aplibrary"),  # Apple
    *(".lrdata", ".lrlibrary", ".lrcat-data"),  # Lightroom
)


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to caption, or a video to count and skip.

    companions: raw files of the same shot, which get the same caption. live: it is the moving half of a still that was
    found as well.
    """

    path: Path
    kind: Literal["photo", "video"]
    companions: tuple[Path, ...] = ()
    live: bool = False


def find_files(
    paths: Iterable[Path], selection: Selection | None = None, tally: Tally | None = None
) -> Iterator[FoundFile]:
    """Yield the photos and videos under files and folders, sorted within each folder, every real path once.

    A link to a file is that file; hard links are separate files (each has its own sidecars). A file given itself is
    taken whatever its name, also if it does not exist: reading it reports that, and the others continue.
    Folders are searched for known endings; one with the thumbnails of a gallery only if it is given itself. Raw files
    are companions of the JPEG or HEIC of the same name in the same folder, or among files given one after another. A
    folder that cannot be listed is yielded as a photo that cannot be read. Only the names of one folder are held at a
    time, and a digest for each file.

    tally: what was passed over is added to it.
    """
    wanted = selection or Selection()
    visited, tally = _Visited(), tally or Tally()
    for (is_folder, _), group in groupby(paths, key=lambda p: (_is_folder(p), p.parent)):
        if is_folder:
            for folder in group:
                yield from _walk(folder, wanted, visited, tally)
        else:
            # A missing file matches every pattern, so that reading it reports that it is missing.
            new = [p for p in group if (wanted.takes_file(p.name) or not _exists(p)) and visited.is_new_file(p)]
            yield from _dated(_pair(new), wanted, tally)


def iter_photos(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the photos of `find_files`, without raw files beside their JPEG."""
    return (found.path for found in find_files(paths) if found.kind == "photo")


class _Visited:
    """The real folders visited so far, by device and inode, and the real files, by digests of their paths."""

    def __init__(self) -> None:
        self._folders: set[tuple[int, int]] = set()
        self._files: set[bytes] = set()
        self._last: tuple[str | None, str] = (None, "")  # a folder and its real path

    def is_new_folder(self, folder: Path) -> bool:
        """Return whether a folder was not visited before, and remember it; one that cannot be followed is new."""
        status = _status(folder)
        number = (status.st_dev, status.st_ino) if status else None
        is_new = number not in self._folders
        if number is not None:
            self._folders.add(number)
        return is_new

    def is_new_file(self, path: Path, entry: os.DirEntry[str] | None = None) -> bool:
        """Return whether a file was not visited before, by this path or a link, and remember it.

        entry: of the file, if its folder was listed.
        """
        try:
            real = self._real(path, is_link=path.is_symlink() if entry is None else entry.is_symlink())
        except (OSError, ValueError):  # a name with NUL
            real = os.fspath(path)
        digest = hashlib.blake2b(os.fsencode(real), digest_size=16).digest()
        is_new = digest not in self._files
        self._files.add(digest)
        return is_new

    def _real(self, path: Path, *, is_link: bool) -> str:
        folder, name = os.path.split(path)
        if is_link or name in ("", ".."):
            return os.path.realpath(path)
        if folder != self._last[0]:
            self._last = (folder, os.path.realpath(folder))
        return f"{self._last[1]}/{name}"


def find_below(root: Path, folder: Path, wanted: Selection, *, deep: bool) -> Iterator[FoundFile]:
    """Yield what `find_files` finds in a folder that is `root` or below it, whatever the dates; nothing if it skips it.

    deep: also in its folders.
    """
    below, place = "", root
    for name in folder.relative_to(root).parts:
        below += name
        place /= name
        if _skipped(place) or not wanted.takes_folder(below):
            return
        below += "/"
    yield from _walk(folder, replace(wanted, since=None, until=None), _Visited(), Tally(), below=below, deep=deep)


def _walk(
    root: Path, wanted: Selection, visited: _Visited, tally: Tally, *, below: str = "", deep: bool = True
) -> Iterator[FoundFile]:
    """Yield the files of a folder and, with `deep`, in the order of their names those of its folders.

    below: the folder's own path, as patterns are compared with it, with a slash; "" for a given folder.
    """
    stack = [(root, below)]
    while stack:
        folder, below = stack.pop()
        if not visited.is_new_folder(folder):  # reached by another link, or a link that leads back up
            continue
        try:
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda e: os.fsencode(e.name))
        except OSError:
            yield FoundFile(folder, "photo")
            continue
        folders, files = [], []
        for entry in entries:
            name, relative = entry.name, f"{below}{entry.name}"
            if _is_folder(entry):
                if deep and not _skipped(folder / name) and wanted.takes_folder(relative):
                    folders.append((folder / name, f"{relative}/"))
                continue
            suffix = _suffix(name)
            if suffix not in _COUNTED_SUFFIXES or name.startswith(".") or not wanted.takes_file(relative):
                continue
            path = folder / name
            if suffix in UNREAD_SUFFIXES:
                tally.unread[suffix] += visited.is_new_file(path, entry)
            elif not _is_pipe(entry) and visited.is_new_file(path, entry):
                files.append(path)
        yield from _dated(_pair(files), wanted, tally)
        stack += reversed(folders)


def _is_folder(path: Path | os.DirEntry[str]) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a link that leads to itself, a name with NUL
        return False


def _exists(path: Path) -> bool:
    """Return whether a path exists; a broken link does."""
    try:
        return os.path.lexists(path)
    except ValueError:  # a name with NUL
        return False


def _status(path: Path | os.DirEntry[str]) -> os.stat_result | None:
    """Return the status of what a path leads to; None if it cannot be followed (a broken link, a name with NUL)."""
    try:
        return path.stat()
    except (OSError, ValueError):
        return None


def _is_pipe(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a pipe, a device or the like; a broken link is not."""
    status = _status(entry)
    return status is not None and not stat.S_ISREG(status.st_mode)


def is_photo_name(name: str) -> bool:
    """Return whether a file in a folder is taken for a photo: by its ending; hidden files never are."""
    return not name.startswith(".") and _suffix(name) in SUFFIXES | RAW_SUFFIXES


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _skipped(folder: Path) -> bool:
    lower = folder.name.lower()
    if lower.startswith(".") or lower in SKIPPED_FOLDERS or lower.endswith(SKIPPED_FOLDER_SUFFIXES):
        return True
    return holds_thumbnails(folder)


def _pair(files: list[Path]) -> list[FoundFile]:
    """Make the files of one folder, in their order; raw files become companions of the picture of the same name."""
    named = [(path, _suffix(path.name), _stem(path)) for path in files]
    leads: dict[str, Path] = {}
    for path, suffix, stem in named:
        if suffix in LEADING_SUFFIXES:
            leads.setdefault(stem, path)
    companions: dict[Path, list[Path]] = {}
    paired = []
    for path, suffix, stem in named:
        lead = leads.get(stem)
        if suffix in RAW_SUFFIXES and lead is not None:
            companions.setdefault(lead, []).append(path)
        elif suffix in VIDEO_SUFFIXES:
            paired.append(FoundFile(path, "video", live=lead is not None and suffix in MOVING_SUFFIXES))
        else:
            paired.append(FoundFile(path, "photo"))
    if not companions:
        return paired
    return [FoundFile(f.path, f.kind, tuple(companions.get(f.path, ())), f.live) for f in paired]


def _stem(path: Path) -> str:
    """Return the name of a file without its ending and in folded case."""
    return os.path.splitext(path.name)[0].casefold()


def _dated(files: list[FoundFile], wanted: Selection, tally: Tally) -> Iterator[FoundFile]:
    return (f for f in files if wanted.takes_date(f.path, tally if f.kind == "photo" else None))
