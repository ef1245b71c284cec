"""A VLM in a server: photos go out as JPEG, texts come back. It is told of concepts by their names in the request."""

import base64
import io
import math
import re
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from PIL import Image

from engine.core.batches import in_parallel
from engine.core.boxes import Box
from engine.core.errors import PhotoError, UsageError
from engine.vlms.config import VlmConfig
from engine.vlms.generation import Generation
from engine.vlms.server.client import Client
from engine.vlms.server.served import Program, check_server

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from engine.vlms.base import Losses

MAX_PIXELS = 1_048_576
"""Largest area of a photo that is sent, where the config has none: at the 4,096 tokens of context that Ollama and
llama.cpp start with, larger photos leave no room for a text.
"""
JPEG_QUALITY = 92
"""Quality of the JPEG that is sent; on the scale of libjpeg, at which differences can hardly be seen."""
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
_UNENDED = "<think>"
_WITHOUT_THINKING: Mapping[Program, Mapping[str, object]] = {
    "ollama": {"reasoning_effort": "none"},
    "llama.cpp": {"chat_template_kwargs": {"enable_thinking": False}},
    "vllm": {"chat_template_kwargs": {"enable_thinking": False}},
}
"""What tells each program that the model is to answer at once."""


@dataclass(frozen=True)
class SentPhotos:
    """Photos as they are sent: `data:` URLs."""

    urls: tuple[str, ...]

    @property
    def dtype(self) -> "torch.dtype":
        """Not there: a server keeps its features to itself."""
        raise _only_here("the features of a photo")

    def select(self, photos: list[int]) -> "SentPhotos":
        """Return some of the photos, by their indices in the batch."""
        return SentPhotos(tuple(self.urls[i] for i in photos))


class ServerVlm:
    """A VLM in a server; implements `base.Vlm` as far as a server can. Threads may share it."""

    width = 0
    """A server takes no concept embeddings."""

    def __init__(self, config: VlmConfig, client: Client, program: Program) -> None:
        self.config = config
        self._client = client
        self._program = program

    @classmethod
    def load(cls, config: VlmConfig) -> "ServerVlm":
        """Check that the server is there and can describe photos on its own machine.

        Raises:
            UsageError: photos would leave this machine.
            EnvironmentFault: the server is not there, does not have the model, or the model cannot see pictures.
        """
        assert config.server is not None
        client = Client(config.server)
        return cls(config, client, check_server(client))

    @property
    def device(self) -> "torch.device":
        """Not there: only the server knows."""
        raise _only_here("the device")

    @property
    def image_edge(self) -> int:
        """Return the side in pixels of a square photo that is sent as large as possible."""
        return math.isqrt(self._max_pixels)

    @property
    def _max_pixels(self) -> int:
        return (self.config.chat.max_pixels if self.config.chat else None) or MAX_PIXELS

    def view(self, image: Image.Image) -> Box:
        """Return the whole photo: nothing is cut off before it is sent."""
        return Box(0.0, 0.0, float(image.width), float(image.height))

    def preprocess(self, images: list[Image.Image]) -> SentPhotos:
        """Encode upright RGB images as JPEG, made smaller where they have too many pixels."""
        return SentPhotos(tuple(_data_url(image, self._max_pixels) for image in images))

    def encode(self, pixel_values: SentPhotos) -> SentPhotos:
        """Return the photos: a server computes features anew for every request."""
        return pixel_values

    def inject(self, image_features: SentPhotos, embeddings: Sequence[Sized]) -> list[str]:
        """Return the photos; `embeddings` must be empty, or hold nothing but empty ones.

        Raises:
            UsageError: there are embeddings.
        """
        if any(len(vectors) for vectors in embeddings):
            raise UsageError(
                "a server cannot use embeddings", hint="Leave out --speak, or use a VLM on this disk: --vlm NAME"
            )
        return list(image_features.urls)

    def encode_prompt(self, request: str) -> str:
        """Return the request: the server applies the model's chat template."""
        return request

    def generate(self, rows: list[str], ids: list[str], max_new_tokens: int | None = None) -> list[Generation]:
        """Ask about each photo, a few at a time.

        Raises:
            PhotoError: a photo got no answer.
            EnvironmentFault: the server is not there any more, or its model cannot see pictures.
        """
        limit = max_new_tokens or self.config.max_new_tokens
        tasks = [partial(self._ask, url, request, limit) for url, request in zip(rows, ids, strict=True)]
        parallel = self.config.server.parallel if self.config.server else 1
        return in_parallel(tasks, parallel, self.stop)

    def stop(self) -> None:
        """Break off all requests that are under way in other threads."""
        self._client.stop()

    def _ask(self, url: str, request: str, limit: int) -> Generation:
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": request}]
        body = {
            "model": self._client.server.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": limit,
            "temperature": 0,
            "seed": 0,
            "stream": False,
            **_WITHOUT_THINKING.get(self._program, {}),
        }
        return read_answer(self._client.chat(body), self._client.server.model)

    def encode_example(self, request: str, answer: str) -> tuple[str, str]:
        """Refuse: training needs the weights."""
        raise _only_here("training")

    def loss(
        self,
        rows: list[str],
        concepts: list[int],
        ids: list[str],
        labels: list[str],
        penalty_weight: float | None = None,
    ) -> "Losses":
        """Refuse: training needs the weights."""
        raise _only_here("training")

    def concept_attention(self, rows: list[str], concepts: list[int], ids: list[str]) -> "list[Tensor]":
        """Refuse: attention is inside the server."""
        raise _only_here("a picture of attention")


def _only_here(what: str) -> UsageError:
    return UsageError(
        f"{what} needs the VLM's weights on this machine, and a server does not give them",
        hint="Use a VLM on this disk: --vlm NAME. `myvlm models` lists them.",
    )


def _data_url(image: Image.Image, max_pixels: int) -> str:
    """Encode an image as a `data:` URL with a JPEG of at most `max_pixels` pixels."""
    pixels = image.width * image.height
    if pixels > max_pixels:
        scale = math.sqrt(max_pixels / pixels)
        size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.convert("RGB").save(data, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode('ascii')}"


def read_answer(document: Mapping[str, Any], model: str) -> Generation:
    """Read the text of a completion, without what the model thought before.

    Raises:
        PhotoError: there is no text: the model refused, thought until the limit, or said nothing.
    """
    try:
        choice = document["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        refusal = message.get("refusal")
        text = _text_of(message.get("content"))
    except (KeyError, IndexError, TypeError, AttributeError) as err:
        raise PhotoError(f"the reply of {model} holds no answer") from err
    if refusal or reason == "content_filter":
        raise PhotoError(f"{model} refused to answer: {str(refusal or 'filtered')[:200]}")
    answer = _THOUGHT.sub("", text).rpartition("</think>")[2].partition(_UNENDED)[0].strip()
    if not answer and reason == "length":
        raise PhotoError(f"{model} reached the token limit before it answered; use a model that does not think")
    if not answer:
        raise PhotoError(f"{model} said nothing")
    return Generation(answer, capped=reason == "length")


def _text_of(content: object) -> str:
    """Return a message's text, which may come in parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
