"""Locate the sidecars of a photo: `photo.jpg.xmp` or `photo.xmp`, beside the photo or in a folder of their own.

darktable, digiKam, Immich and osxphotos write `photo.jpg.xmp`; Adobe's programs and Capture One write `photo.xmp`. An
existing sidecar is updated, a `photo.xmp` only if it can belong only to this photo; new ones are `photo.jpg.xmp`.

Disks and copying programs change letter case and Unicode form of names. Therefore a sidecar is found by its exact
name, else by its caseless name. A file whose name is exactly that of another file's sidecar belongs to that file. If
two files may be the sidecar of one photo, both stay unchanged: a choice could hide what the user wrote. See
docs/sidecars.md, "Names of sidecars".
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
from engine.core.notes import Note, NoteCode
from engine.photos.discovery import LEADING_SUFFIXES, MOVING_SUFFIXES, RAW_SUFFIXES, SUFFIXES
from engine.sidecars.read import read_sidecar

Style = Literal["auto", "ext", "stem"]
PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
XMP_ENDING, JSON_ENDING = ".xmp", ".myvlm.json"
PICASA_NAMES = (".picasa.ini", "Picasa.ini", "picasa.ini")  # each with a folder's faces
_FOLDERS = 16
"""Folder listings that are kept. Photos come folder by folder, so each folder is listed once."""
_LONGEST_NAME = 255  # bytes of a file name, if the file system does not say
_NO_OWNERS = (".xmp", ".json", ".aae", ".thm", ".txt", "_original", "~")
"""Endings of files that never have a sidecar: sidecars of other files, and backups of exiftool and editors."""
_HOLDING_XMP = (SUFFIXES - {".bmp", ".dib"}) | {".psd", ".psb", ".pdf"}
"""Files into which Adobe's programs write XMP: if one of them is beside a raw file, `photo.xmp` is the raw file's."""


@dataclass(frozen=True)
class Naming:
    """How sidecars are called. folder: holds all sidecars of a library that cannot or must not be written to."""

    style: Style = "auto"
    folder: Path | None = None


@dataclass(frozen=True)
class SidecarPaths:
    """Paths of the sidecars of a photo, whether or not they exist.

    source: an existing sidecar in another place or under another name, from which a new `xmp` starts. make_folder: the
    folder of the sidecars may be created. That holds only below --sidecar-dir: the folder of the photo exists, and if
    a link leads to a missing folder, its target was removed or is not mounted.
    """

    xmp: Path
    json: Path
    source: Path | None = None
    notes: tuple[Note, ...] = ()
    make_folder: bool = False


class Namer:
    """Finds sidecars; keeps the listings of the folders that it visited last."""

    def __init__(self, naming: Naming | None = None) -> None:
        self._naming = naming or Naming()
        self._listings: OrderedDict[Path, _Listing] = OrderedDict()
        self._mirror: tuple[Path, Path] | None = None  # the last folder, and where its sidecars are

    def find(self, photo: Path) -> SidecarPaths:
        """Return where the sidecars of a photo are or will be.

        Sidecars of a link to a photo are beside the link if there is one already; else beside the photo itself, so that
        all links share one sidecar, unless the photo has another name there (objects of git-annex).

        Raises:
            SidecarError: the name of the photo leaves no room for the ending of its sidecars.
            AmbiguousSidecarsError: two files may be its XMP sidecar, or its JSON sidecar.
        """
        paths = self._find(photo)
        target = _target(photo)
        if target is None or caseless(target.name) != caseless(photo.name) or self._exist(paths):
            return paths
        return self._find(target)

    def _exist(self, paths: SidecarPaths) -> bool:
        """Return whether any of these sidecars exists."""
        return paths.source is not None or any(p.name in self._listing(p.parent).names for p in (paths.xmp, paths.json))

    def _find(self, photo: Path) -> SidecarPaths:
        beside = self._listing(photo.parent)
        photo = photo.parent / beside.spelling(photo.name)
        _check_length(photo, beside.longest)
        here = _Place(photo, photo.parent, beside, beside)
        if self._naming.folder is None:
            xmp, source, notes = _choose(here, self._naming.style)
            return SidecarPaths(xmp, here.path(photo.name, JSON_ENDING), source, notes)
        folder = self.sidecar_folder(photo.parent)
        there = _Place(photo, folder, self._listing(folder), beside)
        xmp, renamed, notes = _choose(there, self._naming.style)
        xmp_beside, _, more = _choose(here, "auto")
        source = renamed or (xmp_beside if xmp_beside.name in beside.names else None)
        notes = tuple(dict.fromkeys((*notes, *more)))
        return SidecarPaths(xmp, there.path(photo.name, JSON_ENDING), source, notes, make_folder=True)

    def sidecar_folder(self, folder: Path) -> Path:
        """Return the folder itself, or its mirror in --sidecar-dir, in the spelling of the folders there."""
        base, last = self._naming.folder, self._mirror  # one read: several threads look for sidecars
        if base is None:
            return folder
        if last is None or last[0] != folder:
            mirror = base
            for part in mirrored(folder, base).relative_to(base).parts:
                mirror /= _Listing(mirror).spelling(part)
            last = self._mirror = folder, mirror
        return last[1]

    def _listing(self, folder: Path) -> "_Listing":
        self._listings[folder] = listing = self._listings.pop(folder, None) or _Listing(folder)
        if len(self._listings) > _FOLDERS:
            self._listings.popitem(last=False)
        return listing


def _target(photo: Path) -> Path | None:
    """Return the file that a link leads to; None if the path is not a link, or is a broken one."""
    try:
        return Path(os.path.realpath(photo, strict=True)) if stat.S_ISLNK(os.lstat(photo).st_mode) else None
    except (OSError, ValueError):
        return None


def mirrored(folder: Path, base: Path) -> Path:
    """Return the folder below `base` for the sidecars of a folder: the real absolute path of the folder is repeated."""
    return base / os.path.realpath(folder).lstrip(os.sep)


def caseless(name: str) -> str:
    """Fold a file name so that names are equal that are one for a disk ignoring case and Unicode form (macOS, Windows).

    The Unicode Standard 3.13, D145: canonical caseless match. It also works for names that are not UTF-8.
    """
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


class _Listing:
    """The names in a folder. A folder that cannot be listed has none; reading its photos reports why.

    longest: most bytes of a name.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self.names = frozenset(os.listdir(folder))
            self.longest = os.pathconf(folder, "PC_NAME_MAX")
        except (OSError, ValueError):
            self.names, self.longest = frozenset(), _LONGEST_NAME

    @cached_property
    def _by_key(self) -> dict[str, list[str]]:
        """Names by their caseless form, sorted."""
        names: dict[str, list[str]] = {}
        for name in sorted(self.names):
            names.setdefault(caseless(name), []).append(name)
        return names

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        """Names of files that may have sidecars, by their caseless stems."""
        names: dict[str, list[str]] = {}
        for name in self.names:
            if not name.lower().endswith(_NO_OWNERS):
                names.setdefault(caseless(os.path.splitext(name)[0]), []).append(name)
        return names

    def alike(self, name: str) -> list[str]:
        """Return the names that differ from `name` at most in case and Unicode form; `name` itself first."""
        names = self._by_key.get(caseless(name), [])
        return sorted(names, key=lambda n: n != name) if len(names) > 1 else names

    def spelling(self, name: str) -> str:
        """Return how the folder spells a name, which the disk finds in another spelling, too."""
        names = self.alike(name)
        return names[0] if len(names) == 1 else name

    def other_endings(self, photo: Path) -> list[str]:
        """Return the lower-case endings of the other files with the caseless stem of a photo."""
        stem = caseless(os.path.splitext(photo.name)[0])
        return [os.path.splitext(n)[1].lower() for n in self._by_stem.get(stem, []) if n != photo.name]


