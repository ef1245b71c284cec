"""What a file stores: bytes that are read by slices, and texts in an undeclared or wrongly declared encoding.

The bytes are in memory, or in an open file of which only the requested parts are read.
"""

import codecs
import os
from typing import Protocol

_BLANKS = "\0 \t\r\n\ufeff"
_UNDEFINED = {0x81: "\ufffd", 0x8D: "\ufffd", 0x8F: "\ufffd", 0x90: "\ufffd", 0x9D: "\ufffd"}
"""Bytes that Windows-1252 does not define."""


class Slices(Protocol):
    """Interface that the parsers of this package need: a length, and `data[start:stop]` as bytes (fewer at the end)."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes: ...


class FileSlices:
    """The bytes of an open file, read when they are requested."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        return os.pread(self._descriptor, stop - start, start) if stop > start else b""


class Part:
    """A part of other bytes, without a copy."""

    def __init__(self, data: Slices, start: int, stop: int) -> None:
        self._data = data
        self._start = min(max(start, 0), len(data))
        self._size = max(0, min(stop, len(data)) - self._start)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        return self._data[self._start + start : self._start + max(start, stop)]


def decode_text(data: bytes, encoding: str = "") -> str:
    """Decode a text, without blanks around it. encoding: the declared codec; "" for none: UTF-8, else Windows-1252.

    Windows-1252 is also used if Latin-1 is declared: they differ only in the control characters U+0080–U+009F, which no
    text contains. In any other encoding these stand for the characters of Windows-1252 as well: a program took
    Windows-1252 for Latin-1 before. A last character that was cut in two by a length limit is left out.
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
    """Decode UTF-8 whose last character may be cut in two; None if it is not UTF-8."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return None
    # A single byte above ASCII at the end of plain ASCII is a letter of Windows-1252, not a part of a character.
    return None if text.isascii() and len(text) < len(data) else text


def _declared_utf8(data: bytes) -> str:
    """Decode a text declared as UTF-8; programs that ignore the declaration write Windows-1252 instead."""
    text = _whole_utf8(data)
    if text is not None:
        return text
    text = data.decode("utf-8", "replace")
    has_others = any(c > "\x7f" and c != "\ufffd" for c in text)
    return text if has_others else _from_windows(data)


def _from_windows(data: bytes) -> str:
    return data.decode("latin-1")  # `decode_text` converts the control characters


_WINDOWS = {n: _UNDEFINED.get(n) or bytes([n]).decode("cp1252") for n in range(0x80, 0xA0)}
