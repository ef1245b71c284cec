"""Cleaning what a VLM generates: special tokens, turn marks and broken characters are not words for people."""

import re

_TOKENS = re.compile(
    r"<\|[^|<>]{1,40}\|>|</?s>|<(?:unk|pad|bos|eos|mask|image|video|delim|start_of_turn|end_of_turn|extra_id_\d+)>"
    r"|<Img>.*?</Img>|<ImageHere>|</?p>|\{?(?:<-?\d{1,4}>)+\}?|\[/?INST\]|<</?SYS>>|<0x[0-9A-Fa-f]{2}>",
    re.DOTALL,
)
"""Special tokens of the Llama, T5, Qwen and Gemma tokenizers, and the box and phrase marks of MiniGPT-v2."""
_BROKEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ue000-\uf8ff\ufeff\u200b]")
"""Control characters, replacement characters, private use, and marks that nobody sees."""
_OPENING = re.compile(r"^\s*(?:###\s*)?(?:ASSISTANT|Assistant|Answer)\s*:\s*")
_TURN = re.compile(r"\s*(?:###|\b(?:ASSISTANT|USER|HUMAN)\s*:).*", re.DOTALL)
"""Where the text goes on with another turn, which the VLM made up."""


def clean_text(text: str, *, capped: bool = False) -> str:
    """What people read of a generated text. A text without debris comes back as it is, but for its white space.

    capped: it hit the limit of tokens. Then an unfinished last sentence is cut off, if there is a finished one.
    """
    bare = _BROKEN.sub("", _TOKENS.sub(" ", text))
    bare = _TURN.sub("", _OPENING.sub("", bare))
    bare = " ".join(bare.split())
    if bare != " ".join(text.split()):
        bare = re.sub(r"\s+([,.;:!?])", r"\1", bare)
    if capped and (ends := [m.end(1) for m in re.finditer(r"[^\s.]([.!?][\"'”’)]*)(?=\s)", bare)]):
        return bare if re.search(r"[.!?][\"'”’)]*$", bare) else bare[: ends[-1]]
    return bare
