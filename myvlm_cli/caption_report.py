"""What `myvlm caption` prints: one line a photo that changed, then a summary."""

from dataclasses import dataclass, field
from shlex import quote
from typing import TYPE_CHECKING, Any

from myvlm_cli.output import out, path_text
from myvlm_cli.show import describe_why
from myvlm_cli.words import count, listed

if TYPE_CHECKING:
    from engine.core.types import PhotoResult
    from engine.recognition.displaced import DisplacedConcept

NO_VLM_FOR_PHOTOS = (
    "no VLM for real photos is on this machine: writing names only (keywords, people, JSON), no descriptions."
    " To choose one: myvlm models"
)
_WORDS = {"unchanged": "up to date", "dry-run": "would change"}


@dataclass
class Report:
    """What was printed, and how many photos came to what.

    has_vlm: False where the user asked for names only. untrained: ids of the concepts that the VLM has not learned;
    unmentioned: the names of those among them that are in described photos.
    """

    json: bool
    jsonl: bool
    show_all: bool = False
    has_vlm: bool = True
    untrained: set[str] = field(default_factory=set)
    unmentioned: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    videos: int = 0
    live: int = 0
    both: int = 0
    kept: int = 0
    names_only: int = 0
    nobody: int = 0
    removed: int = 0
    told: bool = False
    displaced: "list[DisplacedConcept]" = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)

    def add(self, result: "PhotoResult") -> None:
        """Print one result."""
        self._count(result)
        document = describe_result(result)
        if self.json:
            self.documents.append(document)
        elif self.jsonl:
            out.json_line(document)
        elif self.show_all or result.status != "unchanged":
            self._print(document)
        if result.status == "failed":
            out.say(f"failed: {result.reason}")
        for note in result.notes:
            out.detail(f"{document['file']}: {note}")

    def _print(self, document: dict[str, Any]) -> None:
        names = ", ".join(c["name"] for c in document["concepts"])
        text = document["caption"] or names or ("nobody recognised" if self.show_all else "")
        if text and document["status"] not in ("failed", "skipped"):
            out.text(f"{document['file']}: {text}")
        for change in document["changes"] if document["status"] == "dry-run" else ():
            if not change["property"].startswith("myvlm:") or out.settings.verbose:
                out.text(f"  {change['property']}: {change['before']!r} -> {change['after']!r}")

    def _count(self, result: "PhotoResult") -> None:
        from engine.captioning.caption import LIVE_HALF, VIDEO
        from engine.core.notes import KEPT_DESCRIPTION_NOTES, NoteCode

        self.counts[result.status] = self.counts.get(result.status, 0) + 1
        self.videos += result.reason in (VIDEO, LIVE_HALF)
        self.live += result.reason == LIVE_HALF
        both = [note for note in result.notes if note.code is NoteCode.TWO_SIDECARS]
        if both and not self.both:
            out.warn(f"{path_text(result.path)}: {both[0]} (said once; -v says it of every photo)")
        self.both += bool(both)
        if result.status != "unchanged":
            self.kept += any(note.code in KEPT_DESCRIPTION_NOTES for note in result.notes)
        if result.caption is None and result.status in ("ok", "dry-run", "unchanged"):
            if self.has_vlm and not self.told and result.status != "unchanged":
                out.warn(NO_VLM_FOR_PHOTOS)
                self.told = True
            self.names_only += 1
            self.nobody += not result.matches
        elif result.caption is not None:
            self.unmentioned |= {m.name for m in result.matches if m.concept_id in self.untrained}
        self.displaced += getattr(result, "displaced", ())
        if getattr(result, "removed", None) is not None:
            self.removed += 1
            out.detail(f"{path_text(result.path)}: removed the caption {result.removed!r}")

    def summarise(self, vlm: str) -> None:
        """Say how many photos came to what, and what the VLM in use has to learn."""
        if not self.counts:
            out.say("No photos found.")
            return
        counts = dict(self.counts)
        if self.videos:
            counts["skipped"] -= self.videos
            live = f", {self.live} of them halves of Live Photos" if self.live else ""
            out.say(f"{count(self.videos, 'video')} skipped{live}")
        counts = {status: n for status, n in counts.items() if n}
        if set(counts) == {"unchanged"}:
            out.say(f"Nothing to do: {count(counts['unchanged'], 'photo')} up to date.")
        elif counts:
            out.say(", ".join(f"{n:,} {_WORDS.get(status, status)}" for status, n in sorted(counts.items())))
        if self.names_only:
            named = self.names_only - self.nobody
            out.say(f"Names only: {count(named, 'photo')} with names, {self.nobody:,} with nobody recognised")
        if self.removed:
            out.say(
                f"{count(self.removed, 'caption')} of an earlier run removed: they do not hold, and no VLM could"
                " write another (-v lists them; myvlm undo brings them back)"
            )
        for line in self._displaced_lines():
            out.warn(line)
        if self.unmentioned:
            names = sorted(self.unmentioned, key=str.casefold)
            out.say(
                f"not trained yet for {vlm}, so written as keywords but not mentioned in sentences: {listed(names)}."
                f" Run: myvlm train {' '.join(map(quote, names))}"
            )
        if self.kept:
            out.say(f"Kept {count(self.kept, 'description')} that myvlm did not write (-v lists them)")

    def _displaced_lines(self) -> tuple[str, ...]:
        from engine.recognition.displaced import displaced_words

        return displaced_words(self.displaced)


def describe_result(result: Any) -> dict[str, Any]:
    """A photo's result as plain data."""
    from engine.sidecars.json_sidecar import describe_match

    whys = {w.concept.id: {"why": describe_why(w)} for w in getattr(result, "whys", ())}
    return {
        "file": path_text(result.path),
        "status": str(result.status),
        "caption": result.caption,
        "concepts": [describe_match(m) | whys.get(m.concept_id, {}) for m in result.matches],
        "sidecar": path_text(result.sidecars[0]) if result.sidecars else None,
        "changes": [
            {"property": c.property, "before": c.before, "after": c.after} for c in getattr(result, "changes", ())
        ],
        "pictures": [path_text(p) for p in getattr(result, "pictures", ())],
        "taken": result.facts.taken if result.facts else None,
        "reason": result.reason,
        "notes": [str(n) for n in result.notes],
        "seconds": round(result.seconds, 3),
    }
