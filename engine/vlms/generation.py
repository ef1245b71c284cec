"""What every VLM generates. It stands apart from `base`, so that VLMs that need no torch do not import it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Generation:
    """A generated text; `capped` when the token limit was reached before the VLM ended the text."""

    text: str
    capped: bool
