"""`myvlm scan`."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from myvlm_cli import options as o
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.output import out, path_text
from myvlm_cli.words import count

Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", min=1, help="Scan at most this many; what was scanned before does not count.", show_default=False
    ),
]
FacesOnly = Annotated[bool, typer.Option("--faces-only", help="Only faces: enough for people, and much faster.")]
RegionsOnly = Annotated[
    bool, typer.Option("--regions-only", help="No faces: enough for pets and things, and needs no face pack.")
]


def scan(
    paths: o.Paths = None,  # type: ignore[assignment]
    files_from: o.FilesFrom = None,
    null: o.Null = False,
    include: o.Include = None,
    exclude: o.Exclude = None,
    since: o.Since = None,
    until: o.Until = None,
    limit: Limit = None,
    faces_only: FacesOnly = False,
    regions_only: RegionsOnly = False,
    vlm: o.Vlm = None,
    recogniser: o.Recogniser = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    json: o.Json = False,
    jsonl: o.JsonLines = False,
) -> None:
    """Index photos, so that new concepts are found without reading them again.

    Nothing is written beside the photos. You can stop it at any time: the next scan continues where this one stopped.

    Example: myvlm scan ~/Pictures
    """
    from engine.recognition.scan import ScanRequest
    from engine.recognition.scan import scan as look

    _check(everything_excluded=faces_only and regions_only)
    request = ScanRequest(faces=not regions_only, regions=not faces_only, limit=limit)
    photos = o.find_photos(paths, files_from, null=null, selection=o.make_selection(include, exclude, since, until))
    session = o.open_session(vlm, recogniser, device, dtype)
    o.warn_of_slow_faces(session, people=request.faces)
    report = _Report(json=json, jsonl=jsonl)
    with out.progress("scanning", None) as bar:
        photos.count_onto(bar)
        for result in look(session, photos, request):
            bar.advance()
            report.add(result)
    report.finish()
    o.tell_tally(photos)
    raise typer.Exit(SOME_FAILED if report.counts["failed"] else OK)


def _check(*, everything_excluded: bool) -> None:
    from engine.core.errors import UsageError

    if everything_excluded:
        raise UsageError("--faces-only and --regions-only exclude each other", hint="Without either, both are found.")


@dataclass
class _Report:
    """What was printed, and how many photos came to what."""

    json: bool
    jsonl: bool
    counts: Counter[str] = field(default_factory=Counter)
    videos: int = 0
    documents: list[dict[str, Any]] = field(default_factory=list)

    def add(self, result: Any) -> None:
        """Print one result."""
        from engine.captioning.caption import LIVE_HALF, VIDEO

        self.counts[result.status] += 1
        self.videos += result.reason in (VIDEO, LIVE_HALF)
        document = {
            "file": path_text(result.path),
            "status": str(result.status),
            "faces": result.faces,
            "regions": result.regions,
            "reason": result.reason,
            "seconds": round(result.seconds, 3),
        }
        if self.json:
            self.documents.append(document)
        elif self.jsonl:
            out.json_line(document)
        if result.status == "failed":
            out.say(f"failed: {result.reason}")
        elif result.status == "ok":
            counts = ((result.faces, "faces"), (result.regions, "regions"))
            out.detail(f"{document['file']}: {', '.join(f'{n} {what}' for n, what in counts if n is not None)}")
        else:
            out.detail(f"{document['file']}: {result.reason}")

    def finish(self) -> None:
        """Print what is printed once."""
        if self.json:
            out.json_document({"photos": self.documents, "summary": dict(self.counts)})
        if not self.counts:
            out.say("No photos found.")
            return
        if self.videos:
            out.say(f"{self.videos} videos skipped")
        told = self.counts - Counter(skipped=self.videos)
        if set(told) == {"unchanged"}:
            out.say(f"Nothing to do: {count(told['unchanged'], 'photo')} indexed already.")
        elif told:
            out.say(", ".join(f"{n} {status}" for status, n in sorted(told.items())))
