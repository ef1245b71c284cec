"""Read TIFF directories, in which EXIF is stored, in bounded time whatever the file holds.

Sources: TIFF 6.0, section 2; EXIF 2.32 (CIPA DC-008), section 4.6; BigTIFF as in libtiff's documentation.
exifread follows every directory that a file names and reads every value: a crafted file of 58 kB, which names the same
ones again and again, keeps it busy for seconds. `Tiff.is_plain` says which files may be given to it. For the others,
and for raw values, this module reads the requested tags of the first directory.
"""

import struct
from dataclasses import dataclass

from engine.photos.metadata.stored import Slices, decode_text

MOST_TAGS = 2000
"""More entries than any camera writes into one directory (damaged counts go up to 65535)."""
LARGEST_VALUE = 64 * 2**20
"""Bytes of a value; larger ones read as empty."""

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value, by TIFF field type."""
_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
"""Codes of `struct` for whole numbers, by TIFF field type."""
_POINTERS = (0x8769, 0x8825, 0xA005, 0x014A)
"""Tags that point to further directories: EXIF, GPS, interoperability, SubIFDs."""
_MOST_DIRECTORIES = 64
_MOST_VALUES = 50_000
_MAGIC = frozenset({42, 43, 0x55, 0x4F52, 0x5352})
"""Magic numbers of TIFF, BigTIFF, Panasonic RW2, and two of Olympus ORF."""


@dataclass(frozen=True)
class Entry:
    """The value of a tag, not read yet: TIFF field type, number of values, offset."""

    type: int
    count: int
    at: int


class Directory:
    """The tags of one directory. An absent or damaged tag reads as empty."""

    def __init__(self, tiff: "Tiff", entries: dict[int, Entry]) -> None:
        self._tiff = tiff
        self._entries = entries

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    @property
    def value_count(self) -> int:
        """Number of values that a reader of all tags reads; no reader reads long lists."""
        return sum(min(e.count, 1000) for e in self._entries.values())

    def raw(self, tag: int) -> bytes:
        """Return the value of a tag as stored."""
        entry = self._entries.get(tag)
        if entry is None:
            return b""
        size = _SIZES.get(entry.type, 0) * entry.count
        return self._tiff.data[entry.at : entry.at + size] if 0 < size <= LARGEST_VALUE else b""

    def text(self, tag: int) -> str:
        """Return a text up to its NUL: UTF-8, else Windows-1252 (EXIF requires ASCII; cameras write both)."""
        return decode_text(self.raw(tag).split(b"\0", 1)[0])

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Return whole numbers, at most 64."""
        entry = self._entries.get(tag)
        code = _NUMBERS.get(entry.type) if entry else None
        if code is None:
            return ()
        size = struct.calcsize(code)
        data = self.raw(tag)[: 64 * size]
        count = len(data) // size
        return struct.unpack(f"{self._tiff.order}{count}{code}", data[: count * size])


class Tiff:
    """A TIFF structure: a TIFF or raw file, or the EXIF of another file.

    Raises:
        ValueError: the data is not a TIFF structure.
    """

    def __init__(self, data: Slices) -> None:
        head = data[0:16]
        self.data = data
        self.order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        if not self.order or len(head) < 8:
            raise ValueError("not a TIFF structure")
        (magic,) = struct.unpack(f"{self.order}H", head[2:4])
        self._big = magic == 43
        if magic not in _MAGIC or (self._big and len(head) < 16):
            raise ValueError("not a TIFF structure")
        code, part = ("Q", head[8:16]) if self._big else ("I", head[4:8])
        (self.first,) = struct.unpack(f"{self.order}{code}", part)

    def directory(self, at: int) -> Directory:
        """Read the directory at an offset; entries outside the file are left out."""
        counter, entry = ("Q", "HHQ8s") if self._big else ("H", "HHI4s")
        head = struct.calcsize(f"<{counter}")
        size = struct.calcsize(f"<{entry}")
        if not 0 < at <= len(self.data) - head:
            return Directory(self, {})
        (count,) = struct.unpack(f"{self.order}{counter}", self.data[at : at + head])
        table = self.data[at + head : at + head + size * min(count, MOST_TAGS)]
        entries: dict[int, Entry] = {}
        for k in range(len(table) // size):
            tag, kind, number, value = struct.unpack(f"{self.order}{entry}", table[k * size : (k + 1) * size])
            inside = _SIZES.get(kind, 0) * number <= len(value)
            place = at + head + (k + 1) * size - len(value)
            if not inside:
                (place,) = struct.unpack(f"{self.order}{'Q' if self._big else 'I'}", value)
            entries.setdefault(tag, Entry(kind, number, place))
        return Directory(self, entries)

    def is_plain(self) -> bool:
        """Return whether reading every value of every directory takes bounded time.

        It does if no directory is named twice, and there are no more directories and values than a camera writes.
        """
        if self._big:
            return False
        waiting, seen, values = [self.first], set[int](), 0
        while waiting:
            at = waiting.pop()
            if not 0 < at <= len(self.data) - 2:
                continue
            (count,) = struct.unpack(f"{self.order}H", self.data[at : at + 2])
            directory = self.directory(at)
            values += directory.value_count
            if at in seen or len(seen) >= _MOST_DIRECTORIES or count > MOST_TAGS or values > _MOST_VALUES:
                return False
            seen.add(at)
            waiting += [offset for tag in _POINTERS for offset in directory.numbers(tag)]
            after = self.data[at + 2 + 12 * count : at + 6 + 12 * count]
            waiting += struct.unpack(f"{self.order}I", after) if len(after) == 4 else ()
        return True


def first_directory(data: Slices) -> Directory:
    """Read the first directory of a TIFF structure; an empty one if it is damaged."""
    try:
        tiff = Tiff(data)
    except ValueError:
        tiff = Tiff(b"II*\0\0\0\0\0")
    return tiff.directory(tiff.first)
