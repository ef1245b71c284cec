"""Write training examples: a prompt, the answer as the chat template would write it, and the end of the turn."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any, Protocol

import engine.core.device  # noqa: F401

from engine.vlms.base import IGNORED
from engine.vlms.chat.values import ChatPhoto, Line


class Writer(Protocol):
    """Writes and tokenises texts about a photo; `ProcessorInputs` and `OneTileInputs` do."""

    tokenizer: Any

    def template(self, request: str, answer: str | None = None) -> str:
        """Write a request as the prompt; with an answer, the whole conversation."""

    def line(self, photo: ChatPhoto, text: str) -> Line:
        """Tokenise a text with one image."""


def example_line(
    writer: Writer, photo: ChatPhoto, request: str, answer: str, ends: Collection[int], *, end_token: bool
) -> Line:
    """Make the line of a training example; the answer is supervised, and the end of the turn with `end_token`.

    ends: the ids that end a text. The answer's ids continue the prompt's: where the tokenizer would merge the two, the
    answer is tokenised alone.
    """
    answer = answer.strip()
    prompt = writer.template(request)
    lead, rest = _around(prompt, writer.template(request, answer), answer)
    start = writer.line(photo, prompt)
    whole = writer.line(photo, f"{prompt}{lead}{answer}")
    ids = whole.ids
    if ids[: len(start.ids)] != start.ids:
        ids = start.ids + writer.tokenizer(f"{lead}{answer}", add_special_tokens=False).input_ids
    if end_token:
        ids = [*ids, _end(writer.tokenizer, rest, ends)]
    new = len(ids) - len(start.ids)
    types = {name: [*values, *[0] * new] for name, values in start.types.items()}
    labels = (*[IGNORED] * len(start.ids), *ids[len(start.ids) :])
    return replace(start, ids=ids, types=types, labels=labels)


def _around(prompt: str, whole: str, answer: str) -> tuple[str, str]:
    """Return what the template writes between the prompt and the answer, and behind the answer.

    A template may write a finished turn in another way than the start of one (without an empty block of thoughts).
    Nothing is put before the answer then.
    """
    at = whole.rfind(answer)
    if at < 0:
        return "", ""
    lead = whole[len(prompt) : at] if whole.startswith(prompt) and len(prompt) <= at else ""
    return (lead if not lead.strip() else ""), whole[at + len(answer) :]


def _end(tokenizer: Any, rest: str, ends: Collection[int]) -> int:
    """Return the id with which the template ends an answer: the first in `rest` that ends a text."""
    ids = tokenizer(rest, add_special_tokens=False).input_ids
    return int(next((i for i in ids if i in ends), tokenizer.eos_token_id))
