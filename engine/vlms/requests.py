"""Write the request for a caption: its style, language and context, and the concepts that it is about."""

from collections.abc import Sequence

from engine.core.errors import UsageError
from engine.vlms.caption_form import CaptionForm, Style
from engine.vlms.config import VlmConfig
from engine.vlms.naming import insist, state_names
from engine.vlms.personalised import PersonalisedConcept, speakable

__all__ = ["CaptionForm", "Style", "caption_request", "check_form", "most_tokens"]

_STYLES: dict[Style, str] = {
    "detailed": "Describe this photo{of} in detail, in three to six sentences.",
    "alt-text": (
        "Write alternative text for this photo{of}: one plain sentence of at most 125 characters that tells somebody"
        " who cannot see it what matters. Do not begin with the words photo or image."
    ),
    "keywords": "List five to twelve keywords for this photo{of}, separated by commas, and write nothing else.",
}
"""Requests of the styles but "sentence", which each VLM's config has; {of} is "" or " of NAMES". 125 characters are a
common recommendation for alternative text."""
_LONGER = 2.5
"""A detailed caption may have this many times the new tokens of a sentence."""


def caption_request(
    config: VlmConfig, concepts: Sequence[PersonalisedConcept], form: CaptionForm | None = None, *, again: bool = False
) -> str:
    """Return the request for a caption of a photo with these concepts. again: after a text with wrong names."""
    form = form or CaptionForm()
    told = speakable(concepts)
    names = tuple(c.concept.identifier for c in told)
    request = _task(config, names, form)
    if form.language:
        request += f" Write in {form.language}."
    if form.context:
        request = f"{form.context} {request}"
    if not told and config.naming is not None:
        return config.naming.plain.format(request=request)
    request = state_names(config, request, told)
    return insist(config.naming, request, told) if again else request


def _task(config: VlmConfig, names: tuple[str, ...], form: CaptionForm) -> str:
    if form.style == "sentence":
        return config.request("caption_of" if names else "caption", names)
    of = " of " + " and ".join(names) if names else ""
    return _STYLES[form.style].format(of=of)


def most_tokens(config: VlmConfig, form: CaptionForm) -> int | None:
    """Return the token limit of a caption; None for the VLM's own."""
    return round(_LONGER * config.max_new_tokens) if form.style == "detailed" else None


def check_form(config: VlmConfig, form: CaptionForm, *, context: bool = False) -> None:
    """Check that a VLM can write captions of a form. context: whether photos' date and place will be told.

    Raises:
        UsageError: it was trained for one kind of caption only.
    """
    if (context or not form.is_plain) and not config.follows_instructions:
        raise UsageError(
            f"{config.name} writes one kind of caption, in English",
            hint="Leave out --style, --language and --context, or use a chat VLM; `myvlm models` lists them.",
        )