@dataclass(frozen=True)
class _Place:
    """A folder in which the sidecars of a photo may be.

    there: names in that folder. beside: names in the folder of the photo.
    """

    photo: Path
    folder: Path
    there: _Listing
    beside: _Listing

    def candidates(self, base: str, ending: str) -> list[str]:
        """Return the files called `base` + `ending`, in any case and Unicode form, that belong to no other file."""
        stems = {n: n[: -len(ending)] for n in self.there.alike(base + ending)}
        return [n for n, stem in stems.items() if stem in (base, self.photo.name) or stem not in self.beside.names]

    def path(self, base: str, ending: str, candidates: list[str] | None = None) -> Path:
        """Return where a sidecar called `base` + `ending` is or will be. candidates: known result of `candidates`.

        Raises:
            AmbiguousSidecarsError: there are several, or the only one may belong to a photo of the same caseless name.
        """
        names = self.candidates(base, ending) if candidates is None else candidates
        other_case = [n for n in self.beside.alike(base) if n != base] if base == self.photo.name else []
        if len(names) > 1:
            problem = f"{self.photo}: {_describe_difference(names)}; merge them into one, or delete all but one"
        elif names and other_case and names[0][: -len(ending)] != base:
            problem = (
                f"{self.photo}: {names[0]} may be its sidecar or that of {other_case[0]}; rename it to the photo's name"
            )
        else:
            return self.folder / (names[0] if names else base + ending)
        raise AmbiguousSidecarsError(problem, paths=tuple(self.folder / n for n in names), hint="Nothing was written.")


