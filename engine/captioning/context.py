"""Choose the form of each photo's caption; its context is a sentence on what the metadata tell of date and place."""

from dataclasses import dataclass, replace
from datetime import datetime

from engine.core.types import PhotoFacts
from engine.vlms.caption_form import CaptionForm

_RULE = "Mention this only where it fits what the photo shows."


@dataclass(frozen=True)
class CaptionForms:
    """The form of a run's captions. context: whether the VLM is told each photo's date and place."""

    form: CaptionForm = CaptionForm()
    context: bool = False

    def of(self, facts: PhotoFacts) -> CaptionForm:
        """Return the form of one photo's caption."""
        return replace(self.form, context=describe_context(facts)) if self.context else self.form


def describe_context(facts: PhotoFacts) -> str:
    """Return a sentence with the date and the place of a photo; "" where the photo has neither.

    A place is named only if the data for it are installed (`myvlm[places]`); coordinates alone tell a VLM little.
    """
    from engine.photos.places import find_place  # loads numpy, which a run in which nothing changed does not need

    place = find_place(*facts.place) if facts.place else None
    parts = [part for part in (_date(facts.taken), f"in or near {place}" if place else "") if part]
    return f"From the photo's metadata: taken {', '.join(parts)}. {_RULE}" if parts else ""


def _date(taken: str | None) -> str:
    """Return a date in words, such as "on Sunday, 12 May 2024, at 17:40"; "" where it cannot be read."""
    try:
        moment = datetime.fromisoformat(taken or "")
    except ValueError:
        return ""
    time = f", at {moment:%H:%M}" if (moment.hour, moment.minute) != (0, 0) else ""
    return f"on {moment:%A}, {moment.day} {moment:%B} {moment.year}{time}"
