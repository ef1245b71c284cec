"""Give a LLaVA-NeXT one base tile of a photo through the `chat` backend, as its own adapter does (the storybook's)."""

from collections.abc import Sequence
from typing import Any

import engine.core.device  # noqa: F401

import torch
from PIL import Image

from engine.core.boxes import Box
from engine.vlms.chat.values import ChatPhoto, EncodedPhoto, Line
from engine.vlms.llava_next import LlavaNext, encoder_outputs


class OneTileInputs:
    """Makes photos and lines with the native adapter of the same model, so that both see the same numbers."""

    def __init__(self, native: LlavaNext) -> None:
        self.native = native
        self.tokenizer: Any = native.tokenizer

    def preprocess(self, images: Sequence[Image.Image]) -> list[ChatPhoto]:
        """Convert upright RGB images to base tiles."""
        tiles = (self.native.one_tile([image]) for image in images)
        return [ChatPhoto(image, {"pixel_values": tile}, {}) for image, tile in zip(images, tiles, strict=True)]

    def encode(self, photos: Sequence[ChatPhoto]) -> list[EncodedPhoto]:
        """Encode the photos in one batch."""
        features = self.native.encode(torch.cat([p.pixels["pixel_values"] for p in photos]))
        return [
            EncodedPhoto(photo, encoder_outputs([rows])["image"], {}, norm, features.dtype)
            for photo, rows, norm in zip(photos, features.features, features.norms, strict=True)
        ]

    def view(self, image: Image.Image) -> Box:
        """Return the middle square of a photo."""
        return self.native.view(image)

    def template(self, request: str, answer: str | None = None) -> str:
        """Write a request about an image as the prompt; with an answer, the whole conversation."""
        end = "" if answer is None else f" {answer}{self.tokenizer.eos_token}"
        return self.native.prompt(request) + end

    def line(self, photo: ChatPhoto, text: str) -> Line:
        """Tokenise a text with one image; its placeholder is repeated for each of the tile's rows."""
        ids = self.native.encode_text(text)
        at = ids.index(self.native.model.config.image_token_id)
        count = self.rows
        return Line([*ids[:at], *[ids[at]] * count, *ids[at + 1 :]], {}, list(range(at, at + count)), at + count)

    @property
    def rows(self) -> int:
        """The number of rows of one tile."""
        config = self.native.model.config
        grid = config.vision_config.image_size // config.vision_config.patch_size
        return grid * grid + (0 if config.vision_feature_select_strategy == "default" else 1)
