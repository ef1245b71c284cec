"""Forget a concept: delete it from the store, and on request remove what myvlm wrote about it from sidecars."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.concepts.similarity import find_same
from engine.core.errors import AmbiguousSidecarsError, SidecarError
from engine.core.files import finish_first, read_bytes, remove_file, remove_leftovers, write_atomically
from engine.core.types import Concept
from engine.photos.discovery import find_files
from engine.session import Session
from engine.sidecars.journal import Journal
from engine.sidecars.json_sidecar import parse_record
from engine.sidecars.locate import JSON_ENDING, Namer, Naming
from engine.sidecars.lock import run_lock
from engine.sidecars.name_search import NameSearch
from engine.sidecars.rdf.forms import MYVLM
from engine.sidecars.read import LARGEST
from engine.sidecars.writer import clear_up
from engine.store.concepts import ConceptStore

_TRIES = 3
_NOT_THERE = "not there now: mount it and run the same command again"


class ForgetOutcome(StrEnum):
    """What became of one sidecar."""

    CLEANED = "cleaned"  # ours is out, the rest stays
    DELETED = "deleted"  # nothing but ours was in it, or it is a JSON sidecar of ours
    KEPT = "kept"  # a human's words name the concept
    FAILED = "failed"


@dataclass(frozen=True)
class Scrubbed:
    """A sidecar that named the concept, or a folder of sidecars that is not there or cannot be listed (FAILED).
    `human`: words that are not ours still name it.
    """

    path: Path
    outcome: ForgetOutcome
    human: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Scrub:
    """Which sidecars to look at, beside those in the folders that the journal knows. `anyway`: forget the concept
    also when some of them could not be scrubbed; they may keep its name.
    """

    paths: tuple[Path, ...] = ()
    folder: Path | None = None  # --sidecar-dir
    anyway: bool = False


@dataclass(frozen=True)
class Forgotten:
    """What was deleted. `known`: the name was in the store; else only sidecars were looked at. `complete`: False when
    a sidecar could not be scrubbed: then the concept and the journal stay, so that the same command does the rest.
    """

    name: str
    known: bool
    complete: bool = True
    references: int = 0
    journal_entries: int = 0
    cache_entries: int = 0
    looked_at: int = 0
    sidecars: tuple[Scrubbed, ...] = ()


def forget(
    session: Session, name: str, scrub: Scrub | None = None, step: Callable[[], None] = lambda: None
) -> Forgotten:
    """Delete a concept: references, heads, embeddings, cached features, and what the journal tells of it. With `scrub`
    first what we wrote about it into sidecars; that cannot be undone, because a copy of what was there would keep the
    name. `step` hears of each file looked at.

    Raises:
        ConceptError: there is no such concept, and no paths to scrub were given.
        StoreLockedError: another run is writing.
    """
    known = session.store.find(name)
    concept = known if known is not None or (scrub and scrub.paths) else session.store.get(name)
    sought, display_name = _sought(name, concept), concept.name if concept else name
    with run_lock(session.folder, "forget"):
        journal = Journal(session.folder)
        clear_up(journal)
        scrubber = _Scrubber(sought, step)
        outcomes: tuple[Scrubbed, ...] = ()
        if scrub is not None:
            files, missing = _sidecars(journal, scrub)
            outcomes = (*missing, *scrubber.scrub(files))
        if any(o.outcome is ForgetOutcome.FAILED for o in outcomes) and not (scrub and scrub.anyway):
            journal.close()
            return Forgotten(display_name, concept is not None, False, looked_at=scrubber.looked_at, sidecars=outcomes)
        # The concept itself goes last: after a kill in between the same command does the rest.
        entries = journal.forget(sought.in_file, _giveaway(session.store, sought, concept))
        journal.close()
        cached = session.cache.clear()
        session.store.calibrations.forget(_giveaway(session.store, sought, concept))
        _delete(session, concept)
    return Forgotten(
        display_name,
        concept is not None,
        references=len(concept.references) if concept else 0,
        journal_entries=entries,
        cache_entries=cached,
        looked_at=scrubber.looked_at,
        sidecars=outcomes,
    )


def _sought(name: str, concept: Concept | None) -> NameSearch:
    """Return the search for a concept's names and id, or for a name alone."""
    if concept is None:
        return NameSearch({name}, frozenset())
    return NameSearch({concept.name, name}, frozenset({concept.id}))


def _delete(session: Session, concept: Concept | None) -> None:
    """Delete a concept, if there is one, from the store."""
    if concept is None:
        return
    had_double = bool(find_same(session.store, session.recogniser_config, concept))
    session.store.forget(concept.name, had_double=had_double)


def _giveaway(store: ConceptStore, sought: NameSearch, concept: Concept | None) -> Callable[[Path], bool]:
    """Whether a path names the concept, or is that of one of its references or of a photo decided about."""
    told = {r.path for r in concept.references} if concept else set()
    told |= {d.path for d in store.decisions.of(concept.id)} if concept else set()
    return lambda path: path.absolute() in told or sought.in_path(path)


