"""Know what a run would find unchanged without reading a file: from how photos and sidecars looked after the last one.

A photo is unchanged if it, its raw companions and all their sidecars look as they did (size, modification time, inode),
no other file came or went that could be its sidecar, and everything else that a run depends on is the same (`run_key`).
What differs in any way goes the whole way. This module imports nothing heavy.
"""

import json
import os
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any
from unicodedata import normalize

from engine.captioning.results import PhotoResult
from engine.core.boxes import Box
from engine.core.notes import Note, NoteCode, SkipReason
from engine.core.types import Kind, Match, PhotoFacts, Scale, Status
from engine.photos.discovery import FoundFile
from engine.store.known_files import KnownFile, KnownFiles, Stamp, stamp_of

_ENDINGS = (".xmp", ".myvlm.json")
"""Endings of the sidecars beside a photo that a run writes."""
_KEPT = 8
"""Folders that are kept in memory; photos come folder by folder."""


@dataclass(frozen=True)
class Look:
    """How a photo looked before it was read.

    stamp: of the photo; None for what is no regular file. around: other names in its folder that begin with the same
    letters up to the first dot, whatever their case, and so could have to do with its sidecars; with the stamps of
    those that end like sidecars. Sidecars that belong to another file by their names are left out.
    """

    stamp: Stamp | None
    around: tuple[tuple[str, Stamp | None], ...]

    def without(self, names: Collection[str]) -> str:
        """Return a digest of what was around the photo, without its own files."""
        others = [(name, stamp) for name, stamp in self.around if name not in names]
        return blake2b(repr(others).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


class UnchangedPhotos:
    """Photos of which the results are known from a run with the same key."""

    def __init__(self, folder: Path, key: str) -> None:
        """Use the data folder of a run. key: of `run_key`; "" knows nothing."""
        self._files, self.key = KnownFiles(folder / "cache"), key
        self._folders: OrderedDict[str, _Folder] = OrderedDict()

    @property
    def facts(self) -> dict[str, Any] | None:
        """What runs with this key have in common, as `save_facts` got it; None where there was none."""
        text = self._files.facts_of(self.key) if self.key else None
        return None if text is None else json.loads(text)

    def save_facts(self, facts: Mapping[str, Any]) -> None:
        """Keep what runs with this key have in common."""
        if self.key:
            self._files.save_facts(self.key, json.dumps(facts))

    def split(self, files: Iterable[FoundFile]) -> tuple[Iterator[tuple[PhotoResult, ...]], Iterator[FoundFile]]:
        """Split files into the results of those at the beginning that are unchanged, and the other files.

        The second iterator may be used when the first has ended.
        """
        source = iter(files)
        rest: list[FoundFile] = []

        def known() -> Iterator[tuple[PhotoResult, ...]]:
            for file in source:
                results = self.results(file)
                if results is None:
                    rest.append(file)
                    return
                yield results

        return known(), chain(rest, source)

    def look(self, file: FoundFile) -> Look:
        """Return how a photo looks now."""
        folder, name = _place(file)
        return Look(stamp_of(file.path), self._folder(folder).around(folder, name))

    def results(self, file: FoundFile) -> tuple[PhotoResult, ...] | None:
        """Return the results of an unchanged photo and its raw companions, or of a video; None for anything else."""
        if file.kind == "video":
            skip = SkipReason.LIVE_PHOTO_VIDEO if file.live else SkipReason.VIDEO
            return (PhotoResult.skipped(file.path, skip),)
        folder, name = _place(file)
        row = self._folder(folder).rows.get(name)
        if row is None or not self.key or row.run != self.key or not row.looks_the_same(folder):
            return None
        parts, paths = json.loads(row.results), (file.path, *file.companions)
        if [p.name for p in paths] != [p["name"] for p in parts] or row.around != self.look(file).without(row.files):
            return None
        return tuple(_to_result(path, part) for path, part in zip(paths, parts, strict=True))

    def _folder(self, folder: str) -> "_Folder":
        known = self._folders.pop(folder, None) or _Folder(self._files.of_folder(folder), _group(folder))
        self._folders[folder] = known
        if len(self._folders) > _KEPT:
            self._folders.popitem(last=False)
        return known

    def record(self, finished: Iterable["Finished"]) -> None:
        """Record the results of photos, for the next run with this key."""
        by_folder: dict[str, list[tuple[str, KnownFile]]] = {}
        for photo in finished:
            folder, name = _place(photo.file)
            if not self.key or photo.look.stamp is None or not all(map(_may_stay, photo.results)):
                continue
            files: dict[str, Stamp | None] = {n: stamp_of(f"{folder}{os.sep}{n}") for n in photo.sidecars}
            files |= {p.name: stamp_of(p) for p in photo.file.companions}
            files = {name: photo.look.stamp, **files}
            facts = photo.results[0].facts
            parts = json.dumps([_to_part(r) for r in photo.results])
            around, content_hash = photo.look.without(files), facts.content_hash if facts else ""
            row = KnownFile(files, around, content_hash, self.key, parts)
            by_folder.setdefault(folder, []).append((name, row))
        for folder, rows in by_folder.items():
            self._files.save(folder, rows)


@dataclass(frozen=True)
class Finished:
    """A photo whose sidecars are written. sidecars: their names, in its folder, and those of its companions'."""

    file: FoundFile
    look: Look
    sidecars: tuple[str, ...]
    results: tuple[PhotoResult, ...]


@dataclass(frozen=True)
class _Folder:
    """A folder as it was when it was first looked at: the rows of its photos, and its names by their first letters."""

    rows: Mapping[str, KnownFile]
    names: Mapping[str, Sequence[str]]

    def around(self, folder: str, name: str) -> tuple[tuple[str, Stamp | None], ...]:
        group = self.names.get(_first_letters(name), ())
        others = (n for n in group if n != name and not _belongs(n, group))
        return tuple((n, stamp_of(f"{folder}{os.sep}{n}") if n.lower().endswith(_ENDINGS) else None) for n in others)


def _place(file: FoundFile) -> tuple[str, str]:
    """Return the absolute folder of a file, and its name."""
    path = file.path.absolute()
    return str(path.parent), path.name


def _group(folder: str) -> dict[str, list[str]]:
    """Return the names in a folder, sorted, by their letters up to the first dot."""
    groups: dict[str, list[str]] = {}
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return {}
    for name in names:
        groups.setdefault(_first_letters(name), []).append(name)
    return groups


def _first_letters(name: str) -> str:
    """Return what a name has before its first dot, without case, in one Unicode form (`sidecars.locate.caseless`)."""
    first = name.partition(".")[0]
    return first.lower() if first.isascii() else normalize("NFC", normalize("NFD", first).casefold())


def _belongs(name: str, group: Sequence[str]) -> bool:
    """Return whether a file is by its very name the sidecar that a run writes for another file."""
    return any(name.endswith(e) and name.removesuffix(e) in group for e in _ENDINGS)


def _may_stay(result: PhotoResult) -> bool:
    """Return whether the next run would find a photo unchanged, or would skip it again."""
    if any(note.code is NoteCode.NOT_INDEXED for note in result.notes):
        return False
    return result.status in (Status.OK, Status.UNCHANGED) or result.skip is SkipReason.NOTHING_TO_WRITE


def _to_part(result: PhotoResult) -> dict[str, Any]:
    """Represent what the next run will say of a photo."""
    return {
        "name": result.path.name,
        "skip": result.skip,
        "caption": result.caption,
        "matches": [asdict(m) for m in result.matches],
        "facts": asdict(result.facts) if result.facts else None,
        "sidecars": [p.name for p in result.sidecars],
        "notes": [[n.code, n.values] for n in result.notes if n.code is not NoteCode.TWO_SIDECARS],
    }


def _to_result(path: Path, part: dict[str, Any]) -> PhotoResult:
    if part["skip"]:
        return PhotoResult.skipped(path, SkipReason(part["skip"]))
    facts = part["facts"]
    return PhotoResult(
        path,
        Status.UNCHANGED,
        caption=part["caption"],
        matches=tuple(map(_to_match, part["matches"])),
        facts=PhotoFacts(**facts | {"place": tuple(facts["place"]) if facts["place"] else None}) if facts else None,
        sidecars=tuple(path.with_name(name) for name in part["sidecars"]),
        reason="up to date",
        notes=tuple(Note(NoteCode(code), tuple(values)) for code, values in part["notes"]),
    )


def _to_match(part: dict[str, Any]) -> Match:
    scale = part["scale"]
    return Match(
        **part
        | {"kind": Kind(part["kind"]), "box": Box(**part["box"]), "scale": None if scale is None else Scale(scale)}
    )
