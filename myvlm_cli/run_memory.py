"""What `myvlm caption` remembers of its last run of the same kind, so that it reads only what changed since."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from myvlm_cli.given import Photos, tell_tally
from myvlm_cli.output import out

if TYPE_CHECKING:
    from engine.captioning.unchanged import UnchangedPhotos
    from engine.photos.discovery import FoundFile
    from engine.sidecars.locate import Naming
    from myvlm_cli.caption_report import Report

_FEW = 20_000
"""Files of which at most are held, so that folders are not searched a second time; each takes about 0.5 kB."""


@dataclass(frozen=True)
class RunKind:
    """What tells one kind of run from others.

    options: those on which results depend. vlm: the option, which may be a folder. about: what decides besides what the
    run says before its first photo. recalls: False for a run that reads every photo. introduces: whether it says
    something before its first photo that is not kept. writes: whether it writes sidecars.
    """

    options: Sequence[object]
    vlm: str | None
    naming: "Naming"
    about: Sequence[object]
    recalls: bool
    introduces: bool
    writes: bool


@dataclass(frozen=True)
class Told:
    """What a run said before its first photo, and the numbers of photos with which it would say it again."""

    messages: Sequence[tuple[str, str]]
    numbers: range


class RunMemory:
    """The memory of one kind of run."""

    def __init__(self, kind: RunKind, photos: Photos) -> None:
        """Use the memory of a kind of runs."""
        self._kind = kind
        self.search = photos  # whose tally the run fills
        self.told: set[tuple[str, str]] = set()  # what was said about concepts, if all photos are unchanged

    def key(self, folder: Path) -> str:
        """Return the digest of what results depend on now beside the files."""
        from engine.captioning.run_key import run_key

        return run_key(folder, self._kind.options, self._kind.vlm)

    def current_key(self) -> str:
        """Return the key of the data folder in use."""
        from engine.core.paths import home

        return self.key(home())

    def open(self, folder: Path, key: str) -> "UnchangedPhotos":
        """Open what runs with this key know."""
        from engine.captioning.unchanged import UnchangedPhotos

        return UnchangedPhotos(folder, key, self._kind.naming, recalls=self._kind.recalls)

    def tell_unchanged(self, report: "Report", *, whole: bool) -> "Iterable[FoundFile] | None":
        """Report the photos up to the first that is not known to be unchanged; return it and those after it.

        None if all photos are unchanged: the whole run is reported then. whole: whether no limit ends the search.
        """
        from engine.core.paths import home
        from engine.library.index import FILE

        if not (self._kind.recalls and self._kind.writes) or self._kind.introduces or not (home() / FILE).exists():
            return self.search  # without a search index, known photos are indexed by the run itself
        unchanged = self.open(home(), self.key(home()))
        facts = unchanged.facts(*self._kind.about)
        if facts is None:
            return self.search
        self.search = self.search.apart()
        files = self._count(range(*facts["numbers"]))
        if files is None:
            return self.search
        report.untrained = set(facts["untrained"])
        known, rest = unchanged.split(files)
        for results in known:
            for result in results:
                report.add(result)
        unchanged.finish()
        first = next(iter(rest), None)
        if first is not None:
            return chain([first], rest)
        self.told = {(method, text) for method, text in facts["told"]}
        out.repeat(facts["told"])
        report.finish(facts["vlm"])
        if whole:
            tell_tally(self.search)
        return None

    def _count(self, numbers: range) -> "Iterable[FoundFile] | None":
        """Return the files; None if their photos are of another number, so that more has to be said or done."""
        from myvlm_cli.calibration import ANY_NUMBER

        if numbers == ANY_NUMBER:
            return self.search
        files = iter(self.search)
        first = list(islice(files, _FEW + 1))
        stills = sum(f.kind == "photo" for f in first)
        if len(first) > _FEW:
            stills += sum(f.kind == "photo" for f in files)
        if stills not in numbers:
            return None
        return first if len(first) <= _FEW else self.search

    def after_choosing(
        self, folder: Path, key: str, report: "Report", vlm: str, told: Told | None
    ) -> "UnchangedPhotos":
        """Return the memory for a run that begins, with what all runs of its kind say.

        key: from before its concepts were read. told: None if another run may have to say something else.
        """
        unchanged = self.open(folder, key)
        if told is not None and self._kind.writes:
            facts = {"untrained": sorted(report.untrained), "vlm": vlm, "told": list(told.messages)}
            numbers = [told.numbers.start, told.numbers.stop]
            unchanged.save_facts(facts | {"numbers": numbers}, *self._kind.about)
        return unchanged
