"""The config of a VLM that runs in a server: what its name tells, and the defaults for the rest."""

from engine.vlms.config import VlmConfig, identifier_lists
from engine.vlms.prompt_config import BoxFormat, Chat, Naming
from engine.vlms.server.address import parse_address

_REQUESTS = {
    "caption": "Describe this photo in one or two sentences.",
    "caption_of": "Describe this photo of {names} in one or two sentences.",
}
_REFER = 'Locate {names}. Answer with JSON only: [{{"bbox_2d": [x1, y1, x2, y2], "label": "{names}"}}].'
_BOXES: tuple[tuple[str, BoxFormat], ...] = (
    ("qwen3-vl", "xyxy-1000"),
    ("qwen3vl", "xyxy-1000"),
    ("qwen3.5", "xyxy-1000"),
    ("internvl3.5", "xyxy-1000"),
)
"""Parts of a model's name, and how such a model writes boxes. Servers resize photos, so that boxes in pixels of the
resized photo (Qwen2.5-VL) cannot be read.
"""


def server_config(vlm: str) -> VlmConfig:
    """Make the config of `openai:URL#MODEL`. The server is not asked.

    Its revision is empty: a server may update a model at any time, and captions do not become out of date by that.

    Raises:
        UsageError: it is malformed.
    """
    server = parse_address(vlm)
    boxes = guess_boxes(server.model)
    return VlmConfig(
        name=server.id,
        backend="openai",
        repo_id=server.id,
        revision="",
        server=server,
        requests=_REQUESTS | ({"refer": _REFER} if boxes != "none" else {}),
        identifiers=identifier_lists()["common"],
        naming=Naming(),
        chat=Chat(boxes=boxes),
        max_new_tokens=96,
        batch=2 * server.parallel,  # a few at a time, so that little is lost where a run is stopped
    )


def guess_boxes(model: str) -> BoxFormat:
    """Return how a model writes boxes, as far as its name tells."""
    return next((boxes for part, boxes in _BOXES if part in model.lower()), "none")
