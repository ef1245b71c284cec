"""Where a photo's sidecars are: `photo.jpg.xmp` or `photo.xmp`, beside the photo or in a folder of their own.

darktable, digiKam, Immich and osxphotos write `photo.jpg.xmp`; Adobe's programs and Capture One write `photo.xmp`. What
exists is kept up to date, a `photo.xmp` only when it can belong to nobody but this photo; new ones are `photo.jpg.xmp`.
"""

import os
import stat
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from engine.errors import SidecarError
from engine.photos.discovery import LEADING_SUFFIXES, MOVING_SUFFIXES, RAW_SUFFIXES, SUFFIXES

Style = Literal["auto", "ext", "stem"]
PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
JSON_ENDING = ".myvlm.json"
BOTH_THERE = "is there, too;"
"""In the note about a photo with sidecars of both names."""
_FOLDERS = 16
"""Folder listings kept: photos come folder by folder, so that each is listed once, however many photos there are."""
_LONGEST_NAME = 255
_NO_OWNERS = (".xmp", ".json", ".aae", ".thm", ".txt", "_original", "~")
"""Ends of names of files that never have a sidecar: sidecars of others, and backups (exiftool's, editors')."""
_HOLDING_XMP = (SUFFIXES - {".bmp", ".dib"}) | {".psd", ".psb", ".pdf"}
"""What Adobe's programs write XMP into, so that a sidecar beside it and a raw file is the raw file's."""


@dataclass(frozen=True)
class Naming:
    """How sidecars are called; `folder` holds them all, for libraries that cannot or must not be written to."""

    style: Style = "auto"
    folder: Path | None = None


@dataclass(frozen=True)
class SidecarPaths:
    """A photo's sidecars, there or not. A new `xmp` starts from `source`, a sidecar of another place or name.

    make_folder: their folder may be created. Only that below --sidecar-dir may: the photo's is there, and where a
    link leads to none, its target is gone or not mounted.
    """

    xmp: Path
    json: Path
    source: Path | None = None
    notes: tuple[str, ...] = ()
    make_folder: bool = False


class Namer:
    """Finds sidecars; remembers the listings of the folders it was in last."""

    def __init__(self, naming: Naming | None = None) -> None:
        self._naming = naming or Naming()
        self._known: OrderedDict[Path, _Listing] = OrderedDict()

    def find(self, photo: Path) -> SidecarPaths:
        """Where the sidecars of a photo are or will be.

        Those of a link to a photo lie beside the link if one is there already; else beside the photo itself, so that
        all ways to it lead to one sidecar, unless it has another name there (git-annex's objects).

        Raises:
            SidecarError: the photo's name leaves no room for the ending of its sidecars.
        """
        found = self._find(photo)
        real = _target(photo)
        if real is None or real.name != photo.name or self._is_there(found):
            return found
        return self._find(real)

    def _is_there(self, found: SidecarPaths) -> bool:
        return found.source is not None or any(p.name in self._listing(p.parent).names for p in (found.xmp, found.json))

    def _find(self, photo: Path) -> SidecarPaths:
        beside = self._listing(photo.parent)
        _check_length(photo, beside.longest)
        if self._naming.folder is None:
            xmp, source, notes = _choose(photo, photo.parent, beside, beside, self._naming.style)
            return SidecarPaths(xmp, photo.with_name(photo.name + JSON_ENDING), source, notes)
        folder = mirrored(photo.parent, self._naming.folder)
        xmp, own, notes = _choose(photo, folder, self._listing(folder), beside, self._naming.style)
        found, _, more = _choose(photo, photo.parent, beside, beside, "auto")
        source = own or (found if found.name in beside.names else None)
        notes = tuple(dict.fromkeys((*notes, *more)))
        return SidecarPaths(xmp, folder / (photo.name + JSON_ENDING), source, notes, make_folder=True)

    def _listing(self, folder: Path) -> "_Listing":
        found = self._known.pop(folder, None) or _Listing(folder)
        self._known[folder] = found
        if len(self._known) > _FOLDERS:
            self._known.popitem(last=False)
        return found


def _target(photo: Path) -> Path | None:
    """The file that a link leads to; None when the path is no link, or leads nowhere."""
    try:
        return Path(os.path.realpath(photo, strict=True)) if stat.S_ISLNK(os.lstat(photo).st_mode) else None
    except (OSError, ValueError):
        return None


def mirrored(folder: Path, base: Path) -> Path:
    """Where `base` keeps the sidecars of a folder: below it, under the folder's real absolute path."""
    return base / os.path.realpath(folder).lstrip(os.sep)


