"""Make a checkpoint's inputs with its own processor and chat template."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import engine.core.device  # noqa: F401

from PIL import Image
from torch import Tensor

from engine.core.boxes import Box
from engine.core.errors import EnvironmentFault
from engine.vlms.base import limit_aspect_ratio
from engine.vlms.chat.model import ChatConfig
from engine.vlms.chat.pixels import limit_pixels
from engine.vlms.chat.values import ChatPhoto, Line

_CLOSING = (
    "vision_end_token",  # Qwen, LFM3
    "image_end_token",  # GLM-4V, LFM2, Mistral, MiniCPM
    "slice_end_token",  # MiniCPM
    "end_image_token",  # InternVL
    "eoi_token",  # Gemma
    "fake_image_token",  # SmolVLM, Idefics3
)
"""What processors, tokenizers and configs call the token behind an image; Molmo2's are in `image_token_ids`."""


class RememberingImageProcessor:
    """Takes the place of an image processor inside a processor: an image that it has seen is not processed again.

    The processor expands an image's token from the image processor's output, so that each text about a photo would
    process its pixels once more.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.kept: Mapping[str, Any] | None = None

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Return the output that is in use, or else process the images and keep the output."""
        from transformers import BatchFeature

        if self.kept is None:
            self.kept = dict(self.inner(*arguments, **options))
        return BatchFeature(dict(self.kept))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class ProcessorInputs:
    """Makes photos and lines of tokens with the processor of a checkpoint, exactly as the processor itself would."""

    def __init__(
        self, processor: Any, config: ChatConfig, max_pixels: int | None, template_options: Mapping[str, Any]
    ) -> None:
        """Take a processor over; config: the model's settings."""
        self.config = config
        self.processor, self.max_pixels, self.template_options = processor, max_pixels, template_options
        self._images = RememberingImageProcessor(processor.image_processor)
        processor.image_processor = self._images
        self.tokenizer = processor.tokenizer

    def preprocess(self, images: Sequence[Image.Image]) -> list[ChatPhoto]:
        """Convert upright RGB images; nothing is encoded yet."""
        return [self._photo(image) for image in images]

    def _photo(self, image: Image.Image) -> ChatPhoto:
        sent = limit_pixels(limit_aspect_ratio(image), self.max_pixels)
        self._images.kept = None
        inputs = self._process(sent, self.template("."))
        pixels = {name: value for name, value in inputs.items() if not _is_of_tokens(name, value, inputs)}
        return ChatPhoto(sent, pixels, self._images.kept or {})

    def view(self, image: Image.Image) -> Box:
        """Return the part of a photo that the checkpoint sees: all but what is cropped from long ones."""
        width, height = image.size
        sent = limit_aspect_ratio(image)
        if getattr(self._images.inner, "do_center_crop", False):
            side = min(sent.size)
            return _middle(width, height, side, side)
        return _middle(width, height, *sent.size)

    def template(self, request: str, answer: str | None = None) -> str:
        """Write a request about an image as the prompt; with an answer, the whole conversation.

        Special tokens in the texts of users (a question, a name) are left out: they would end the turn, or stand for
        another image.
        """
        texts = [self._special.sub("", text) for text in (request, answer or "")]
        turns = [_turn("user", texts[0], image=True)] + ([] if answer is None else [_turn("assistant", texts[1])])
        text = self.processor.apply_chat_template(
            turns, add_generation_prompt=answer is None, tokenize=False, **self.template_options
        )
        return str(text)

    def line(self, photo: ChatPhoto, text: str) -> Line:
        """Tokenise a text with one image.

        Raises:
            EnvironmentFault: the processor made no image tokens.
        """
        self._images.kept = photo.kept
        inputs = self._process(photo.image, text)
        ids = inputs["input_ids"][0].tolist()
        types = {
            name: value[0].tolist()
            for name, value in inputs.items()
            if _is_of_tokens(name, value, inputs) and name not in ("input_ids", "attention_mask")
        }
        image = [i for i, token in enumerate(ids) if token == self.config.image_token_id]
        if not image:
            raise EnvironmentFault("the checkpoint's chat template has no place for an image", hint="Use another VLM.")
        return Line(ids, types, image, self._behind(ids, image[-1] + 1))

    def _behind(self, ids: list[int], at: int) -> int:
        """Return the index behind the tokens that close an image's block, which stand right behind its last token."""
        while at < len(ids) and ids[at] in self._closing:
            at += 1
        return at

    @cached_property
    def _special(self) -> re.Pattern[str]:
        """Finds the special tokens in a text."""
        added = self.tokenizer.added_tokens_decoder.values()
        tokens = {str(token) for token in added if token.special} | {str(self.processor.image_token)}
        return re.compile("|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True)))

    @cached_property
    def _closing(self) -> frozenset[int]:
        """The ids that may close an image's block, under the names that the families have for them."""
        named = {getattr(owner, name, None) for owner in (self.processor, self.tokenizer) for name in _CLOSING}
        tokens = sorted(token for token in named if isinstance(token, str))
        ids = {*self.tokenizer.convert_tokens_to_ids(tokens), *getattr(self.processor, "image_token_ids", ())}
        ids |= {getattr(self.config, f"{name}{ending}", None) for name in _CLOSING for ending in ("_id", "_index")}
        return frozenset(i for i in ids if isinstance(i, int)) - {self.tokenizer.eos_token_id}

    def _process(self, image: Image.Image, text: str) -> Any:
        """Run the processor on one photo and text, as `apply_chat_template` does: one start token, never two."""
        bos = self.tokenizer.bos_token
        options = {"add_special_tokens": False} if bos and text.startswith(bos) else {}
        return self.processor(text=[text], images=[[image]], return_tensors="pt", **options)


def _turn(role: str, text: str, *, image: bool = False) -> dict[str, Any]:
    parts = [{"type": "image"}] if image else []
    return {"role": role, "content": [*parts, {"type": "text", "text": text}]}


def _is_of_tokens(name: str, value: Any, inputs: Mapping[str, Any]) -> bool:
    """Return whether a tensor has a value for each token."""
    like_ids = isinstance(value, Tensor) and value.shape == inputs["input_ids"].shape
    return name in ("input_ids", "attention_mask") or (like_ids and name.endswith("token_type_ids"))


def _middle(width: int, height: int, inner_width: int, inner_height: int) -> Box:
    x, y = (width - inner_width) / 2, (height - inner_height) / 2
    return Box(x, y, x + inner_width, y + inner_height)
