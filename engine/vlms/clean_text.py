"""Clean generated texts: remove special tokens, turn marks and broken characters."""

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
"""Special tokens of the Llama, T5, BERT, Qwen and Gemma tokenizers; MiniGPT-v2's marks of boxes, phrases and tasks."""
_ECHO = re.compile(
    r"^\s*(?:<s>)?\s*(?:\[INST\].*\[/INST\]|(?:USER|HUMAN)\s*:.*?\bASSISTANT\s*:|Question\s*:.*?\bAnswer\s*:)(?=.*\w)",
    re.DOTALL,
)
"""The prompt, where it is repeated before the answer."""
_END = re.compile(r"</s>|<eos>|<end_of_turn>|<\|(?:im_end|endoftext|eot_id|end)\|>")
"""The end of the answer; text after it was generated because the loop did not stop there."""
_HALF_TOKEN = re.compile(r"(?:\{\s*(?:<-?\d{1,4}>\s*)*<?-?\d{0,4}|<[|/\w]*)$")
"""A special token that the token limit cut off."""
_ROLES = r"ASSISTANT|USER|HUMAN|SYSTEM"
_SPEAKERS = r"Assistant|User|Human|Answer|Question"
_OPENING = re.compile(rf"^\s*(?:#{{1,6}}\s+|#{{3,}}|\b(?:{_ROLES}|Assistant|Answer)\s*:\s*)+")
_TURN = re.compile(
    rf"(?:^|(?<=\n)|(?<=[.!?\"”]))\s*(?:###|(?:{_ROLES}|{_SPEAKERS})\s*:).*"
    rf"|\s*###\s*(?:{_ROLES}|{_SPEAKERS}|Instruction|Response)\b.*",
    re.DOTALL,
)
"""The start of a further turn of the dialogue, which the VLM invented. Within a sentence the same marks are kept: they
may be the text of a sign or a screen in the photo.
"""
_BROKEN_CATEGORIES = frozenset({"Cc", "Cs", "Co", "Cn"})
"""Unicode categories: control, surrogate, private use, unassigned."""
_INVISIBLE = frozenset("\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff\ufffd")
"""Marks of width and direction, and the replacement character. Joiners stay for Persian, Indic scripts and emoji."""
_REMOVED = "\0"
"""Stands for a removed token; at that point the text holds no control characters."""
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*(?=\s|$)|[。！？][」』”’）]*")
_ABBREVIATED = re.compile(
    r"(?:^|[\s(\"“])(?:[A-Z]|(?:[A-Za-z]\.)+[A-Za-z]|\d+|Mr|Mrs|Ms|Dr|Prof|St|Mt|Jr|Sr|No|vs|etc|e\.g|i\.e|approx)\.$"
)


def clean_text(text: str, *, capped: bool = False, keep_lines: bool = False) -> str:
    """Return the words of a generated text for people to read, with single spaces.

    capped: the text was cut off at the token limit. An unfinished last sentence is removed then, unless it is the
        only one.
    keep_lines: keep line ends, for callers that want to read a text line by line.
    """
    text = re.sub(r"[^\S\n]+", " ", "\n".join(text.strip().splitlines()))
    text = _until_end(_ECHO.sub("", text))
    if capped:
        text = _HALF_TOKEN.sub("", text)
    text = _without_tokens("".join(_visible(c) for c in text))
    text = _TURN.sub("", _OPENING.sub("", text))
    lines = [" ".join(line.split()) for line in (text.splitlines() if keep_lines else [text])]
    text = "\n".join(line for line in lines if line)
    return _whole_sentences(text) if capped else text


def _visible(character: str) -> str:
    """Return a character, or "" for one that people cannot see."""
    if character.isspace():
        return character
    return "" if character in _INVISIBLE or unicodedata.category(character) in _BROKEN_CATEGORIES else character


def _until_end(text: str) -> str:
    """Return the text up to the first end token that has words before it."""
    ends = (m.start() for m in _END.finditer(text) if re.search(r"\w", _TOKENS.sub(" ", text[: m.start()])))
    return text[: next(ends, None)]


def _without_tokens(text: str) -> str:
    """Return the text without special tokens, and without the space that they leave before punctuation."""
    marked = _TOKENS.sub(_REMOVED, text)

    def gap(match: re.Match[str]) -> str:
        if _REMOVED not in match[0]:
            return match[0]
        return "" if marked[match.end() : match.end() + 1] in set(",.;:!?") else " "

    return re.sub(rf"[ \t{_REMOVED}]+", gap, marked)


def _whole_sentences(text: str) -> str:
    """Return the text up to the end of its last whole sentence; all of it where there is none."""
    ends = [
        m.end()
        for m in _SENTENCE_END.finditer(text)
        if not _ABBREVIATED.search(text[: m.start() + 1]) and not text[m.end() :].lstrip(" \"'“‘(")[:1].islower()
    ]
    return text[: ends[-1]] if ends else text
