"""`myvlm scan`."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from engine.core.notes import SkipReason
from engine.core.types import Status
from myvlm_cli import options as o
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.given import NO_PHOTOS, Photos, tell_tally
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.parameters import Without
from myvlm_cli.sessions import warn_of_slow_faces
from myvlm_cli.words import count
from myvlm_cli.workers import WorkerChoice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.cluster.options import ClusterOptions
    from engine.recognition.scan import ScanRequest, ScanResult
    from engine.session import Session


@dataclass(frozen=True)
class ScanChoice:
    """How many photos to scan at most, and for what."""

    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            help="Scan at most this many photos, not counting those scanned before.",
            show_default=False,
        ),
    ] = None
    faces_only: Annotated[
        bool, typer.Option("--faces-only", help="Find only faces: enough for people, and much faster.")
    ] = False
    regions_only: Annotated[
        bool,
        typer.Option("--regions-only", help="Find no faces: enough for pets and things, and needs no face models."),
    ] = False
    verify: o.Verify = False

    @property
    def request(self) -> "ScanRequest":
        """The engine's request.

        Raises:
            UsageError: --faces-only and --regions-only leave nothing to find.
        """
        from engine.recognition.scan import ScanRequest

        if self.faces_only and self.regions_only:
            raise UsageError(
                "--faces-only and --regions-only exclude each other", hint="Without either, both are found."
            )
        return ScanRequest(
            faces=not self.regions_only, regions=not self.faces_only, limit=self.limit, verify=self.verify
        )


def scan(
    *,
    photos: o.PhotoSelection,
    choice: ScanChoice,
    models: Annotated[o.DecodingModelChoice, Without("heads", "allow_body", "quantise")],
    workers: WorkerChoice,
    output: o.OutputChoice,
) -> None:
    """Index photos, so that new concepts are found without reading them again.

    Nothing is written beside the photos. You can stop it at any time: the next scan continues where this one stopped.

    Example: myvlm scan ~/Pictures
    """
    request = choice.request
    files = photos.find()
    cluster = workers.open()
    session = models.open_session()
    warn_of_slow_faces(session, people=request.faces)
    report = _Report(output)
    with out.progress("scanning", None) as bar:
        files.count_onto(bar)
        for result in _scan(session, files, request, cluster):
            bar.advance()
            report.add(result)
    report.finish()
    tell_tally(files)
    raise typer.Exit(SOME_FAILED if report.counts[Status.FAILED] else OK)


def _scan(
    session: "Session", files: Photos, request: "ScanRequest", cluster: "ClusterOptions | None"
) -> "Iterator[ScanResult]":
    """Scan in this process, or with workers."""
    if cluster is None:
        from engine.recognition.scan import scan as scan_photos

        return scan_photos(session, files, request)
    from engine.cluster.scan import scan_on

    return scan_on(session, files, request, cluster)


@dataclass
class _Report:
    """Prints the results of a scan, and counts them for the summary."""

    output: o.OutputChoice
    counts: Counter[Status] = field(default_factory=Counter)
    videos: int = 0
    documents: list[Document] = field(default_factory=list)

    def add(self, result: "ScanResult") -> None:
        """Count and print one result."""
        self.counts[result.status] += 1
        self.videos += result.skip in (SkipReason.VIDEO, SkipReason.LIVE_PHOTO_VIDEO)
        if self.output.json:
            self.documents.append(_describe(result))
        elif self.output.jsonl:
            out.json_line(_describe(result))
        file = path_text(result.path)
        if result.status is Status.FAILED:
            out.say(f"failed: {result.reason}")
        elif result.status is Status.OK:
            counts = ((result.faces, "faces"), (result.regions, "regions"))
            out.detail(f"{file}: {', '.join(f'{n} {what}' for n, what in counts if n is not None)}")
        else:
            out.detail(f"{file}: {result.reason}")

    def finish(self) -> None:
        """Print the JSON document, if the user asked for it, and the summary."""
        if self.output.json:
            out.json_document({"photos": self.documents, "summary": {str(s): n for s, n in self.counts.items()}})
        if not self.counts:
            out.say(NO_PHOTOS)
            return
        if self.videos:
            out.say(f"{count(self.videos, 'video')} skipped")
        counts = self.counts - Counter({Status.SKIPPED: self.videos})
        if set(counts) == {Status.UNCHANGED}:
            out.say(f"Nothing to do: {count(counts[Status.UNCHANGED], 'photo')} indexed already.")
        elif counts:
            out.say(", ".join(f"{n:,} {status}" for status, n in sorted(counts.items())))


def _describe(result: "ScanResult") -> Document:
    return {
        "file": path_text(result.path),
        "status": str(result.status),
        "faces": result.faces,
        "regions": result.regions,
        "reason": result.reason,
        "seconds": round(result.seconds, 3),
    }
