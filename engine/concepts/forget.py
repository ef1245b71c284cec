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
from engine.library.update import forget_in_index
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
from engine.store.cache_file import forget_files
from engine.store.concepts import ConceptStore

_TRIES = 3
_NOT_THERE = "not there now: mount it and run the same command again"


class ForgetOutcome(StrEnum):
    """What was done with one sidecar."""

    CLEANED = "cleaned"  # the content that myvlm wrote is removed, the rest stays
    DELETED = "deleted"  # it held only content of myvlm, or is a JSON sidecar of myvlm
    KEPT = "kept"  # only text written by people names the concept
    FAILED = "failed"


@dataclass(frozen=True)
class Scrubbed:
    """A sidecar that named the concept, or a folder of sidecars that is not there or cannot be listed (FAILED).

    human: text that myvlm did not write still names the concept.
    """

    path: Path
    outcome: ForgetOutcome
    human: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Scrub:
    """Which sidecars to search, in addition to those in the folders listed in the journal.

    paths: photos and folders whose sidecars to search; anyway: forget the concept even if some sidecars could not be
    scrubbed, which may then keep its name.
    """

    paths: tuple[Path, ...] = ()
    folder: Path | None = None  # --sidecar-dir
    anyway: bool = False


@dataclass(frozen=True)
class Forgotten:
    """What was deleted.

    known: the name was in the store; otherwise only sidecars were searched. complete: False if a sidecar could not be
    scrubbed; then the concept and the journal stay, so that running the same command again does the rest. looked_at:
    the number of sidecars read.
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
    """Delete a concept: its references, heads and embeddings, the cached features, and its entries in the journal.

    With `scrub`, first remove what myvlm wrote about it from sidecars. That cannot be undone, because a backup would
    keep the name. step: called for each file searched.

    Raises:
        ConceptError: there is no such concept, and no paths to scrub are given.
        StoreLockedError: another run is writing.
    """
    stored = session.store.find(name)
    concept = stored if stored is not None or (scrub and scrub.paths) else session.store.get(name)
    sought, display_name = _name_search(name, concept), concept.name if concept else name
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
        # Delete the concept last: if the process is killed before, the same command does the rest.
        entries = journal.forget(sought.in_file, _identifies(session.store, sought, concept))
        journal.close()
        cached = session.cache.clear()
        _forget_derived(session, sought, concept)
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


def _forget_derived(session: Session, sought: NameSearch, concept: Concept | None) -> None:
    """Remove the concept from the search index, from what is known of files, and from the calibrations."""
    identifies = _identifies(session.store, sought, concept)
    forget_in_index(session.folder, sought, identifies)
    forget_files(session.folder / "cache")
    session.store.calibrations.forget(identifies)


def _name_search(name: str, concept: Concept | None) -> NameSearch:
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


def _identifies(store: ConceptStore, sought: NameSearch, concept: Concept | None) -> Callable[[Path], bool]:
    """Return a test whether a path names the concept, or is a reference or a photo with a decision about it."""
    photos = {r.path for r in concept.references} if concept else set()
    photos |= {d.path for d in store.decisions.of(concept.id)} if concept else set()
    return lambda path: path.absolute() in photos or sought.in_path(path)


def _sidecars(journal: Journal, scrub: Scrub) -> tuple[list[Path], list[Scrubbed]]:
    """Return the sidecars that myvlm may have written, and the places that are missing or cannot be listed.

    JSON sidecars come first, because they can hold former names of the concept.
    """
    sidecars = set(journal.sidecars())
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
            sidecars |= {folder / n for n in names if n.lower().endswith((".xmp", JSON_ENDING))}
    namers = [Namer(Naming(style, scrub.folder)) for style in ("auto", "ext", "stem")]
    for file in find_files(scrub.paths):
        beside = {path for photo in (file.path, *file.companions) for path in _beside(photo, namers)}
        if not (beside or os.path.lexists(file.path)):
            missing[file.path] = Scrubbed(file.path, ForgetOutcome.FAILED, reason=_NOT_THERE)
        sidecars |= beside
    return sorted(sidecars, key=lambda p: (not p.name.endswith(JSON_ENDING), os.fsencode(p))), list(missing.values())


def _topmost_missing(folder: Path) -> Path:
    """Return the missing folder nearest to the root, so that a missing disk is reported once."""
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
    """Remove myvlm's content about a concept from sidecars, and temporary files of killed runs from their folders."""

    def __init__(self, sought: NameSearch, step: Callable[[], None]) -> None:
        self.looked_at = 0
        self._sought, self._step = sought, step
        self._swept: set[Path] = set()

    def scrub(self, files: Iterable[Path]) -> Iterator[Scrubbed]:
        """Scrub files in order; yield those that name the concept or could not be read."""
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
        """Scrub a sidecar; return None if it does not name the concept or no longer exists."""
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
    """Return an XMP sidecar without myvlm's content about the concept; None if it held nothing else.

    If the sidecar has the concept's id but none of the names searched for, the concept was renamed. Then all content
    of myvlm is removed, because the part about the concept cannot be determined.
    """
    from engine.sidecars.merge.removal import remove_content

    if MYVLM.encode() not in data or not sought.in_file(data):  # most sidecars hold content of other programs only
        return data
    after = remove_content(data, frozenset(sought.names), sought.ids)
    if sought.ids and after is not None and not sought.in_data(data):
        return remove_content(data)
    return after


def _names_in_json(data: bytes, sought: NameSearch) -> bool:
    """Return whether a JSON sidecar of myvlm names the concept; add former names in it to `sought`."""
    try:
        document = parse_record(data)
    except SidecarError:
        if sought.in_file(data):
            raise
        return False
    if document is None:
        return sought.in_file(data)
    concept_names = [m.name for m in document.matches if m.concept_id in sought.ids]
    sought.names |= set(concept_names)
    texts = [document.caption or "", *map(str, document.notes), *(m.name for m in document.matches)]
    return bool(concept_names) or any(map(sought.in_text, texts))
