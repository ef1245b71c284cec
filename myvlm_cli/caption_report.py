"""What `myvlm caption` prints: one line per photo that changed, then a summary."""

from collections import Counter
from dataclasses import dataclass, field
from shlex import quote
from typing import TYPE_CHECKING

from engine.core.notes import KEPT_DESCRIPTION_NOTES, NoteCode, SkipReason
from engine.core.types import Status
from myvlm_cli.explanation import describe_explanation
from myvlm_cli.given import NO_PHOTOS
from myvlm_cli.options import OutputChoice
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.words import count, listed

if TYPE_CHECKING:
    from engine.captioning.results import PhotoResult
    from engine.recognition.displaced import DisplacedConcept

_NAMES_ONLY = "writing names only (keywords, people, JSON), no descriptions. For descriptions, run: myvlm setup"
_WORDS = {Status.UNCHANGED: "up to date", Status.DRY_RUN: "would change"}


@dataclass
class Report:
    """Prints the results of a run, and counts them for the summary.

    why_no_vlm: why photos get names only, as a clause; "" if there is a VLM, or the user asked for none. untrained: ids
    of the concepts that the VLM has not learned; unmentioned: the names of those among them that are in described
    photos. videos, live_halves: skipped files; conflicts: photos with more than one XMP sidecar; kept: descriptions
    that myvlm did not write; names_only: photos without a caption, unnamed: those among them without a name, too;
    removed: captions that were removed. cut: captions at whose token limit the VLM was not finished. warned: whether
    the user was told of `why_no_vlm`.
    """

    output: OutputChoice
    show_all: bool = False
    why_no_vlm: str = ""
    untrained: set[str] = field(default_factory=set)
    unmentioned: set[str] = field(default_factory=set)
    counts: Counter[Status] = field(default_factory=Counter)
    videos: int = 0
    live_halves: int = 0
    conflicts: int = 0
    kept: int = 0
    names_only: int = 0
    unnamed: int = 0
    removed: int = 0
    cut: int = 0
    unindexed: int = 0
    warned: bool = False
    displaced: "list[DisplacedConcept]" = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)

    def add(self, result: "PhotoResult") -> None:
        """Count and print one result."""
        self._count(result)
        self._count_extras(result)
        if self.output.json:
            self.documents.append(describe_result(result))
        elif self.output.jsonl:
            out.json_line(describe_result(result))
        elif self.show_all or result.status is not Status.UNCHANGED:
            self._print(result)
        if result.status is Status.FAILED:
            out.say(f"failed: {result.reason}")
        for note in result.notes:
            out.detail(f"{path_text(result.path)}: {note}")

    def _print(self, result: "PhotoResult") -> None:
        names = ", ".join(m.name for m in result.matches)
        text = result.caption or names or ("nothing recognised" if self.show_all else "")
        if text and result.status not in (Status.FAILED, Status.SKIPPED):
            out.text(f"{path_text(result.path)}: {text}")
        for change in result.changes if result.status is Status.DRY_RUN else ():
            if not change.property.startswith("myvlm:") or out.settings.verbose:
                out.text(f"  {change.property}: {change.before!r} -> {change.after!r}")

    def _count(self, result: "PhotoResult") -> None:

        self.counts[result.status] += 1
        self.videos += result.skip in (SkipReason.VIDEO, SkipReason.LIVE_PHOTO_VIDEO)
        self.live_halves += result.skip is SkipReason.LIVE_PHOTO_VIDEO
        conflicts = [note for note in result.notes if note.code is NoteCode.TWO_SIDECARS]
        if conflicts and not self.conflicts:
            out.warn(f"{path_text(result.path)}: {conflicts[0]} (shown once; -v shows it for every photo)")
        self.conflicts += bool(conflicts)
        unindexed = [note for note in result.notes if note.code is NoteCode.NOT_INDEXED]
        if unindexed and not self.unindexed:
            out.warn(f"{unindexed[0]} (shown once; myvlm search --reindex FOLDER reads the sidecars)")
        self.unindexed += bool(unindexed)
        if result.status is not Status.UNCHANGED:
            self.cut += any(note.code is NoteCode.CUT_SHORT for note in result.notes)
            self.kept += any(note.code in KEPT_DESCRIPTION_NOTES for note in result.notes)
        if result.caption is not None:
            self.unmentioned |= {m.name for m in result.matches if m.concept_id in self.untrained}
        elif result.status in (Status.OK, Status.DRY_RUN, Status.UNCHANGED):
            self._count_names_only(result)

    def _count_names_only(self, result: "PhotoResult") -> None:
        if self.why_no_vlm and not self.warned and result.status is not Status.UNCHANGED:
            out.warn(f"{self.why_no_vlm}: {_NAMES_ONLY}")
            self.warned = True
        self.names_only += 1
        self.unnamed += not result.matches

    def _count_extras(self, result: "PhotoResult") -> None:
        self.displaced += result.displaced
        if result.removed is not None:
            self.removed += 1
            out.detail(f"{path_text(result.path)}: removed the caption {result.removed!r}")

    def finish(self, vlm: str) -> None:
        """Print the JSON document, if the user asked for it, and the summary. vlm: the name of the VLM in use."""
        if self.output.json:
            out.json_document({"photos": self.documents, "summary": {str(s): n for s, n in self.counts.items()}})
        if not self.counts:
            out.say(NO_PHOTOS)
            return
        self._tell_counts()
        self._tell_names_only()
        if self.displaced:
            from engine.recognition.displaced import displaced_words  # loads numpy

            for line in displaced_words(self.displaced):
                out.warn(line)
        if self.unmentioned:
            names = sorted(self.unmentioned, key=str.casefold)
            out.say(
                f"not trained yet for {vlm}, so written as keywords but not mentioned in sentences: {listed(names)}."
                f" Run: myvlm train {' '.join(map(quote, names))}"
            )
        if self.cut:
            out.say(f"{count(self.cut, 'caption')} reached the token limit; unfinished ends were left out")
        if self.kept:
            out.say(f"Kept {count(self.kept, 'description')} that myvlm did not write (-v lists them)")

    def next(self) -> "Report":
        """Return the report of the next batch of photos: what is said once was said."""
        names = ("why_no_vlm", "warned", "conflicts", "unindexed")
        said = {name: getattr(self, name) for name in names}
        return Report(self.output, self.show_all, untrained=set(self.untrained), **said)

    def finish_batch(self, moment: str) -> None:
        """Print one line about a batch of photos that arrived, if anything came of it. moment: when it ended."""
        if self.displaced:
            from engine.recognition.displaced import displaced_words  # loads numpy

            for line in displaced_words(self.displaced):
                out.warn(line)
        counts = self.counts - Counter({Status.SKIPPED: self.videos})
        tell = out.detail if set(counts) <= {Status.UNCHANGED} else out.say
        if counts:
            tell(f"{moment}: {self._counted(counts)}")

    def _counted(self, counts: Counter[Status]) -> str:
        return ", ".join(f"{n:,} {_WORDS.get(status, status)}" for status, n in sorted(counts.items()))

    def _tell_counts(self) -> None:
        if self.videos:
            live = f", {self.live_halves} of them parts of Live Photos" if self.live_halves else ""
            out.say(f"{count(self.videos, 'video')} skipped{live}")
        counts = self.counts - Counter({Status.SKIPPED: self.videos})
        if set(counts) == {Status.UNCHANGED}:
            out.say(f"Nothing to do: {count(counts[Status.UNCHANGED], 'photo')} up to date.")
        elif counts:
            out.say(self._counted(counts))

    def _tell_names_only(self) -> None:
        if self.names_only:
            named = self.names_only - self.unnamed
            out.say(f"Names only: {count(named, 'photo')} with names, {self.unnamed:,} with nothing recognised")
        if self.removed:
            out.say(
                f"Removed {count(self.removed, 'caption')} of earlier runs: they are no longer correct, and no VLM here"
                " can write new ones (-v lists them; myvlm undo restores them)"
            )


def describe_result(result: "PhotoResult") -> Document:
    """Return a photo's result as JSON."""
    from engine.sidecars.json_sidecar import describe_match

    explanations = {w.concept.id: {"why": describe_explanation(w)} for w in result.explanations}
    return {
        "file": path_text(result.path),
        "status": str(result.status),
        "caption": result.caption,
        "concepts": [describe_match(m) | explanations.get(m.concept_id, {}) for m in result.matches],
        "sidecar": path_text(result.sidecars[0]) if result.sidecars else None,
        "changes": [{"property": c.property, "before": c.before, "after": c.after} for c in result.changes],
        "pictures": [path_text(p) for p in result.pictures],
        "taken": result.facts.taken if result.facts else None,
        "reason": result.reason,
        "notes": [str(n) for n in result.notes],
        "seconds": round(result.seconds, 3),
    }
