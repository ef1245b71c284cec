"""The steps of one photo before the VLM: read it, recognise concepts, and reuse what an earlier run recorded."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from engine.captioning.caption_run import CaptionRun
from engine.captioning.names_only import caption_holds, make_names_only_record, rename_in_caption
from engine.captioning.results import PhotoResult
from engine.captioning.staleness import find_known_matches, finish_matches
from engine.captioning.unchanged import Look
from engine.core.errors import PhotoError, SidecarError
from engine.core.notes import FILE_NOTES, Note, SkipReason
from engine.core.types import Match, PhotoFacts, Status
from engine.photos.decode import Photo, decode_photo
from engine.photos.discovery import FoundFile
from engine.photos.metadata.embedded import Embedded, embedded_of
from engine.photos.metadata.exif import exif_of
from engine.photos.photo_file import PhotoFile, UnreadPhoto, read_photo, whole
from engine.recognition.displaced import DisplacedConcept
from engine.recognition.recognise import recognise_all
from engine.sidecars.json_sidecar import CaptionSettings, PhotoRecord, read_record
from engine.sidecars.locate import SidecarPaths
from engine.sidecars.removed_names import load_removed_names


@dataclass(frozen=True)
class PhotoInRun:
    """One photo on its way through a run.

    photo: decoded, where its record is not known without. earlier: the record in its JSON sidecar. embedded: the
    metadata in the file, if it was read without decoding. software: EXIF `Software`. removed_names: keys of the names
    that the user removed from the sidecar. matches: None until recognised. suggestions: ids of the suggested concepts;
    None if they are not known, as with matches from the JSON sidecar. record: what its sidecars will hold, when that is
    known. result: what to report, if not simply that the photo was captioned or is up to date. look: how it looked
    before it was read. known: the results of a photo that was not read, because nothing changed.
    """

    file: FoundFile
    photo: Photo | None = None
    paths: SidecarPaths | None = None
    earlier: PhotoRecord | None = None
    embedded: Embedded | None = None
    software: str = ""
    removed_names: frozenset[str] = frozenset()
    matches: tuple[Match, ...] | None = None
    suggestions: tuple[str, ...] | None = None
    record: PhotoRecord | None = None
    displaced: tuple[DisplacedConcept, ...] = ()
    result: PhotoResult | None = None
    seconds: float = 0.0
    look: Look | None = None
    known: tuple[PhotoResult, ...] | None = None

    @property
    def counts(self) -> bool:
        """Whether `limit` counts this photo: it is not up to date."""
        return self.photo is not None or (self.result is not None and self.result.status is Status.OK)


def read(run: CaptionRun, file: FoundFile) -> PhotoInRun:
    """Read a photo; decode it only if its record is not known otherwise."""
    item, data = read_undecoded(run, file)
    return item if data is None else decode(run, item, data)


def read_undecoded(
    run: CaptionRun, file: FoundFile, unread: UnreadPhoto | None = None
) -> tuple[PhotoInRun, PhotoFile | None]:
    """Read a photo and what an earlier run recorded; also return its bytes if it has to be decoded.

    unread: the photo, if its content hash is known.
    """
    started = time.monotonic()
    if file.kind == "video":
        skip = SkipReason.LIVE_PHOTO_VIDEO if file.live else SkipReason.VIDEO
        return PhotoInRun(file, result=PhotoResult.skipped(file.path, skip)), None
    look = known = None
    if run.unchanged is not None:
        known = run.unchanged.results(file, sidecars=run.writer is not None)
        look = run.unchanged.look(file) if known is None and run.written is not None else None
    if known is not None:
        return PhotoInRun(file, known=known), None
    try:
        data = unread or read_photo(file.path)
        paths = run.namer.find(file.path)
        removed_names = load_removed_names(paths.xmp)
        item = PhotoInRun(file, look=look, paths=paths, earlier=read_record(paths.json), removed_names=removed_names)
        if item.earlier is not None and run.request.may_reuse:
            item = _reuse(run, item, item.earlier, data)
        to_decode = whole(data) if item.record is None and item.result is None else None
    except (PhotoError, SidecarError) as err:
        return _failed(file, err, started), None
    return replace(item, seconds=time.monotonic() - started), to_decode


def decode(run: CaptionRun, item: PhotoInRun, data: PhotoFile) -> PhotoInRun:
    """Decode a photo whose record is not known."""
    started = time.monotonic()
    try:
        photo = decode_photo(data, edge=run.decode_edge)
    except PhotoError as err:
        return _failed(item.file, err, started - item.seconds)
    seconds = item.seconds + time.monotonic() - started
    return replace(item, photo=photo, software=photo.software, seconds=seconds)


def _failed(file: FoundFile, error: Exception, started: float) -> PhotoInRun:
    return PhotoInRun(file, result=PhotoResult.failed(file.path, error), seconds=time.monotonic() - started)


def _reuse(run: CaptionRun, item: PhotoInRun, earlier: PhotoRecord, data: PhotoFile | UnreadPhoto) -> PhotoInRun:
    """Take over what an earlier run recorded, as far as it still holds, without decoding the photo."""
    content_hash, removed_names = data.content_hash, item.removed_names
    recognition = find_known_matches(run.keys, run.gallery, run.extractor, earlier, content_hash, removed_names)
    if recognition is None:
        return item
    exif = exif_of(data.blocks)  # date and place may have been written into the photo since
    facts = replace(earlier.facts, content_hash=content_hash, taken=exif.taken, place=exif.place)
    embedded = embedded_of(data.blocks)
    item = replace(item, embedded=embedded, software=exif.software, displaced=recognition.displaced)
    if earlier.recognition != run.keys.recognition(content_hash, removed_names):  # it was looked up, not recorded
        item = replace(item, suggestions=_concept_ids(recognition.suggestions))
    return _settle(run, replace(item, matches=recognition.matches), facts)


def recognise_photos(run: CaptionRun, items: Sequence[PhotoInRun]) -> list[PhotoInRun]:
    """Recognise the concepts in the photos of which that is not known, and settle their records where possible."""
    photos = [i.photo for i in items if i.matches is None and i.photo is not None]
    recognitions = iter(recognise_all(run.extractor, photos, run.gallery, keep=run.request.write))
    done = []
    for item in items:
        if item.matches is None and item.photo is not None:
            recognition, facts = next(recognitions), item.photo.facts
            names = finish_matches(run.keys, recognition.matches, item.earlier, facts.content_hash, item.removed_names)
            ids = _concept_ids(recognition.suggestions)
            photo = replace(item.photo, full=None)  # only recognition takes all pixels of a reduced photo
            item = replace(item, photo=photo, matches=names, suggestions=ids, displaced=recognition.displaced)
            item = _settle(run, item, facts)
        done.append(item)
    return done


def _concept_ids(matches: Iterable[Match]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(m.concept_id for m in matches))


def _settle(run: CaptionRun, item: PhotoInRun, facts: PhotoFacts) -> PhotoInRun:
    """Add the record of a photo for which no VLM has to run: the recorded caption is what the VLM would write now, or
    no VLM can describe the photo.
    """
    if not run.vlm.can_describe(item.software):
        return _settle_without_caption(run, item, facts)
    earlier, matches = item.earlier, item.matches or ()
    if earlier is None or not run.request.may_reuse:
        return item
    if earlier.key != _caption_key(run, facts, matches):
        return item
    return replace(item, record=make_record(run, item, facts, earlier.caption, earlier.notes))


def _settle_without_caption(run: CaptionRun, item: PhotoInRun, facts: PhotoFacts) -> PhotoInRun:
    """Add the record of a photo that no VLM describes: with its earlier caption unless that is known to be wrong, else
    with names only.
    """
    earlier, matches = item.earlier, item.matches or ()
    recognition = run.keys.recognition(facts.content_hash, item.removed_names)
    if earlier is not None and caption_holds(earlier, facts, matches, item.software):
        text = rename_in_caption(earlier, matches)
        record = replace(earlier, caption=text, facts=facts, matches=matches, recognition=recognition)
        return replace(item, record=record)
    if earlier is None and not run.concepts.requested:
        return replace(item, photo=None, result=PhotoResult.skipped(item.file.path, SkipReason.NOTHING_TO_WRITE))
    record = replace(make_names_only_record(run.keys, facts, matches, recognition), notes=_file_notes(item))
    if earlier is not None and earlier.key == record.key:
        return replace(item, record=record)
    removed = earlier.caption if earlier is not None else None
    return replace(item, record=record, result=PhotoResult(item.file.path, Status.OK, removed=removed))


def _file_notes(item: PhotoInRun) -> tuple[Note, ...]:
    """Return the notes about the photo's file, from decoding it now or from its earlier record."""
    if item.photo is not None:
        return item.photo.notes
    return tuple(n for n in (item.earlier.notes if item.earlier else ()) if n.code in FILE_NOTES)


