"""Cleaning what a VLM generates: special tokens, turn marks and broken characters are not words for people."""

import re
import unicodedata

_TOKENS = re.compile(
    r"<\|[^|<>]{1,40}\|>"  # <|im_start|>, <|box_end|>
    r"|<Img>.*?</Img>"  # the image's place in MiniGPT-v2's prompt, with what stands in it
    r"|\{?\s*(?:<-?\d{1,4}>\s*)+\}?"  # {<12><30><45><60>}, <100>
    r"|<0x[0-9A-Fa-f]{2}>"  # a byte
    r"|</?(?:[a-z][a-z0-9_]{0,30}|Img|ImageHere|S|UNK|PAD|BOS|EOS|MASK|CLS|SEP)\s*/?>"  # <s>, </p>, <extra_id_0>, <br/>
    r"|<</?SYS>>|\[/?INST\]|\[(?:UNK|PAD|BOS|EOS|MASK|CLS|SEP)\]"
    r"|\[(?:caption|vqa|refer|identify|grounding|detection)\]",  # MiniGPT-v2's tasks
    re.DOTALL,
)
"""Special tokens of the Llama, T5, BERT, Qwen and Gemma tokenizers, and the marks of boxes, phrases and tasks."""
_ECHO = re.compile(
    r"^\s*(?:<s>)?\s*(?:\[INST\].*\[/INST\]|(?:USER|HUMAN)\s*:.*?\bASSISTANT\s*:|Question\s*:.*?\bAnswer\s*:)(?=.*\w)",
    re.DOTALL,
)
"""The prompt, said again before the answer."""
_END = re.compile(r"</s>|<eos>|<end_of_turn>|<\|(?:im_end|endoftext|eot_id|end)\|>")
"""The end of the answer; what stands behind it comes of a loop that did not stop there."""
_HALF_TOKEN = re.compile(r"(?:\{\s*(?:<-?\d{1,4}>\s*)*<?-?\d{0,4}|<[|/\w]*)$")
"""A token that the limit cut in two."""
_ROLES = r"ASSISTANT|USER|HUMAN|SYSTEM"
_SPEAKERS = r"Assistant|User|Human|Answer|Question"
_OPENING = re.compile(rf"^\s*(?:#{{1,6}}\s+|#{{3,}}|\b(?:{_ROLES}|Assistant|Answer)\s*:\s*)+")
_TURN = re.compile(
    rf"(?:^|(?<=\n)|(?<=[.!?\"”]))\s*(?:###|(?:{_ROLES}|{_SPEAKERS})\s*:).*"
    rf"|\s*###\s*(?:{_ROLES}|{_SPEAKERS}|Instruction|Response)\b.*",
    re.DOTALL,
)
"""Where the text goes on with another turn, which the VLM made up. Within a sentence the same marks may be what a sign
or a screen in the photo says.
"""
_BROKEN = frozenset({"Cc", "Cs", "Co", "Cn"})
_UNSEEN = frozenset("\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff\ufffd")
"""Marks of width and direction, and the replacement character. Joiners stay: Persian, Indic scripts, emoji."""
_GONE = "\0"
"""Stands for a token that was removed; the text has no such character any more."""
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*(?=\s|$)|[。！？][」』”’）]*")
_ABBREVIATED = re.compile(
    r"(?:^|[\s(\"“])(?:[A-Z]|(?:[A-Za-z]\.)+[A-Za-z]|\d+|Mr|Mrs|Ms|Dr|Prof|St|Mt|Jr|Sr|No|vs|etc|e\.g|i\.e|approx)\.$"
)


def clean_text(text: str, *, capped: bool = False, keep_lines: bool = False) -> str:
    """Return what people read of a generated text: without debris, white space as single spaces.

    capped: it hit the limit of tokens. Then an unfinished last sentence is cut off, if there is a finished one.
    keep_lines: line ends stay, for texts of which one line is wanted.
    """
    bare = re.sub(r"[^\S\n]+", " ", "\n".join(text.strip().splitlines()))
    bare = _until_end(_ECHO.sub("", bare))
    if capped:
        bare = _HALF_TOKEN.sub("", bare)
    bare = _without_tokens("".join(_visible(c) for c in bare))
    bare = _TURN.sub("", _OPENING.sub("", bare))
    lines = [" ".join(line.split()) for line in (bare.splitlines() if keep_lines else [bare])]
    bare = "\n".join(line for line in lines if line)
    return _finished(bare) if capped else bare


def _visible(character: str) -> str:
    if character.isspace():
        return character
    return "" if character in _UNSEEN or unicodedata.category(character) in _BROKEN else character


def _until_end(text: str) -> str:
    """The text up to the first end token that has words before it."""
    ends = (m.start() for m in _END.finditer(text) if re.search(r"\w", _TOKENS.sub(" ", text[: m.start()])))
    return text[: next(ends, None)]


def _without_tokens(text: str) -> str:
    """The text without special tokens, and without the space that they leave before a comma or full stop."""
    marked = _TOKENS.sub(_GONE, text)

    def gap(found: re.Match[str]) -> str:
        if _GONE not in found[0]:
            return found[0]
        return "" if marked[found.end() : found.end() + 1] in set(",.;:!?") else " "

    return re.sub(rf"[ \t{_GONE}]+", gap, marked)


def _finished(text: str) -> str:
    """The text up to the end of its last whole sentence; all of it where there is none."""
    ends = [
        m.end()
        for m in _SENTENCE_END.finditer(text)
        if not _ABBREVIATED.search(text[: m.start() + 1]) and not text[m.end() :].lstrip(" \"'“‘(")[:1].islower()
    ]
    return text[: ends[-1]] if ends else text
