"""What `myvlm caption` remembers of its last run of the same kind, so that it reads only what changed since."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from myvlm_cli.given import Photos, tell_tally
from myvlm_cli.output import out

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.captioning.unchanged import UnchangedPhotos
    from engine.photos.discovery import FoundFile
    from myvlm_cli.caption_report import Report


class RunMemory:
    """The memory of one kind of run, which its options tell from others."""

    def __init__(self, options: Sequence[object], photos: Photos, *, usable: bool) -> None:
        """Use the memory of runs with these options. usable: False for a run that reads every photo."""
        self._options, self._usable = options, usable
        self.search = photos  # whose tally the run fills

    def _open(self, folder: Path) -> "UnchangedPhotos":
        from engine.captioning.run_key import run_key
        from engine.captioning.unchanged import UnchangedPhotos

        return UnchangedPhotos(folder, run_key(folder, self._options))

    def tell_unchanged(self, report: "Report", *, whole: bool) -> "Iterable[FoundFile] | None":
        """Report the photos up to the first that is not known to be unchanged; return it and those after it.

        None if all photos are unchanged: the whole run is reported then. whole: whether no limit ends the search.
        """
        from engine.core.paths import home

        if not self._usable:
            return self.search
        unchanged = self._open(home())
        facts = unchanged.facts
        if facts is None:
            return self.search
        report.untrained = set(facts["untrained"])
        self.search = self.search.apart()
        known, rest = unchanged.split(self.search)
        for results in known:
            for result in results:
                report.add(result)
        first = next(iter(rest), None)
        if first is not None:
            return chain([first], rest)
        for how, text in facts["told"]:
            getattr(out, how)(text)
        report.finish(facts["vlm"])
        if whole:
            tell_tally(self.search)
        return None

    def after_choosing(
        self, folder: Path, report: "Report", vlm: str, told: Sequence[tuple[str, str]]
    ) -> "UnchangedPhotos | None":
        """Return the memory for a run that begins, with what all runs of its kind say.

        It is another one than before, where the run has calibrated since.
        """
        if not self._usable:
            return None
        unchanged = self._open(folder)
        unchanged.save_facts({"untrained": sorted(report.untrained), "vlm": vlm, "told": list(told)})
        return unchanged
