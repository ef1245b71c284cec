"""Notes about a photo: codes that the program decides by, and the sentences that are printed and stored for them."""

from dataclasses import dataclass
from enum import StrEnum


class SkipReason(StrEnum):
    """Why a photo was left out. `text` is the sentence of each code, in `_SKIP_TEXTS`."""

    VIDEO = "video"
    LIVE_PHOTO_VIDEO = "live-photo-video"
    NOTHING_TO_WRITE = "nothing-to-write"

    @property
    def text(self) -> str:
        """The sentence that is printed and written into JSON."""
        return _SKIP_TEXTS[self]


_SKIP_TEXTS = {
    SkipReason.VIDEO: "a video",
    SkipReason.LIVE_PHOTO_VIDEO: "the moving half of a Live Photo",
    SkipReason.NOTHING_TO_WRITE: "no concept is looked for, and no VLM describes it",
}


class NoteCode(StrEnum):
    """What a note says. The sentence of each code is in `_TEXTS`."""

    TEXT = "text"
    NO_END_MARKER = "no-end-marker"
    DATA_BEHIND_PICTURE = "data-behind-picture"
    NAME_PUT_IN = "name-put-in"
    NAME_TAKEN_OUT = "name-taken-out"
    CUT_SHORT = "cut-short"
    TWO_SIDECARS = "two-sidecars"
    FOREIGN_SIDECAR = "foreign-sidecar"
    NO_EXTENDED_XMP = "no-extended-xmp"
    KEPT_DESCRIPTION = "kept-description"
    KEPT_EMBEDDED_DESCRIPTION = "kept-embedded-description"
    KEPT_UNUSUAL_DESCRIPTION = "kept-unusual-description"
    DESCRIPTION_UNREAD = "description-unread"
    KEYWORDS_UNREAD = "keywords-unread"
    UNUSUAL_ARRAY = "unusual-array"
    REGIONS_REPEATED = "regions-repeated"
    REGIONS_UNUSUAL = "regions-unusual"
    REGIONS_IN_PIXELS = "regions-in-pixels"
    REGIONS_OTHER_SIZE = "regions-other-size"
    REGIONS_FULL = "regions-full"
    NOT_INDEXED = "not-indexed"


_TEXTS = {
    NoteCode.TEXT: "{}",
    NoteCode.NO_END_MARKER: "the file lacks its end marker; every pixel is there",
    NoteCode.DATA_BEHIND_PICTURE: (
        "the file lacks its end marker, and other data follow the picture; its last pixels may be wrong"
    ),
    NoteCode.NAME_PUT_IN: "the VLM left out {}; the name was put in",
    NoteCode.NAME_TAKEN_OUT: "the VLM wrote {}, who was not recognised; that was taken out",
    NoteCode.CUT_SHORT: "the VLM wrote more than its token limit; the unfinished end was left out",
    NoteCode.TWO_SIDECARS: "{} is there, too; {} is kept up to date",
    NoteCode.FOREIGN_SIDECAR: "{} is or may be another file's; {} is used",
    NoteCode.NO_EXTENDED_XMP: "the photo names Extended XMP that is not in the file",
    NoteCode.KEPT_DESCRIPTION: "kept the description that was there",
    NoteCode.KEPT_EMBEDDED_DESCRIPTION: "kept the description in the photo file",
    NoteCode.KEPT_UNUSUAL_DESCRIPTION: "kept the description that was there: it has an unusual form",
    NoteCode.DESCRIPTION_UNREAD: "wrote no description: the photo file, which may have one, was not read",
    NoteCode.KEYWORDS_UNREAD: "added no keywords: the photo file, which may have some, was not read",
    NoteCode.UNUSUAL_ARRAY: "could not add {}: {} has an unusual form",
    NoteCode.REGIONS_REPEATED: "regions not written: mwg-rs:Regions is there more than once",
    NoteCode.REGIONS_UNUSUAL: "no region written for {}: mwg-rs:Regions has an unusual form",
    NoteCode.REGIONS_IN_PIXELS: (
        "no region written for {}: the regions that are there are in pixels of an unknown size"
    ),
    NoteCode.REGIONS_OTHER_SIZE: (
        "no region written for {}: the regions that are there belong to a picture of {} x {}, not {} x {}"
    ),
    NoteCode.REGIONS_FULL: "no region written for {}: a photo takes {} (darktable stops saving with more)",
    NoteCode.NOT_INDEXED: "myvlm search does not know what was written: {}",
}
_CODES = {text: code for code, text in _TEXTS.items() if "{}" not in text}

FILE_NOTES = frozenset({NoteCode.NO_END_MARKER, NoteCode.DATA_BEHIND_PICTURE})
"""Codes of notes about the photo file itself; they hold as long as the file does not change."""
KEPT_DESCRIPTION_NOTES = frozenset(
    {NoteCode.KEPT_DESCRIPTION, NoteCode.KEPT_EMBEDDED_DESCRIPTION, NoteCode.KEPT_UNUSUAL_DESCRIPTION}
)
"""Codes of notes that say that a description of the user's stays, so that no caption was written."""


@dataclass(frozen=True)
class Note:
    """One note about a photo; `str(note)` is its sentence, with `values` filled in."""

    code: NoteCode
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        return _TEXTS[self.code].format(*self.values)

    @classmethod
    def parse(cls, text: str) -> "Note":
        """Make the note of a stored sentence: with its code if the sentence has no values, else with code `TEXT`."""
        code = _CODES.get(text)
        return cls(NoteCode.TEXT, (text,)) if code is None else cls(code)
