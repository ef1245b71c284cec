"""The text side of tiny checkpoints: a tokenizer of bytes with a family's special tokens, and sizes."""

from functools import cache

import engine.core.device  # noqa: F401

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
WORDS = ["user assistant system describe this photo of Rex and Anna in one sentence . a dog is red on the beach"]
PIXELS = 4
"""The side in pixels of a patch of every tiny vision tower."""


@cache
def trained_tokens() -> str:
    """A tokenizer of bytes and a few merged words, as JSON."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=[PAD, BOS, EOS], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(WORDS, trainer)
    return tokenizer.to_str()


def make_tokenizer(specials, *, bos=None, **named):
    """A tokenizer with special tokens; `named` become its attributes, such as `image_token`."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(trained_tokens()),
        pad_token=PAD,
        eos_token=named.pop("eos", EOS),
        bos_token=bos,
        extra_special_tokens=named,
        padding_side="left",
    )
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    return tokenizer


def text_sizes(tokenizer, *, head_dim=True, **more):
    """The settings of a tiny language model."""
    sizes = {
        "vocab_size": len(tokenizer) + 8,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    return sizes | ({"head_dim": 8} if head_dim else {}) | more


SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 16,
    "patch_size": PIXELS,
    "vision_use_head": False,
}