def _describe_difference(names: list[str]) -> str:
    """Describe several names of a sidecar so that a reader sees how they differ."""
    if len({unicodedata.normalize("NFC", n) for n in names}) < len(names):
        return f"the names of its sidecars {' and '.join(map(ascii, names))} differ in Unicode form only"
    return f"the names of its sidecars {' and '.join(names)} differ in letter case only"


def _choose(place: _Place, style: Style) -> tuple[Path, Path | None, tuple[Note, ...]]:
    """Choose the path of the XMP sidecar; also return the sidecar of the other name from which a new one starts, and
    notes for the user.
    """
    photo = place.photo
    stem = os.path.splitext(photo.name)[0]
    full = place.candidates(photo.name, XMP_ENDING)
    bare = place.candidates(stem, XMP_ENDING) if stem != photo.name else []
    bare_ours = [n for n in bare if _is_alone(place.folder / n, photo, place.beside)]
    notes: list[Note] = []
    full_path = place.path(photo.name, XMP_ENDING, full)
    if full and bare_ours and style != "stem":
        notes.append(Note(NoteCode.TWO_SIDECARS, (bare_ours[0], full[0])))
    if style == "auto":
        return (full_path if full or not bare_ours else place.path(stem, XMP_ENDING, bare_ours)), None, tuple(notes)
    if style == "ext" or stem == photo.name:
        other = place.path(stem, XMP_ENDING, bare_ours) if bare_ours and not full else None
        return full_path, other, tuple(notes)
    if bare_ours or (not bare and _may_own(photo, place.beside)):
        return place.path(stem, XMP_ENDING, bare_ours), (full_path if full and not bare_ours else None), tuple(notes)
    bare_name = bare[0] if bare else stem + XMP_ENDING
    notes.append(Note(NoteCode.FOREIGN_SIDECAR, (bare_name, full_path.name)))
    return full_path, None, tuple(notes)


def _is_alone(sidecar: Path, photo: Path, beside: _Listing) -> bool:
    """Return whether an existing `photo.xmp` belongs only to this photo."""
    ending = _declared_ending(sidecar)
    return ending == photo.suffix.lower() if ending else _may_own(photo, beside)


def _may_own(photo: Path, beside: _Listing) -> bool:
    """Return whether `photo.xmp` can only belong to this photo.

    It can if the photo is the only file of its stem, or a raw file and the others are pictures that hold their XMP
    themselves. The moving half of a Live Photo does not count.
    """
    ending = photo.suffix.lower()
    others = beside.other_endings(photo)
    if ending in RAW_SUFFIXES:
        return not [e for e in others if e not in _HOLDING_XMP | MOVING_SUFFIXES]
    return not [e for e in others if not (ending in LEADING_SUFFIXES and e in MOVING_SUFFIXES)]


def _declared_ending(sidecar: Path) -> str:
    """Return the file ending that a sidecar declares (photoshop:SidecarForExtension), such as ".cr2"; "" for none."""
    from engine.sidecars.rdf.packet import Packet

    try:
        data = read_sidecar(sidecar)
        ending = Packet(data).text(PHOTOSHOP, "SidecarForExtension") if data is not None else ""
    except SidecarError:
        return ""
    return f".{ending.strip().lower().lstrip('.')}" if ending and ending.strip() else ""


def _check_length(photo: Path, longest: int) -> None:
    size = len(os.fsencode(photo.name + JSON_ENDING))
    if size > longest:
        raise SidecarError(
            f"{photo}: the name is {size - longest} bytes too long for its sidecar {photo.name}{JSON_ENDING}",
            hint="Give the photo a shorter name.",
        )
