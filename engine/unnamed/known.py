"""Look up the groups that were found in photos before: nothing is loaded but what was kept.

What was found is kept under a digest of everything that it depends on: the photos, their sidecars, the recogniser, the
concepts, the user's decisions and the ignored groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from engine.captioning.run_key import run_key
from engine.core.types import Kind, RecognitionOptions
from engine.photos.discovery import FoundFile
from engine.sidecars.locate import Naming
from engine.unnamed.groups import Groups
from engine.unnamed.kept import KeptGroups
from engine.unnamed.photo_facts import KnownFacts, PhotoFacts
from engine.vision.config import RecogniserConfig

_VERSION = 1
"""Version of how groups are made: with another one they are made anew."""


@dataclass(frozen=True)
class GroupRequest:
    """What to group.

    kind: PERSON for faces, PET for animals. given: the paths that the photos are from. library: the folder whose
    calibration to use. naming: how sidecars are called.
    """

    kind: Kind = Kind.PERSON
    given: tuple[Path, ...] = ()
    library: Path | None = None
    naming: Naming = Naming()


@dataclass(frozen=True)
class GroupingModels:
    """The recogniser in use, how it recognises concepts, and how photos are decoded for it."""

    config: RecogniserConfig
    recognition: RecognitionOptions = RecognitionOptions()
    decode: str = "scaled"


def known_groups(
    folder: Path, models: GroupingModels, files: Sequence[FoundFile], request: GroupRequest
) -> Groups | None:
    """Return what was found in these photos, if nothing changed since; None if that is not known.

    folder: the data folder. files: photos, without videos.
    """
    known = KnownFacts(folder, request.naming)
    facts = []
    for file in files:
        found = known.find(file)
        if found is None:
            return None
        facts.append(found)
    return KeptGroups(folder).load(request.kind, groups_key(folder, models, files, facts, request))


def groups_key(
    folder: Path,
    models: GroupingModels,
    files: Sequence[FoundFile],
    facts: Sequence[PhotoFacts],
    request: GroupRequest,
) -> str:
    """Return the digest under which groups are kept; "" if it cannot be told."""
    config = models.config
    ids = (config.found_faces_id, config.regions_id, config.group_thresholds(request.kind))
    about = (_VERSION, *ids, models.recognition, models.decode, request.kind, request.given, request.library)
    run = run_key(folder, about)
    if not run:
        return ""
    digest = blake2b(run.encode(), digest_size=16)
    for file, f in zip(files, facts, strict=True):
        digest.update(f"{file.path}\0{f!r}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
