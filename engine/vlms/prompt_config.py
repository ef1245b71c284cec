"""Facts about prompts and chat checkpoints that a VLM's JSON config holds: how concepts are named, boxes, pixels."""

from dataclasses import dataclass, field
from typing import Any, Literal

BoxFormat = Literal["xyxy-1000", "xyxy-pixels", "yxyx-1000", "minigpt", "none"]
"""How a VLM writes boxes. "xyxy-1000": [x0, y0, x1, y1] in thousandths of the sides (Qwen3-VL, InternVL, GLM-4V);
"xyxy-pixels": in pixels of the image as the vision tower received it (Qwen2.5-VL); "yxyx-1000": [y0, x0, y1, x1] in
thousandths (Gemma; unconfirmed); "minigpt": {<x0><y0><x1><y1>} in hundredths; "none": it writes no boxes.
"""
Speak = Literal["auto", "names", "embedding", "both"]
"""How a VLM is told of a recognised concept: by its name in the prompt, by its embedding, by both, or as fits best."""


@dataclass(frozen=True)
class Naming:
    """The wording with which a prompt tells a VLM who was recognised in a photo ("names as text").

    fact: the line about one concept. Fields: {number}, {name}, {category}, {place} ("at the left") and {box}, which is
        empty for a VLM that does not read boxes.
    separator: what stands between two facts.
    prompt: the whole request. Fields: {facts}, {request} and {names}.
    again: what is added to the prompt when the first text left out names or made some up.
    plain: the request for a photo in which nobody was recognised. Field: {request}.
    word: what the text calls a concept: its display name, or the identifier, for a VLM with a small vocabulary.
    """

    fact: str = "[{number}] {name}: the {category} {place}{box}"
    separator: str = "\n"
    prompt: str = (
        "Recognised in this photo:\n{facts}\n\n{request} Call {names} by name, each exactly as written, once or more."
        " Everybody else is unknown: describe them by what is visible and never give them a name. If what is written"
        " above does not fit what you see, trust it for the names only."
    )
    again: str = " Use these names and no others: {names}."
    plain: str = "{request} Do not give any person or animal a name."
    word: Literal["name", "identifier"] = "name"


@dataclass(frozen=True)
class Chat:
    """How the `chat` backend uses a checkpoint.

    boxes: how the VLM writes boxes.
    max_pixels: the largest area of an image, in pixels; larger ones are made smaller. None where the checkpoint's
        processor has a fixed size.
    template_kwargs: what the chat template is given, such as {"enable_thinking": false}.
    one_tile: whether a LLaVA-NeXT receives one base tile of a photo, as its own backend gives it without `anyres`.
    prefix: whether what stands before the slots is computed once in training (`chat/prefixes.py`); set for families
        for which a test shows that nothing changes by it.
    needs: packages that the checkpoint's processor imports and that are not installed with myvlm by themselves.
    static_cache: whether the family's texts stay the same with a cache of fixed length (`vlms/decoding.py`).
    """

    boxes: BoxFormat = "none"
    max_pixels: int | None = 1_048_576
    template_kwargs: dict[str, Any] = field(default_factory=dict)
    needs: list[str] = field(default_factory=list)
    one_tile: bool = False
    static_cache: bool = True
    prefix: bool = False
