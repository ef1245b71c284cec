"""Text of cameras and programs that do not say, or say wrongly, how it is encoded."""

import codecs

_BLANKS = "\0 \t\r\n\ufeff"
_UNDEFINED = {0x81: "\ufffd", 0x8D: "\ufffd", 0x8F: "\ufffd", 0x90: "\ufffd", 0x9D: "\ufffd"}
"""Bytes that Windows-1252 leaves open."""


def decode_text(data: bytes, encoding: str = "") -> str:
    """Text without blanks around it, in a declared encoding (a codec's name); "" for none: UTF-8, else Windows-1252.

    Windows-1252 is also read where Latin-1 is declared: the two differ in the control characters U+0080–U+009F only,
    which nobody means. In any other encoding, too, they stand for the characters of Windows-1252: a program took these
    for Latin-1 before. A character that a limit of length cut in two at the end is left out.
    """
    if not encoding:
        text = _whole_utf8(data)
        text = _from_windows(data) if text is None else text
    elif encoding == "utf-8":
        text = _declared_utf8(data)
    else:
        text = _from_windows(data) if encoding in ("latin-1", "cp1252") else data.decode(encoding, "replace")
    return text.translate(_WINDOWS).strip(_BLANKS)


def _whole_utf8(data: bytes) -> str | None:
    """Text in UTF-8, whose last character may be cut in two; None where it is no UTF-8."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return None
    # A single letter above ASCII at the end of plain ASCII is one of Windows-1252, not the beginning of another.
    return None if text.isascii() and len(text) < len(data) else text


def _declared_utf8(data: bytes) -> str:
    """Text declared as UTF-8, of which programs that do not know the declaration also write Windows-1252."""
    text = _whole_utf8(data)
    if text is not None:
        return text
    text = data.decode("utf-8", "replace")
    has_others = any(c > "\x7f" and c != "\ufffd" for c in text)
    return text if has_others else _from_windows(data)


def _from_windows(data: bytes) -> str:
    return data.decode("latin-1")  # `decode_text` does the rest


_WINDOWS = {n: _UNDEFINED.get(n) or bytes([n]).decode("cp1252") for n in range(0x80, 0xA0)}
