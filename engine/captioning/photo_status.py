"""The status of sidecars, known from an earlier run where nothing changed since; loads nothing heavy."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.captioning.context import CaptionForms
from engine.captioning.unchanged import Look, UnchangedFiles
from engine.photos.discovery import FoundFile
from engine.sidecars.locate import Naming


class SidecarState(StrEnum):
    """The state of a photo's sidecars."""

    NEW = "new"  # never captioned
    CURRENT = "current"  # up to date
    STALE = "stale"  # photo, concepts, VLM or prompts changed since
    DROPPED = "dropped"  # another program dropped what myvlm wrote; the next run puts it back
    EDITED = "edited"  # the user edited the description; it stays, and names are kept up to date
    FAILED = "failed"  # photo or sidecar cannot be read


@dataclass(frozen=True)
class PhotoStatus:
    """The state of one photo's sidecars, and the reason. run: the run that wrote its XMP sidecar."""

    path: Path
    state: SidecarState
    reason: str = ""
    caption: str | None = None
    sidecar: Path | None = None
    run: str = ""
    notes: tuple[str, ...] = ()


_KEPT = frozenset({SidecarState.NEW, SidecarState.CURRENT, SidecarState.DROPPED, SidecarState.EDITED})
"""States that hold until a file, the store or an option changes. Whether a photo is stale also depends on the cache of
features, and one that failed is tried again."""


@dataclass(frozen=True)
class StatusRequest:
    """What the status of sidecars is compared with.

    names: the requested concepts, as for captioning. library: the folder whose calibration to use. forms: of captions
    that are up to date. verify: read and hash all photos.
    """

    names: tuple[str, ...] | None = None
    naming: Naming = Naming()
    library: Path | None = None
    forms: CaptionForms = CaptionForms()
    verify: bool = False


class UnchangedStatus(UnchangedFiles):
    """Photos of which the status is known."""

    def __init__(self, folder: Path, key: str, request: StatusRequest) -> None:
        """Use the data folder; see `UnchangedFiles`."""
        super().__init__(folder, key, request.naming, "status", recalls=not request.verify)

    def statuses(self, file: FoundFile) -> list[PhotoStatus] | None:
        """Return the statuses of an unchanged photo and its raw companions; None for any other."""
        text, paths = self.find(file), (file.path, *file.companions)
        return None if text is None else [_decode(path, row) for path, row in zip(paths, json.loads(text), strict=True)]

    def keep_statuses(self, found: Iterable[tuple[Look, Sequence[PhotoStatus]]]) -> None:
        """Keep the statuses of photos and their companions, of those that hold until something changes."""
        lasting = ((look, own) for look, own in found if all(s.state in _KEPT for s in own))
        self.keep((look, json.dumps([_encode(s, look.file.path.parent) for s in own])) for look, own in lasting)


def _encode(status: PhotoStatus, folder: Path) -> list[object]:
    sidecar = status.sidecar
    place = None if sidecar is None else sidecar.name if sidecar.parent == folder else os.fspath(sidecar)
    return [status.state, status.reason, status.caption, place, status.run, status.notes]


def _decode(path: Path, row: list[str]) -> PhotoStatus:
    state, reason, caption, sidecar, run, notes = row
    place = path.parent / sidecar if sidecar else None
    return PhotoStatus(path, SidecarState(state), reason, caption, place, run, tuple(notes))
