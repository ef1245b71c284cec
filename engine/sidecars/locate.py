"""Where a photo's sidecars are: `photo.jpg.xmp` or `photo.xmp`, beside the photo or in a folder of their own.

darktable, digiKam, Immich and osxphotos write `photo.jpg.xmp`; Adobe's programs and Capture One write `photo.xmp`. What
exists is kept up to date, a `photo.xmp` only when it can belong to nobody but this photo; new ones are `photo.jpg.xmp`.

Disks and copying programs change the letter case and the Unicode form of names, so that a sidecar is found whatever
these are: by its name as it is, else by its caseless name. One whose name is exactly that of another file's sidecar is
that file's. Where two files may be one photo's sidecar, neither is touched: a choice could hide a human's words.
"""

import os
import stat
import unicodedata
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from engine.core.errors import AmbiguousSidecarsError, SidecarError
from engine.photos.discovery import LEADING_SUFFIXES, MOVING_SUFFIXES, RAW_SUFFIXES, SUFFIXES
from engine.sidecars.read import read_sidecar

Style = Literal["auto", "ext", "stem"]
PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
XMP_ENDING, JSON_ENDING = ".xmp", ".myvlm.json"
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
        self._mirror: tuple[Path, Path] | None = None  # the folder that was mirrored last, and its mirror

    def find(self, photo: Path) -> SidecarPaths:
        """Where the sidecars of a photo are or will be.

        Those of a link to a photo lie beside the link if one is there already; else beside the photo itself, so that
        all ways to it lead to one sidecar, unless it has another name there (git-annex's objects).

        Raises:
            SidecarError: the photo's name leaves no room for the ending of its sidecars.
            AmbiguousSidecarsError: two files may be its XMP sidecar, or its JSON sidecar.
        """
        found = self._find(photo)
        real = _target(photo)
        if real is None or caseless(real.name) != caseless(photo.name) or self._is_there(found):
            return found
        return self._find(real)

    def _is_there(self, found: SidecarPaths) -> bool:
        return found.source is not None or any(p.name in self._listing(p.parent).names for p in (found.xmp, found.json))

    def _find(self, photo: Path) -> SidecarPaths:
        beside = self._listing(photo.parent)
        photo = photo.parent / beside.spelling(photo.name)
        _check_length(photo, beside.longest)
        here = _Place(photo, photo.parent, beside, beside)
        if self._naming.folder is None:
            xmp, source, notes = _choose(here, self._naming.style)
            return SidecarPaths(xmp, here.path(photo.name, JSON_ENDING), source, notes)
        folder = self._mirrored(photo.parent, self._naming.folder)
        there = _Place(photo, folder, self._listing(folder), beside)
        xmp, own, notes = _choose(there, self._naming.style)
        found, _, more = _choose(here, "auto")
        source = own or (found if found.name in beside.names else None)
        notes = tuple(dict.fromkeys((*notes, *more)))
        return SidecarPaths(xmp, there.path(photo.name, JSON_ENDING), source, notes, make_folder=True)

    def _mirrored(self, folder: Path, base: Path) -> Path:
        """`mirrored`, spelled as the folders below `base` are."""
        known = self._mirror  # one read: several threads look for sidecars
        if known is None or known[0] != folder:
            found = base
            for part in mirrored(folder, base).relative_to(base).parts:
                found /= _Listing(found).spelling(part)
            known = self._mirror = folder, found
        return known[1]

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


def caseless(name: str) -> str:
    """The form in which two file names are one for a disk that ignores letter case and Unicode form (macOS, Windows).

    The Unicode Standard 3.13, D145: canonical caseless match. Names that are not UTF-8 are compared, too.
    """
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


class _Listing:
    """The names in a folder; one that cannot be listed has none (reading its photos will say why)."""

    def __init__(self, folder: Path) -> None:
        try:
            self.names = frozenset(os.listdir(folder))
            self.longest = os.pathconf(folder, "PC_NAME_MAX")
        except (OSError, ValueError):
            self.names, self.longest = frozenset(), _LONGEST_NAME

    @cached_property
    def _by_key(self) -> dict[str, list[str]]:
        """All names by their caseless form, sorted."""
        found: dict[str, list[str]] = {}
        for name in sorted(self.names):
            found.setdefault(caseless(name), []).append(name)
        return found

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        """Names of files that may have sidecars, by their caseless stems, as raw files are paired by."""
        found: dict[str, list[str]] = {}
        for name in self.names:
            if not name.lower().endswith(_NO_OWNERS):
                found.setdefault(caseless(os.path.splitext(name)[0]), []).append(name)
        return found

    def alike(self, name: str) -> list[str]:
        """The names that are `name` but for case and Unicode form; itself first."""
        found = self._by_key.get(caseless(name), [])
        return sorted(found, key=lambda n: n != name) if len(found) > 1 else found

    def spelling(self, name: str) -> str:
        """How the folder spells a name that the disk found under another spelling."""
        found = self.alike(name)
        return found[0] if len(found) == 1 else name

    def other_endings(self, photo: Path) -> list[str]:
        """The lower-case endings of the other files that are called like a photo, in any case."""
        stem = caseless(os.path.splitext(photo.name)[0])
        return [os.path.splitext(n)[1].lower() for n in self._by_stem.get(stem, []) if n != photo.name]


