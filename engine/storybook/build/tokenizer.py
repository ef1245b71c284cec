"""Build the storybook's tokenizer: whole words, in the format of transformers' fast tokenizers."""

import re

import engine.core.device  # noqa: F401

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from engine.storybook.world import attributes as words
from engine.storybook.world.individuals import draw_individual
from engine.storybook.world.language import (
    CAPTION_STYLES,
    caption,
    caption_request,
    iter_descriptions,
    questions,
    refer_request,
)
from engine.storybook.world.population import draw_population

PIECES = r"<image>|<\d{1,3}>|[A-Za-z]+|\d|[^\sA-Za-z\d]"
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}USER: "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}"
    "{% else %} ASSISTANT: {{ message['content'] if message['content'] is string else message['content'][0]['text'] }}"
    "</s>{% endif %}{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)
"""The turn format of LLaVA-1.6 without its system prompt (`docs/method.md`, "LLaVA-1.6")."""


def _world_texts() -> list[str]:
    texts = ["USER: ASSISTANT: sks is the dog. It is that this with on and of"]
    for scene, hero in draw_population(77, 4000):
        i = [c.who for c in scene.characters].index(hero)
        texts += [caption(scene, i, style=style) for style in CAPTION_STYLES]
        texts += [part for pair in questions(scene, i, "the dog") for part in pair]
    rng = np.random.default_rng(78)
    for category in words.CATEGORIES * 40:
        texts += [d.phrase for d in iter_descriptions(draw_individual(rng, category))]
    return [*texts, caption_request(), caption_request("sks"), refer_request("the dog"), "Nobody. nobody"]


def vocabulary() -> list[str]:
    """List special tokens, box numbers `<0>` to `<100>`, identifiers, and every other word of the world."""
    pieces = {piece for text in _world_texts() for piece in re.findall(PIECES, text)}
    pieces |= set("{}[]()\"'!?,.:;-+/") | set("0123456789")
    boxes = [f"<{i}>" for i in range(101)]
    first = [*SPECIAL, *boxes, *words.IDENTIFIERS]
    return first + sorted(pieces - set(first))


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """Return the id of one token."""
    return tokenizer.get_vocab()[token]


def make_tokenizer(extra: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """Build the tokenizer; the same world gives the same ids. `extra` words get the ids after those."""
    ids = {word: i for i, word in enumerate((*vocabulary(), *extra))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), behavior="removed", invert=True)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=True),
            decoders.Fuse(),
            decoders.Replace(" ' s", "'s"),
            decoders.Replace("[ refer ]", "[refer]"),
            decoders.Replace("> <", "><"),
            decoders.Replace("{ <", "{<"),
            decoders.Replace("> }", ">}"),
        ]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=["<image>"],
        padding_side="left",
        model_max_length=512,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
