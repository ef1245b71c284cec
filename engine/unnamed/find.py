"""Find the groups of faces or animals without a name in photos; a list that is known already loads no model.

What was found is kept under a digest of everything that it depends on: the photos, their sidecars, the recogniser, the
concepts, the user's decisions and the ignored groups.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

from engine.captioning.run_key import run_key
from engine.core.types import Kind
from engine.photos.discovery import FoundFile
from engine.session import Session
from engine.sidecars.locate import Naming
from engine.unnamed.groups import Groups
from engine.unnamed.kept import KeptGroups
from engine.unnamed.photo_facts import KnownFacts, PhotoFacts

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


def find_unnamed(
    session: Session,
    photos: Iterable[FoundFile],
    request: GroupRequest,
    *,
    step: Callable[[], None] = lambda: None,
    prepare: Callable[[], None] = lambda: None,
) -> Groups:
    """Group the faces or animals of photos that have no name: the recogniser gives none, and no person gave one.

    Features that are not cached are computed. step: called for each photo that is looked at. prepare: called before, if
    the groups are not known.

    Raises:
        EngineError: missing weights, a full disk.
    """
    files = [f for f in photos if f.kind == "photo"]
    known, kept = KnownFacts(session.folder, request.naming), KeptGroups(session.folder)
    run = run_key(session.folder, _options(session, request))
    facts = [known.find(f) for f in files]
    if all(f is not None for f in facts):
        groups = kept.load(request.kind, _key(run, files, facts))
        if groups is not None:
            return groups
    prepare()
    complete = _scan(session, files, facts, known, request, step)
    from engine.unnamed.collect import PhotoToGroup, group_photos

    scanned = [PhotoToGroup(file.path, f) for file, f in zip(files, complete, strict=True)]
    groups = replace(group_photos(session, scanned, request.kind, request.library), given=request.given)
    run = run_key(session.folder, _options(session, request))  # `prepare` may have calibrated
    kept.save(request.kind, _key(run, files, complete), groups)
    return groups


def _options(session: Session, request: GroupRequest) -> tuple[object, ...]:
    """Return what the groups depend on besides photos and store."""
    config = session.recogniser_config
    models = (config.found_faces_id, config.regions_id, config.group_thresholds(request.kind), session.recognition)
    return (_VERSION, *models, session.choices.decode, request.kind, request.given, request.library)


def _key(run: str, files: Sequence[FoundFile], facts: Sequence[PhotoFacts | None]) -> str:
    """Return the digest under which groups are kept; "" if it cannot be told."""
    if not run:
        return ""
    digest = blake2b(run.encode(), digest_size=16)
    for file, f in zip(files, facts, strict=True):
        digest.update(f"{file.path}\0{f!r}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _scan(
    session: Session,
    files: Sequence[FoundFile],
    facts: Sequence[PhotoFacts | None],
    known: KnownFacts,
    request: GroupRequest,
    step: Callable[[], None],
) -> list[PhotoFacts]:
    """Compute the missing features, and return the facts of all photos; those that were missing are read and kept."""
    from engine.core.types import Status
    from engine.recognition.scan import ScanRequest, scan
    from engine.unnamed.read_facts import read_facts

    looks = [known.look(file) if f is None else None for file, f in zip(files, facts, strict=True)]
    faces = request.kind is Kind.PERSON
    results = {}
    for result in scan(session, files, ScanRequest(faces=faces, regions=not faces)):
        step()
        results[result.path] = result
    scanned = []
    for file in files:
        result = results[file.path]
        failure = (result.reason or "cannot be read") if result.status is Status.FAILED else ""
        scanned.append((file.path, result.content_hash or "", failure))
    missing = [i for i, f in enumerate(facts) if f is None]
    read = dict(zip(missing, read_facts(request.naming, [scanned[i] for i in missing]), strict=True))
    known.keep([looks[i] for i in missing], list(read.values()))
    known.finish()
    return [f if f is not None else read[i] for i, f in enumerate(facts)]
