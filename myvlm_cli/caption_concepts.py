"""Choose the concepts of a captioning run, and say before anything is written what it will not name."""

from shlex import quote
from typing import TYPE_CHECKING

from engine.core.types import Concept, Kind
from myvlm_cli.calibration import ANY_NUMBER, calibrate_unseen
from myvlm_cli.caption_report import Report
from myvlm_cli.given import Photos
from myvlm_cli.output import out
from myvlm_cli.run_memory import RunMemory, Told
from myvlm_cli.sessions import warn_of_slow_faces
from myvlm_cli.words import count, listed

if TYPE_CHECKING:
    from engine.captioning.caption_run import CaptionRequest
    from engine.captioning.requested_concepts import RequestedConcepts
    from engine.session import Session


def choose_concepts(
    session: "Session", photos: Photos, request: "CaptionRequest", report: Report, memory: RunMemory
) -> "tuple[RequestedConcepts, str, Told | None]":
    """Choose the concepts again if the store changed meanwhile, such as by a calibration.

    Returns also the key of what they were read from, "" if it does not settle, and what every run of this kind says.
    """
    session.store  # noqa: B018  # the store is created and brought up to date first
    key = memory.key(session.folder)
    concepts, told = _choose(session, photos, request, report)
    if memory.key(session.folder) != key:
        key = memory.key(session.folder)
        with out.keeping() as messages:
            concepts = _choose_requested(session, request)
            numbers = _calibrate(session, photos, request, concepts)
        told = Told((*told.messages, *messages), numbers) if told and numbers and not told.numbers else None
        key = key if memory.key(session.folder) == key else ""
    if request.only or request.concepts == ():
        _warn_of_lost_names(concepts, photos, request)
    return concepts, key, told if told and told.numbers else None


def _choose_requested(session: "Session", request: "CaptionRequest") -> "RequestedConcepts":
    from engine.captioning.requested_concepts import choose_requested

    return choose_requested(
        session.store, session.recogniser_config, session.recognition, session.vlm_in_use, request.concepts
    )


def _choose(
    session: "Session", photos: Photos, request: "CaptionRequest", report: Report
) -> "tuple[RequestedConcepts, Told | None]":
    """Choose the concepts, say before anything is written what this run will not name, and calibrate if needed.

    Returns also what was said that holds for every run of this kind, with no numbers if this one calibrated; None if
    nothing holds for certain.
    """
    concepts = _choose_requested(session, request)
    report.untrained = {c.id for c in _untold(session, concepts)}
    _check_vlm(session, photos)
    with out.keeping() as told:
        slow_faces = warn_of_slow_faces(session, people=any(c.kind is Kind.PERSON for c in concepts.requested))
        _warn_of_missing_heads(concepts)
        _check_form(session, request)
        _tell_same_pairs(concepts)
        if not concepts.enrolled.concepts:
            out.say("No concepts yet, so no names are written. Start with: myvlm add-concept NAME PHOTOS")
    with out.keeping() as more:
        numbers = _calibrate(session, photos, request, concepts)
    lasting = Told(told, range(0)) if numbers is None else Told((*told, *more), numbers)
    return concepts, None if slow_faces else lasting


def _calibrate(
    session: "Session", photos: Photos, request: "CaptionRequest", concepts: "RequestedConcepts"
) -> range | None:
    """Calibrate if needed; return with how many photos the next run would not (`calibrate_unseen`)."""
    if not concepts.requested:
        return ANY_NUMBER
    return calibrate_unseen(
        session,
        photos,
        concepts.requested,
        enrolled=concepts.enrolled,
        kept=request.write,
        some=request.limit is not None,
    )


def _untold(session: "Session", concepts: "RequestedConcepts") -> "tuple[Concept, ...]":
    """List the concepts that the VLM cannot be told of, so that captions do not name them."""
    if not session.has_vlm:
        return ()
    from engine.captioning.speaking import Speaking, untold

    vlm = session.vlm_in_use
    return untold(Speaking(vlm.config, vlm.speak, concepts.embeddings), concepts.requested)


def _check_form(session: "Session", request: "CaptionRequest") -> None:
    """Refuse a style, language or context that the VLM cannot follow, and warn where no place can be named."""
    from engine.captioning.speaking import check_speak
    from engine.vlms.requests import check_form

    if not session.has_vlm:
        return
    check_form(session.vlm_config, request.forms.form, context=request.forms.context)
    check_speak(session.vlm_config, session.vlm_in_use.speak)
    if request.forms.context:
        from engine.photos.places import has_places

        if not has_places():
            out.say("The VLM is told dates but no places: for places, run: pip install 'myvlm[places]'")


def _tell_same_pairs(chosen: "RequestedConcepts") -> None:
    """Say which two concepts look like the same individual, so that neither is named.

    This is not a warning, and --quiet silences it: the user may have enrolled twins.
    """
    from engine.concepts.concept_warnings import warn_of_same
    from engine.concepts.similarity import find_same_pairs

    for a, b in find_same_pairs(chosen.enrolled):
        if a in chosen.requested or b in chosen.requested:
            out.say(str(warn_of_same(a, b)))


def _check_vlm(session: "Session", photos: Photos) -> None:
    """Refuse a VLM that is not on disk, or that cannot describe these photos, before other work."""
    from engine.captioning.names_only import check_drawn

    if session.has_vlm:
        session.models.check_weights()
    if session.vlm_config.world:
        check_drawn(session.vlm_in_use, photos)


def _warn_of_missing_heads(chosen: "RequestedConcepts") -> None:
    """Name the concepts that the recogniser in use has no head for, and say how to enrol them."""
    for concept in chosen.without_head:
        how = "enrolled with another recogniser" if concept.references else "imported without a head"
        out.warn(f"{concept.name} was {how} and is not looked for. Run: myvlm add-concept {quote(concept.name)} PHOTOS")


def _warn_of_lost_names(concepts: "RequestedConcepts", photos: Photos, request: "CaptionRequest") -> None:
    """Say before anything is written which names this run removes from earlier captions."""
    from engine.captioning.names_only import count_lost_names

    lost = count_lost_names(concepts.requested, photos, request.naming, read_xmp=bool(request.concepts))
    photos_lost = lost.pop("", 0)
    if photos_lost:
        names = listed([f"{name} ({n})" for name, n in sorted(lost.items())])
        removes = "removes" if request.write else "would remove"
        where = "" if request.only else "the captions of "
        keywords = "" if request.only else " (keywords stay)"
        most = "up to " if request.limit is not None else ""
        out.warn(
            f"this run {removes} names from {where}{most}{count(photos_lost, 'photo')}{keywords}: {names}."
            " myvlm undo restores them"
        )
