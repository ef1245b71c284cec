"""What a caption should be like, as a value that loads nothing heavy."""

from dataclasses import dataclass
from typing import Literal

Style = Literal["sentence", "detailed", "alt-text", "keywords"]


@dataclass(frozen=True)
class CaptionForm:
    """What a caption should be like.

    language: such as "German"; "" for the VLM's own, which is English. context: what the photo's metadata tell, as one
    sentence; "" for nothing.
    """

    style: Style = "sentence"
    language: str = ""
    context: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether the request is the VLM's own, without additions."""
        return self == CaptionForm()
