"""Compute the features of texts with open_clip, in the space of the features of images."""

import engine.core.device  # noqa: F401

import numpy as np
import open_clip
import torch

from engine.core.errors import EnvironmentFault, UsageError, first_line, is_out_of_memory
from engine.vision.encoder import EncoderSource, load_model


class TextEncoder:
    """The text tower of an open_clip model, in float32 on the CPU: one text takes less time than a GPU needs to start.

    The image features that are stored are those of `encode_image`, so that cosine similarities are open_clip's.
    """

    def __init__(self, source: EncoderSource) -> None:
        """Load an encoder, and free its image tower.

        Raises:
            WeightsMissingError: its weights are not on this disk.
            EnvironmentFault: its tokenizer cannot be loaded.
        """
        self._name = source.name
        self._model = load_model(source).eval().requires_grad_(False)
        self._model.visual = torch.nn.Identity()
        try:
            self._tokenizer = open_clip.get_tokenizer(source.model)
        except Exception as err:  # tokenizers of several libraries
            if is_out_of_memory(err):
                raise
            raise EnvironmentFault(
                f"the tokenizer of {source.name} cannot be loaded: {first_line(err)}",
                hint=f"Run: myvlm models pull {source.name}",
            ) from err

    @torch.inference_mode()
    def encode(self, text: str) -> np.ndarray:
        """Compute the features of a text: (D,) float32 of unit length.

        Raises:
            UsageError: the text is longer than the model reads.
        """
        tokens = self._tokenizer([text])  # (1, L)
        if torch.equal(tokens, self._tokenizer([f"{text} and"])):  # it was cut
            raise UsageError(f"the description is longer than {self._name} reads", hint="Use a sentence.")
        features: np.ndarray = self._model.encode_text(tokens, normalize=True)[0].float().numpy()
        return features