def make_record(
    run: CaptionRun, item: PhotoInRun, facts: PhotoFacts, caption: str | None, notes: Iterable[Note]
) -> PhotoRecord:
    """Make the record of a photo that the VLM in use describes."""
    matches = item.matches or ()
    return PhotoRecord(
        facts=facts,
        caption=caption,
        matches=matches,
        vlm=run.vlm.id,
        revision=run.vlm.revision,
        key=_caption_key(run, facts, matches),
        recognition=run.keys.recognition(facts.content_hash, item.removed_names),
        settings=run.keys.settings,
        notes=tuple(notes),
        asked=_settings(run, facts, matches),
    )


def _caption_key(run: CaptionRun, facts: PhotoFacts, matches: Sequence[Match]) -> str:
    return run.keys.caption_key(facts.content_hash, matches, context=run.form_for(facts).context)


def _settings(run: CaptionRun, facts: PhotoFacts, matches: Sequence[Match]) -> CaptionSettings | None:
    """Return what the caption was asked to be like; None if that is what every version asks for."""
    form = run.form_for(facts)
    told = tuple((m.name, way) for m in matches if (way := run.speaking.way(m.concept_id)))
    asked = CaptionSettings(form.style, form.language, form.context, told)
    return None if form.is_plain and all(way == "embedding" for _, way in told) else asked