class _Listing:
    """The names in a folder; one that cannot be listed has none (reading its photos will say why)."""

    def __init__(self, folder: Path) -> None:
        try:
            self.names = frozenset(os.listdir(folder))
            self.longest = os.pathconf(folder, "PC_NAME_MAX")
        except (OSError, ValueError):
            self.names, self.longest = frozenset(), _LONGEST_NAME

    @cached_property
    def _by_lower(self) -> dict[str, list[str]]:
        """Names that end in .xmp, in any case, by their lower-case form; the usual spelling first."""
        found: dict[str, list[str]] = {}
        for name in sorted(self.names, key=lambda n: (not n.endswith(".xmp"), n)):
            if name[-4:].lower() == ".xmp":
                found.setdefault(name[:-4], []).append(name)
        return found

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        """Names of files that may have sidecars, by their stems without case, as raw files are paired by."""
        found: dict[str, list[str]] = {}
        for name in self.names:
            if not name.lower().endswith(_NO_OWNERS):
                found.setdefault(os.path.splitext(name)[0].casefold(), []).append(name)
        return found

    def sidecars(self, base: str) -> list[str]:
        """The names `<base>.xmp`, its ending in whatever case."""
        return self._by_lower.get(base, [])

    def other_endings(self, photo: Path) -> list[str]:
        """The lower-case endings of the other files that are called like a photo, in any case."""
        stem = os.path.splitext(photo.name)[0].casefold()
        return [os.path.splitext(n)[1].lower() for n in self._by_stem.get(stem, []) if n != photo.name]


def _choose(
    photo: Path, folder: Path, there: _Listing, beside: _Listing, style: Style
) -> tuple[Path, Path | None, tuple[str, ...]]:
    """The sidecar's path, the one under the other name that a new one starts from, and notes.

    `there` lists the sidecars' folder, `beside` the photo's.
    """
    stem = os.path.splitext(photo.name)[0]
    full, bare = there.sidecars(photo.name), there.sidecars(stem) if stem != photo.name else []
    notes: list[str] = []
    if len(full) > 1 or len(bare) > 1:
        several = full if len(full) > 1 else bare
        notes.append(f"{' and '.join(several)} differ in case only; {several[0]} is kept up to date")
    own_bare = bool(bare) and _is_alone(folder / bare[0], photo, beside)
    full_path = folder / (full[0] if full else photo.name + ".xmp")
    bare_path = folder / (bare[0] if bare else stem + ".xmp")
    if full and own_bare and style != "stem":
        notes.append(f"{bare[0]} {BOTH_THERE} {full[0]} is kept up to date")
    if style == "auto":
        return (bare_path if own_bare and not full else full_path), None, tuple(notes)
    if style == "ext" or stem == photo.name:
        return full_path, (bare_path if own_bare and not full else None), tuple(notes)
    if own_bare or (not bare and _may_own(photo, beside)):
        return bare_path, (full_path if full and not own_bare else None), tuple(notes)
    notes.append(f"{bare_path.name} is or may be another file's; {full_path.name} is used")
    return full_path, None, tuple(notes)


def _is_alone(sidecar: Path, photo: Path, beside: _Listing) -> bool:
    """Whether an existing `photo.xmp` belongs to this photo and to no other file."""
    said = _said_ending(sidecar)
    return said == photo.suffix.lower() if said else _may_own(photo, beside)


def _may_own(photo: Path, beside: _Listing) -> bool:
    """Whether `photo.xmp` can only mean this photo: the one raw file of that stem beside nothing but pictures that
    hold their XMP themselves, or the only file, whatever the others are. The moving half of a Live Photo counts not.
    """
    ending = photo.suffix.lower()
    others = beside.other_endings(photo)
    if ending in RAW_SUFFIXES:
        return not [e for e in others if e not in _HOLDING_XMP | MOVING_SUFFIXES]
    return not [e for e in others if not (ending in LEADING_SUFFIXES and e in MOVING_SUFFIXES)]


def _said_ending(sidecar: Path) -> str:
    """The file ending that a sidecar itself says it is for (photoshop:SidecarForExtension), ".cr2"; "" for none."""
    from engine.sidecars.rdf.packet import Packet

    try:
        said = Packet(sidecar.read_bytes()).text(PHOTOSHOP, "SidecarForExtension")
    except (OSError, SidecarError):
        return ""
    return f".{said.strip().lower().lstrip('.')}" if said and said.strip() else ""


def _check_length(photo: Path, longest: int) -> None:
    size = len(os.fsencode(photo.name + JSON_ENDING))
    if size > longest:
        raise SidecarError(
            f"{photo}: the name is {size - longest} bytes too long for its sidecar {photo.name}{JSON_ENDING}",
            hint="Give the photo a shorter name.",
        )
