"""The questions that an embedding for answering is trained on, and their answers (docs/method.md, section 6)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.core.errors import UsageError
from engine.core.files import LARGEST_DOCUMENT, read_text
from engine.vlms.wording import noun_phrases, replace_names

Task = Literal["caption", "vqa"]
"""What an embedding is trained for: captions, or questions and captions."""
THING = (
    "What color is {x}?",
    "Where is {x} in the image?",
    "Where is {x} positioned in the image?",
    "Does {x} appear to be the main subject of the image?",
    "What objects is {x} interacting with in the image?",
    "How would you describe the texture of {x} in the image?",
    "What types of materials is {x} be made of?",
    "Is {x} large or small in the image?",
    "Is {x} close to the camera or far away?",
)
PERSON = (
    "What is {x} wearing in the image?",
    "What color shirt is {x} wearing?",
    "What is {x} doing in the image?",
    "Where is {x} in the image?",
    "Can you describe what {x} is wearing?",
    "From left to right, where is {x} positioned in the image?",
    "What kind of hair does {x} have?",
    "What is the expression on {x} face?",
    "Is there anything unique about {x}'s appearance?",
)
"""`THING` and `PERSON`: Table 3 of the paper, word for word, without the tenth question, the request for a caption."""


@dataclass(frozen=True)
class Turn:
    """A question, or any other request, with its possible answers."""

    request: str
    answers: tuple[str, ...]


def questions_for(kind: Literal["thing", "person"], of_vlm: Mapping[str, list[str]]) -> tuple[str, ...]:
    """Return the questions for a kind, with `{x}` for the concept; pets are things.

    of_vlm: the questions of a VLM's config by kind, which replace the paper's where there are any.
    """
    return tuple(of_vlm.get(kind, ())) or (PERSON if kind == "person" else THING)


def name_in_answer(answer: str, phrase: str, noun: str, identifier: str) -> str:
    """Put an identifier into an answer that the plain VLM gave about "the dog".

    phrase: the phrase that was asked about, with its article. Every other phrase with "the" and the noun becomes the
    identifier too; a phrase with "a" is about another individual. An answer may hold none of them: "Yes."
    """
    text = replace_names(answer, {phrase: identifier})
    for start, end in reversed(noun_phrases(text, noun)):
        if text[start:end].lower().startswith("the "):
            text = text[:start] + identifier + text[end:]
    return text


def load_answers(path: Path) -> dict[str, dict[str, str]]:
    """Read `answers.json`: an object from file names to objects from questions to answers.

    Raises:
        UsageError: the file cannot be read or has another form.
    """
    form = 'Form: {"photo.jpg": {"What is Rex holding?": "Rex is holding a ball."}}'
    try:
        document = json.loads(read_text(path, LARGEST_DOCUMENT))
    except (OSError, ValueError) as err:
        raise UsageError(f"{path} cannot be read as JSON: {err}", hint=form) from err
    if not isinstance(document, dict):
        raise UsageError(f"{path} is not a JSON object", hint=form)
    for name, turns in document.items():
        texts = [t for turn in turns.items() for t in turn] if isinstance(turns, dict) else []
        if not texts or not all(isinstance(t, str) and t.strip() for t in texts):
            raise UsageError(f"{path}: the answers of {name!r} are not questions with text", hint=form)
    return document