def _sidecars(journal: Journal, scrub: Scrub) -> tuple[list[Path], list[Scrubbed]]:
    """Every sidecar that may be ours, JSON sidecars first, because they know old names; and where to look in vain."""
    found = set(journal.sidecars())
    missing: dict[Path, Scrubbed] = {}
    for folder in journal.folders():
        try:
            names = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            top = _topmost_missing(folder)
            missing[top] = Scrubbed(top, ForgetOutcome.FAILED, reason=_NOT_THERE)
        except OSError as err:
            missing[folder] = Scrubbed(folder, ForgetOutcome.FAILED, reason=err.strerror or str(err))
        else:
            found |= {folder / n for n in names if n.lower().endswith((".xmp", JSON_ENDING))}
    namers = [Namer(Naming(style, scrub.folder)) for style in ("auto", "ext", "stem")]
    for file in find_files(scrub.paths):
        beside = {path for photo in (file.path, *file.companions) for path in _beside(photo, namers)}
        if not (beside or os.path.lexists(file.path)):
            missing[file.path] = Scrubbed(file.path, ForgetOutcome.FAILED, reason=_NOT_THERE)
        found |= beside
    return sorted(found, key=lambda p: (not p.name.endswith(JSON_ENDING), os.fsencode(p))), list(missing.values())


def _topmost_missing(folder: Path) -> Path:
    """Return the missing folder nearest to the root, so that a disk is reported once."""
    return next((p for p in reversed(folder.parents) if not p.exists()), folder)


def _beside(photo: Path, namers: Iterable[Namer]) -> Iterator[Path]:
    for namer in namers:
        try:
            paths = namer.find(photo)
        except AmbiguousSidecarsError as err:
            yield from (path.absolute() for path in err.paths)
            continue
        except SidecarError:
            return
        yield from (path.absolute() for path in (paths.xmp, paths.json) if path.is_file())


class _Scrubber:
    """Takes what is ours and about somebody out of sidecars, and removes what killed runs left in their folders."""

    def __init__(self, sought: NameSearch, step: Callable[[], None]) -> None:
        self.looked_at = 0
        self._sought, self._step = sought, step
        self._swept: set[Path] = set()

    def scrub(self, files: Iterable[Path]) -> Iterator[Scrubbed]:
        """Scrub files in their order; tells of those that name somebody, or could not be looked at."""
        for path in files:
            self._step()
            try:
                target = path.resolve()
                self._sweep(target.parent)
                with finish_first():
                    done = self._scrub(path, target)
            except SidecarError as err:
                done = Scrubbed(path, ForgetOutcome.FAILED, reason=str(err))
            except (OSError, RuntimeError) as err:
                done = Scrubbed(path, ForgetOutcome.FAILED, reason=f"{getattr(err, 'strerror', None) or err}")
            if done is not None:
                yield done

    def _sweep(self, folder: Path) -> None:
        if folder not in self._swept:
            self._swept.add(folder)
            remove_leftovers(folder)

    def _scrub(self, path: Path, target: Path) -> Scrubbed | None:
        """Scrub a sidecar; None when there is nothing about them, or it is gone."""
        if not target.is_file():
            return None
        self.looked_at += 1
        sought = self._sought
        for _ in range(_TRIES):
            before = read_bytes(target, LARGEST)
            if path.name.endswith(JSON_ENDING):
                after = None if _names_in_json(before, sought) else before
            else:
                after = _without(before, sought)
            if after == before:
                return Scrubbed(path, ForgetOutcome.KEPT, human=True) if sought.in_data(before) else None
            if read_bytes(target, LARGEST) != before:
                continue
            if after is None:
                remove_file(target)
                return Scrubbed(path, ForgetOutcome.DELETED)
            write_atomically(target, after)
            return Scrubbed(path, ForgetOutcome.CLEANED, human=sought.in_data(after))
        raise SidecarError("another program keeps changing it", hint="Try again.")


def _without(data: bytes, sought: NameSearch) -> bytes | None:
    """Return an XMP sidecar without our words about the concept; None when nothing else was in it.

    Where our block has the concept's id, and none of the names that we know is in it, it was renamed: then all of our
    words go, because we cannot tell which of them are about it.
    """
    from engine.sidecars.merge.removal import remove_content

    if MYVLM.encode() not in data or not sought.in_file(data):  # most sidecars are of other programs alone
        return data
    after = remove_content(data, frozenset(sought.names), sought.ids)
    if sought.ids and after is not None and not sought.in_data(data):
        return remove_content(data)
    return after


def _names_in_json(data: bytes, sought: NameSearch) -> bool:
    """Whether a JSON sidecar of ours names the concept; old names in it are remembered."""
    try:
        document = parse_record(data)
    except SidecarError:
        if sought.in_file(data):
            raise
        return False
    if document is None:
        return sought.in_file(data)
    own = [m.name for m in document.matches if m.concept_id in sought.ids]
    sought.names |= set(own)
    said = [document.caption or "", *map(str, document.notes), *(m.name for m in document.matches)]
    return bool(own) or any(map(sought.in_text, said))
