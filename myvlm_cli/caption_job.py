"""What a `myvlm caption` was asked for: one run over all photos, or more while folders are watched."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from myvlm_cli import options as o
from myvlm_cli.caption_choice import CaptionChoice
from myvlm_cli.caption_concepts import choose_concepts
from myvlm_cli.caption_report import Report
from myvlm_cli.given import Photos
from myvlm_cli.output import out
from myvlm_cli.run_memory import RunKind, RunMemory
from myvlm_cli.sidecar_choice import SidecarChoice

if TYPE_CHECKING:
    from engine.captioning.caption_run import CaptionRequest
    from engine.captioning.pipeline import Prepare
    from engine.captioning.requested_concepts import RequestedConcepts
    from engine.photos.discovery import FoundFile
    from engine.session import Session
    from engine.vlms.prompt_config import Speak
    from myvlm_cli.caption import RunControl


@dataclass(frozen=True)
class CaptionJob:
    """The options of `myvlm caption`, besides its photos. names: of the requested concepts; None for all."""

    names: tuple[str, ...] | None
    concepts: o.ConceptChoice
    run: "RunControl"
    form: CaptionChoice
    sidecars: SidecarChoice
    explain: Path | None
    models: o.DecodingModelChoice
    speak: "Speak | None"
    allow_remote: bool

    def kind(self, photos: Photos) -> RunKind:
        """Return what tells this run from others."""
        options = (self.names, self.concepts.only, self.form, self.sidecars, self.models, self.speak, self.allow_remote)
        return RunKind(
            options=(*options, photos.folder),
            vlm=self.models.vlm,
            naming=self.sidecars.naming,
            about=(photos.are_folders, self.run.dry_run, self.run.limit is not None),
            recalls=not (self.run.force or self.run.verify or self.explain),
            introduces=self.concepts.only or self.models.allow_body,  # warnings that depend on all sidecars
            writes=not self.run.dry_run,
        )

    def request(self, library: Path | None) -> "CaptionRequest":
        """Make the engine's request. library: the folder whose calibration is used."""
        from engine.captioning.caption_run import CaptionRequest

        return CaptionRequest(
            self.concepts.names,
            only=self.concepts.only,
            write=not self.run.dry_run,
            force=self.run.force,
            explain=self.explain,
            naming=self.sidecars.naming,
            sidecars=self.sidecars.content,
            limit=self.run.limit,
            library=library,
            forms=self.form.forms,
        )

    def open_session(self) -> "Session":
        """Open a session with the models that were chosen; see `sessions.open_session`."""
        return self.models.open_session(
            create=not self.run.dry_run, names=self.names, speak=self.speak, allow_remote=self.allow_remote
        )


def caption_all(
    session: "Session",
    photos: Photos,
    rest: "Iterable[FoundFile]",
    job: CaptionJob,
    report: Report,
    memory: RunMemory,
    prepare: "Prepare | None" = None,
    library: Photos | None = None,
    told: set[tuple[str, str]] | None = None,
) -> "RequestedConcepts":
    """Caption photos, and report the result of each; return the concepts that were looked for.

    rest: those that are not reported yet. library: the photos that thresholds are calibrated on, if others. told: what
    was said about concepts before, which is not said again.
    """
    from engine.captioning.caption import caption_photos

    request = job.request(photos.folder)
    report.why_no_vlm = session.models.why_no_vlm
    with out.once(set() if told is None else told):
        concepts, key, lasting = choose_concepts(session, library or photos, request, report, memory)
    unchanged = memory.after_choosing(session.folder, key, report, session.vlm_config.name, lasting)
    with out.progress("captioning", None) as bar:
        photos.count_onto(bar)
        bar.done = sum(report.counts.values())
        for result in caption_photos(session, rest, request, concepts, unchanged, prepare=prepare):
            bar.advance()
            report.add(result)
    return concepts