@dataclass(frozen=True)
class _Place:
    """A folder in which a photo's sidecars may lie. `there` lists that folder, `beside` the photo's."""

    photo: Path
    folder: Path
    there: _Listing
    beside: _Listing

    def candidates(self, base: str, ending: str) -> list[str]:
        """The files called `base` and `ending`, in whatever case and Unicode form, that are not another file's."""
        stems = {n: n[: -len(ending)] for n in self.there.alike(base + ending)}
        return [n for n, stem in stems.items() if stem in (base, self.photo.name) or stem not in self.beside.names]

    def path(self, base: str, ending: str, candidates: list[str] | None = None) -> Path:
        """Where a sidecar called `base` and `ending` is or will be.

        Raises:
            AmbiguousSidecarsError: several files, or the only one may be that of a photo of the same caseless name.
        """
        found = self.candidates(base, ending) if candidates is None else candidates
        twins = [n for n in self.beside.alike(base) if n != base] if base == self.photo.name else []
        if len(found) > 1:
            told = f"{self.photo}: {_told_apart(found)}; merge them into one, or delete all but one"
        elif found and twins and found[0][: -len(ending)] != base:
            told = f"{self.photo}: {found[0]} may be its sidecar or that of {twins[0]}; rename it to the photo's name"
        else:
            return self.folder / (found[0] if found else base + ending)
        raise AmbiguousSidecarsError(told, paths=tuple(self.folder / n for n in found), hint="Nothing was written.")


def _told_apart(names: list[str]) -> str:
    """Several names of a sidecar, written so that a reader sees how they differ."""
    if len({unicodedata.normalize("NFC", n) for n in names}) < len(names):
        return f"the names of its sidecars {' and '.join(map(ascii, names))} differ in Unicode form only"
    return f"the names of its sidecars {' and '.join(names)} differ in letter case only"


def _choose(place: _Place, style: Style) -> tuple[Path, Path | None, tuple[str, ...]]:
    """The sidecar's path, the one under the other name that a new one starts from, and notes."""
    photo = place.photo
    stem = os.path.splitext(photo.name)[0]
    full = place.candidates(photo.name, XMP_ENDING)
    bare = place.candidates(stem, XMP_ENDING) if stem != photo.name else []
    bare_ours = [n for n in bare if _is_alone(place.folder / n, photo, place.beside)]
    notes: list[str] = []
    full_path = place.path(photo.name, XMP_ENDING, full)
    if full and bare_ours and style != "stem":
        notes.append(f"{bare_ours[0]} {BOTH_THERE} {full[0]} is kept up to date")
    if style == "auto":
        return (full_path if full or not bare_ours else place.path(stem, XMP_ENDING, bare_ours)), None, tuple(notes)
    if style == "ext" or stem == photo.name:
        other = place.path(stem, XMP_ENDING, bare_ours) if bare_ours and not full else None
        return full_path, other, tuple(notes)
    if bare_ours or (not bare and _may_own(photo, place.beside)):
        return place.path(stem, XMP_ENDING, bare_ours), (full_path if full and not bare_ours else None), tuple(notes)
    bare_name = bare[0] if bare else stem + XMP_ENDING
    notes.append(f"{bare_name} is or may be another file's; {full_path.name} is used")
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
        data = read_sidecar(sidecar)
        said = Packet(data).text(PHOTOSHOP, "SidecarForExtension") if data is not None else ""
    except SidecarError:
        return ""
    return f".{said.strip().lower().lstrip('.')}" if said and said.strip() else ""


def _check_length(photo: Path, longest: int) -> None:
    size = len(os.fsencode(photo.name + JSON_ENDING))
    if size > longest:
        raise SidecarError(
            f"{photo}: the name is {size - longest} bytes too long for its sidecar {photo.name}{JSON_ENDING}",
            hint="Give the photo a shorter name.",
        )
