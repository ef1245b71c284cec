"""Types of the parts of transformers' models that myvlm uses.

transformers builds most submodules with `AutoModel.from_config`, and the configs of submodels are annotated as
`dict | PreTrainedConfig | None`, so that a type checker sees neither. These protocols say what a loaded model of each
family offers. `frozen.FrozenVlm` casts the model to its family's protocol, once.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import engine.core.device  # noqa: F401

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase


class Hidden(Protocol):
    """The output of a transformer: last hidden states (B, S, D), and those of every layer where they were asked for."""

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...]


class Transformer(Protocol):
    """A stack of layers that is called with pixels, ids or embeddings."""

    def __call__(self, *inputs: Tensor, **options: Any) -> Hidden:
        """Return the hidden states."""


class Logits(Protocol):
    """The output of a language model: logits (B, S, V)."""

    logits: Tensor


class TextConfig(Protocol):
    """The language model's settings."""

    hidden_size: int


class VisionConfig(Protocol):
    """The vision tower's settings; `image_size` and `patch_size` are sides in pixels."""

    hidden_size: int
    image_size: int
    patch_size: int


class ModelConfig(Protocol):
    """What the configs of all families hold."""

    text_config: TextConfig
    vision_config: VisionConfig


class Model(Protocol):
    """What the models of all families offer."""

    @property
    def config(self) -> ModelConfig:
        """The model's settings."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights."""


class Decoder(Protocol):
    """A Llama with its output layer; `model` is the Llama without it."""

    model: Transformer

    def lm_head(self, hidden_states: Tensor) -> Tensor:
        """Hidden states (T, D) to logits (T, V)."""

    def generate(self, **inputs: Any) -> Tensor:
        """Generate ids: (B, L) int64."""

    def set_attn_implementation(self, attn_implementation: str) -> None:
        """Choose an attention function by its registered name."""


class LlavaConfig(ModelConfig, Protocol):
    """The settings of a LLaVA-NeXT."""

    image_token_id: int
    image_grid_pinpoints: list[list[int]]
    vision_feature_layer: int
    vision_feature_select_strategy: str


class LlavaBody(Transformer, Protocol):
    """A LLaVA-NeXT without its output layer."""

    vision_tower: Transformer
    language_model: Transformer
    image_newline: Tensor  # (D,)

    def multi_modal_projector(self, image_features: Tensor) -> Tensor:
        """Rows of the vision tower (T, N, D_vision) to rows of the language model (T, N, D)."""

    def pack_image_features(
        self,
        image_features: Sequence[Tensor],
        image_sizes: Tensor,
        vision_feature_select_strategy: str,
        image_newline: Tensor,
    ) -> tuple[list[Tensor], Tensor]:
        """Rows of each photo's tiles (T_i, N, D) to one sequence of rows (N_i, D) a photo, and their counts."""


class LlavaModel(Model, Protocol):
    """`LlavaNextForConditionalGeneration`."""

    model: LlavaBody

    @property
    def config(self) -> LlavaConfig:
        """The model's settings."""

    def lm_head(self, hidden_states: Tensor) -> Tensor:
        """Hidden states (T, D) to logits (T, V)."""

    def generate(self, **inputs: Any) -> Tensor:
        """Generate ids behind the prompt's: (B, S + L) int64."""

    def set_attn_implementation(self, attn_implementation: dict[str, str]) -> None:
        """Choose the attention function of each submodel by its registered name."""


class MiniGptModelConfig(ModelConfig, Protocol):
    """The settings of a converted MiniGPT-v2; see `minigpt_v2.MiniGptConfig`."""

    merge: int


class MiniGpt(Model, Protocol):
    """`minigpt_v2.MiniGptModel`."""

    language_model: Decoder

    @property
    def config(self) -> MiniGptModelConfig:
        """The model's settings."""

    def get_input_embeddings(self) -> torch.nn.Module:
        """Return the table of token embeddings."""

    def embed_images(self, pixel_values: Tensor) -> Tensor:
        """Pixels (B, 3, S, S) to image rows (B, N, D)."""


class Blip2VisionTower(Protocol):
    """BLIP-2's vision tower in its parts."""

    encoder: Transformer

    def embeddings(self, pixel_values: Tensor) -> Tensor:
        """Pixels (B, 3, S, S) to patch embeddings with the class token first: (B, N, D)."""

    def post_layernorm(self, hidden_states: Tensor) -> Tensor:
        """Normalise rows (B, N, D)."""


class CrossAttention(Protocol):
    """A block's cross-attention; `attention` is the module that is called with queries, keys and values."""

    attention: torch.nn.Module


class QFormerBlock(Protocol):
    """One layer of the Q-Former; only every second one looks at the image."""

    has_cross_attention: bool
    crossattention: CrossAttention


class QFormerEncoder(Protocol):
    """The Q-Former's layers."""

    layer: Iterable[QFormerBlock]


class QFormer(Transformer, Protocol):
    """The transformer between BLIP-2's vision tower and its language model."""

    encoder: QFormerEncoder


class EncoderDecoder(Protocol):
    """A T5."""

    def __call__(self, **inputs: Any) -> Logits:
        """Return the decoder's logits."""

    def forward(self, **inputs: Any) -> Logits:
        """Return the decoder's logits."""

    def generate(self, **inputs: Any) -> Tensor:
        """Generate ids: (B, L) int64."""

    def get_input_embeddings(self) -> torch.nn.Module:
        """Return the table of token embeddings."""

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """Labels (B, L) to the decoder's inputs: shifted by one, -100 replaced by padding."""


class Blip2Model(Model, Protocol):
    """`Blip2ForConditionalGeneration` with a T5."""

    vision_model: Blip2VisionTower
    qformer: QFormer
    query_tokens: Tensor  # (1, Q, D_qformer)
    language_projection: torch.nn.Linear
    language_model: EncoderDecoder

    def set_attn_implementation(self, attn_implementation: dict[str, str]) -> None:
        """Choose the attention function of each submodel by its registered name."""


class TokenizedText(Protocol):
    """The output of a tokenizer for one text."""

    input_ids: list[int]


class Tokenizer(Protocol):
    """A tokenizer of transformers; tokens that it does not have are None."""

    pad_token_id: int | None
    bos_token_id: int | None
    eos_token_id: int

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> TokenizedText:
        """Tokenize a text."""

    def batch_decode(self, sequences: Tensor, skip_special_tokens: bool) -> list[str]:
        """Ids (B, L) to texts."""

    def apply_chat_template(
        self, conversation: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool, tokenize: bool
    ) -> str:
        """Write a conversation as one prompt."""


AnyTokenizer = Tokenizer | PreTrainedTokenizerBase
"""What the families are made with: transformers annotates its tokenizers' methods with wide unions."""


class ImageProcessor(Protocol):
    """An image processor of transformers; sizes are in pixels."""

    size: dict[str, int]
    crop_size: dict[str, int]
    resample: int
    image_mean: list[float]
    image_std: list[float]

    def __call__(self, images: Sequence[Image.Image], *, return_tensors: str) -> Mapping[str, Tensor]:
        """Convert images to tensors by name: `pixel_values`, and `image_sizes` where images are cut into tiles."""
