"""Forgetting a concept: nothing of it stays in the store, and on request nothing of ours names it in the sidecars."""

import html
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.errors import SidecarError
from engine.files import finish_first, remove_file, write_atomically
from engine.photos.discovery import find_files
from engine.pipeline.session import Session
from engine.sidecars.json_sidecar import parse_document
from engine.sidecars.namespaces import MYVLM
from engine.sidecars.naming import JSON_ENDING, Namer, Naming
from engine.store.journal import Journal
from engine.store.lock import run_lock
from engine.types import Concept

_TRIES = 3


class Outcome(StrEnum):
    """What became of one sidecar."""

    CLEANED = "cleaned"  # ours is out, the rest stays
    DELETED = "deleted"  # nothing but ours was in it, or it is a JSON sidecar of ours
    KEPT = "kept"  # a human's words name the concept
    FAILED = "failed"


@dataclass(frozen=True)
class Scrubbed:
    """A sidecar that named the concept. `human`: words that are not ours still do."""

    path: Path
    outcome: Outcome
    human: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Scrub:
    """Which sidecars to look at, beside all that the journal knows."""

    paths: tuple[Path, ...] = ()
    folder: Path | None = None  # --sidecar-dir


@dataclass(frozen=True)
class Forgotten:
    """What was deleted. `known`: the name was in the store; else only sidecars were looked at."""

    name: str
    known: bool
    references: int = 0
    journal_entries: int = 0
    cache_entries: int = 0
    looked_at: int = 0
    sidecars: tuple[Scrubbed, ...] = ()


@dataclass
class _Sought:
    """What gives a concept away: its names (old ones are found in JSON sidecars), and its id."""

    names: set[str]
    ids: frozenset[str]

    def pattern(self) -> re.Pattern[str]:
        """Any of the names as words of a folded text."""
        either = "|".join(re.escape(_folded(n)) for n in sorted(self.names, key=len, reverse=True))
        return re.compile(rf"(?<!\w)(?:{either})(?!\w)")


def forget(
    session: Session, name: str, scrub: Scrub | None = None, step: Callable[[], None] = lambda: None
) -> Forgotten:
    """Delete a concept: references, heads, embeddings, cached features, journal entries that name it or lie beside its
    references. With `scrub` also what we wrote about it into sidecars; that cannot be undone, because a copy of what
    was there would keep the name. `step` hears of each file looked at.

    Raises:
        ConceptError: there is no such concept, and no paths to scrub were given.
        StoreLockedError: another run is writing.
    """
    known = session.store.find(name)
    concept = known if known is not None or (scrub and scrub.paths) else session.store.get(name)
    with run_lock(session.folder, "forget"):
        journal = Journal(session.folder)
        sought = _Sought({name}, frozenset())
        if concept is not None:
            sought = _Sought({concept.name, name}, frozenset({concept.id}))
        outcomes: tuple[Scrubbed, ...] = ()
        looked_at = 0
        if scrub is not None:
            files = _sidecars(journal, scrub)
            looked_at = len(files)
            outcomes = tuple(_scrub_all(files, sought, step))
        # The concept itself goes last: after a kill in between the same command does the rest.
        entries = journal.forget(_words(sought, concept))
        journal.close()
        cached = session.cache.clear()
        if concept is not None:
            session.store.forget(concept.name)
    references = len(concept.references) if concept else 0
    return Forgotten(
        concept.name if concept else name, concept is not None, references, entries, cached, looked_at, outcomes
    )


def _words(sought: _Sought, concept: Concept | None) -> Sequence[str]:
    paths = [os.fsencode(r.path).decode("utf-8", "replace") for r in concept.references] if concept else []
    return [*sorted(sought.names), *sorted(sought.ids), *paths]


def _sidecars(journal: Journal, scrub: Scrub) -> list[Path]:
    """Every sidecar that may be ours: JSON sidecars first, because they know old names."""
    found = set(journal.sidecars())
    namers = [Namer(Naming(style, scrub.folder)) for style in ("auto", "ext", "stem")]
    for file in find_files(scrub.paths):
        for photo in (file.path, *file.companions):
            found |= set(_beside(photo, namers))
    return sorted(found, key=lambda p: (not p.name.endswith(JSON_ENDING), os.fsencode(p)))


def _beside(photo: Path, namers: Iterable[Namer]) -> Iterator[Path]:
    for namer in namers:
        try:
            paths = namer.find(photo)
        except SidecarError:
            return
        yield from (path.absolute() for path in (paths.xmp, paths.json) if path.is_file())


def _scrub_all(files: Iterable[Path], sought: _Sought, step: Callable[[], None]) -> Iterator[Scrubbed]:
    for path in files:
        step()
        try:
            with finish_first():
                done = _scrub(path, sought)
        except SidecarError as err:
            done = Scrubbed(path, Outcome.FAILED, reason=str(err))
        except (OSError, RuntimeError) as err:
            done = Scrubbed(path, Outcome.FAILED, reason=f"{getattr(err, 'strerror', None) or err}")
        if done is not None:
            yield done


def _scrub(path: Path, sought: _Sought) -> Scrubbed | None:
    """Take what is ours and names the concept out of a sidecar; None when there is nothing about it."""
    target = path.resolve()
    if not target.is_file():
        return None
    for _ in range(_TRIES):
        before = target.read_bytes()
        if path.name.endswith(JSON_ENDING):
            after = None if _names_in_json(before, sought) else before
        else:
            after = _without(before, sought)
        if after == before:
            return Scrubbed(path, Outcome.KEPT, human=True) if _is_named(before, sought) else None
        if target.read_bytes() != before:
            continue
        if after is None:
            remove_file(target)
            return Scrubbed(path, Outcome.DELETED)
        write_atomically(target, after)
        return Scrubbed(path, Outcome.CLEANED, human=_is_named(after, sought))
    raise SidecarError("another program keeps changing it", hint="Try again.")


def _without(data: bytes, sought: _Sought) -> bytes | None:
    """An XMP sidecar without our words about the concept; None when nothing else was in it.

    Where our block has the concept's id, and none of the names that we know is in it, it was renamed: then all of our
    words go, because we cannot tell which of them are about it.
    """
    from engine.sidecars.removal import remove_words

    if MYVLM.encode() not in data or not _says(data, sought):  # most sidecars are of other programs alone
        return data
    after = remove_words(data, frozenset(sought.names), sought.ids)
    if sought.ids and after is not None and not _is_named(data, sought):
        return remove_words(data)
    return after


def _says(data: bytes, sought: _Sought) -> bool:
    return _is_named(data, sought) or any(i.encode() in data for i in sought.ids)


def _is_named(data: bytes, sought: _Sought) -> bool:
    text = html.unescape(data.decode("utf-8", "replace"))
    return sought.pattern().search(_folded(text)) is not None


def _names_in_json(data: bytes, sought: _Sought) -> bool:
    """Whether a JSON sidecar of ours names the concept; old names in it are remembered."""
    document = parse_document(data)
    if document is None:
        return _says(data, sought)
    own = [m.name for m in document.matches if m.concept_id in sought.ids]
    sought.names |= set(own)
    said = _folded("\n".join([document.caption, *document.notes, *(m.name for m in document.matches)]))
    return bool(own) or sought.pattern().search(said) is not None


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).split())
