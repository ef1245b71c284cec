"""Warnings about concepts: a code with the values that it is about; `str` gives the text that is printed."""

import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.core.types import Concept, Decision


class WarningCode(StrEnum):
    """What a warning about a concept says."""

    FEW_REFERENCES = "few-references"
    FEW_OTHERS = "few-others"
    DRAWN_PHOTOS_ONLY = "drawn-photos-only"
    REFERENCE_MISSING = "reference-missing"
    NOT_LEARNED = "not-learned"
    NO_HEAD = "no-head"
    TRAINING_FAILED = "training-failed"
    IMPORTED_HEAD_REPLACED = "imported-head-replaced"
    IMPORTED_HEAD_KEPT = "imported-head-kept"
    HEAD_DELETED = "head-deleted"
    UNLIKE_THE_OTHERS = "unlike-the-others"
    SAME_INDIVIDUAL = "same-individual"
    SAME_INDIVIDUAL_OF_TWO_KINDS = "same-individual-of-two-kinds"
    SHARED_PHOTO = "shared-photo"
    SHARED_IDENTIFIER = "shared-identifier"
    NOT_TRAINED = "not-trained"
    NOT_RECOGNISED = "not-recognised"


_SAME = "{w.other.name} looks like the same individual as {w.concept.name}, so that neither may be named."
_TEXTS = {
    WarningCode.FEW_REFERENCES: "only {w.photos}: three to five, in different places, recognise better",
    WarningCode.FEW_OTHERS: (
        "few photos of other things are known, so {w.concept.name} is only named where that is very sure. To name more:"
        " {w.negatives_command}, with photos of something else like it, or: myvlm scan ~/Pictures"
    ),
    WarningCode.DRAWN_PHOTOS_ONLY: ("the recogniser {w.model} only knows drawn photos and misses much in real ones"),
    WarningCode.REFERENCE_MISSING: (
        "{w.path.name} is gone, and nothing of it is stored for the recogniser {w.model}: it stays a reference photo,"
        " but does not help here"
    ),
    WarningCode.NOT_LEARNED: (
        "'{w.decision.verdict} {w.decision.path.name}' still holds for that photo, but nothing can be learned from it:"
        " the photo is not there as it was, or shows nothing to learn at that place"
    ),
    WarningCode.NO_HEAD: ("it holds for that photo; {w.concept.name} has no head for {w.model} that could learn"),
    WarningCode.TRAINING_FAILED: (
        "it is stored, but {w.concept.name}'s head for {w.model} could not be trained with it ({w.reason}). The next"
        " decision about {w.concept.name} trains it with all of them"
    ),
    WarningCode.IMPORTED_HEAD_REPLACED: "the imported head is replaced by one that was trained on your photos",
    WarningCode.IMPORTED_HEAD_KEPT: (
        "{w.concept.name}'s head for {w.model} was imported and cannot learn what {w.other.name} looks like"
    ),
    WarningCode.HEAD_DELETED: "the recogniser {w.model} knew only what was removed: add photos with it",
    WarningCode.UNLIKE_THE_OTHERS: (
        "{w.path.name} does not look like the other photos of {w.concept.name}. If it shows something else, run:"
        " {w.remove_command}"
    ),
    WarningCode.SAME_INDIVIDUAL: f"{_SAME} If they are one, run: {{w.merge_command}}",
    WarningCode.SAME_INDIVIDUAL_OF_TWO_KINDS: (
        f"{_SAME} {{w.concept.name}} is a {{w.concept.kind}}, {{w.other.name}} a {{w.other.kind}}: if they are one,"
        " forget one of them"
    ),
    WarningCode.SHARED_PHOTO: (
        "{w.path.name} is a reference photo of {w.concept.name} and of {w.other.name}, with the same part of it. Take"
        " it from the one that it does not show: myvlm concepts remove-photos NAME PHOTO"
    ),
    WarningCode.SHARED_IDENTIFIER: (
        "{w.concept.name} shares its identifier {w.concept.identifier} with {w.other_names}: if both are in a photo,"
        " the VLM is told of one only"
    ),
    WarningCode.NOT_TRAINED: (
        "{w.other.name} was trained for {w.model} ({w.task}) and {w.concept.name} was not: run myvlm train"
    ),
    WarningCode.NOT_RECOGNISED: (
        "{w.concept.name} has no head and is not recognised yet: give --head, or add-concept photos"
    ),
}


@dataclass(frozen=True)
class ConceptWarning:
    """A warning about a concept; `str` of it is its text.

    others: the concepts that it is compared with; path: the photo that it is about; model: the name of the recogniser,
    or the id of the VLM; task: that of an embedding; decision: the user's decision that it is about; reason: the text
    of an error.
    """

    code: WarningCode
    concept: Concept
    others: tuple[Concept, ...] = ()
    path: Path | None = None
    model: str = ""
    task: str = ""
    decision: Decision | None = None
    reason: str = ""

    def __str__(self) -> str:
        return _TEXTS[self.code].format(w=self)

    @property
    def other(self) -> Concept:
        """The first of the concepts that it is compared with."""
        return self.others[0]

    @property
    def other_names(self) -> str:
        """The names of the concepts that it is compared with."""
        return ", ".join(c.name for c in self.others)

    @property
    def photos(self) -> str:
        """How many reference photos the concept has."""
        count = len(self.concept.references)
        return "one reference photo" if count == 1 else f"{count} reference photos"

    @property
    def negatives_command(self) -> str:
        """The command that gives the concept negatives."""
        photos = shlex.quote(str(self.concept.references[0].path.parent))
        return f"myvlm add-concept {shlex.quote(self.concept.name)} {photos} --negatives FOLDER"

    @property
    def remove_command(self) -> str:
        """The command that removes the photo from the concept."""
        return f"myvlm concepts remove-photos {shlex.quote(self.concept.name)} {shlex.quote(str(self.path))}"

    @property
    def merge_command(self) -> str:
        """The command that merges the two concepts."""
        return f"myvlm concepts merge {shlex.quote(self.concept.name)} {shlex.quote(self.other.name)}"


def warn_of_same(concept: Concept, other: Concept) -> ConceptWarning:
    """Return the warning that two concepts seem to be the same individual."""
    same_kind = concept.kind is other.kind
    code = WarningCode.SAME_INDIVIDUAL if same_kind else WarningCode.SAME_INDIVIDUAL_OF_TWO_KINDS
    return ConceptWarning(code, concept, (other,))
