"""Find the groups of faces or animals without a name in photos; a list that is known already loads no model."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from engine.core.types import Kind
from engine.photos.discovery import FoundFile
from engine.session import Session
from engine.unnamed.groups import Groups
from engine.unnamed.kept import KeptGroups
from engine.unnamed.known import GroupingModels, GroupRequest, groups_key, known_groups
from engine.unnamed.photo_facts import KnownFacts, PhotoFacts

__all__ = ["GroupRequest", "find_unnamed"]


def find_unnamed(
    session: Session,
    photos: Iterable[FoundFile],
    request: GroupRequest,
    *,
    step: Callable[[], None] = lambda: None,
) -> Groups:
    """Group the faces or animals of photos that have no name: the recogniser gives none, and no person gave one.

    Features that are not cached are computed. step: called for each photo that is looked at.

    Raises:
        EngineError: missing weights, a full disk.
    """
    files = [f for f in photos if f.kind == "photo"]
    models = GroupingModels(session.recogniser_config, session.recognition, session.choices.decode)
    known = known_groups(session.folder, models, files, request)
    if known is not None:
        return known
    facts = _scan(session, files, request, step)
    from engine.unnamed.collect import PhotoToGroup, group_photos

    scanned = [PhotoToGroup(file.path, f) for file, f in zip(files, facts, strict=True)]
    groups = replace(group_photos(session, scanned, request.kind, request.library), given=request.given)
    key = groups_key(session.folder, models, files, facts, request)
    KeptGroups(session.folder).save(request.kind, key, groups)
    return groups


def _scan(
    session: Session, files: Sequence[FoundFile], request: GroupRequest, step: Callable[[], None]
) -> list[PhotoFacts]:
    """Compute the missing features, and return the facts of all photos; those that were missing are read and kept."""
    from engine.core.types import Status
    from engine.recognition.scan import ScanRequest, scan
    from engine.unnamed.read_facts import read_facts

    known = KnownFacts(session.folder, request.naming)
    facts = [known.find(f) for f in files]
    looks = [known.look(file) if f is None else None for file, f in zip(files, facts, strict=True)]
    faces = request.kind is Kind.PERSON
    results = {}
    for result in scan(session, files, ScanRequest(faces=faces, regions=not faces)):
        step()
        results[result.path] = result
    missing = [i for i, f in enumerate(facts) if f is None]
    scanned = []
    for i in missing:
        result = results[files[i].path]
        failure = (result.reason or "cannot be read") if result.status is Status.FAILED else ""
        scanned.append((files[i].path, result.content_hash or "", failure))
    read = dict(zip(missing, read_facts(request.naming, scanned), strict=True))
    known.keep([looks[i] for i in missing], list(read.values()))
    known.finish()
    return [f if f is not None else read[i] for i, f in enumerate(facts)]
