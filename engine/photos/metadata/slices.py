"""Bytes that are read by slices: in memory, or in an open file of which only the requested parts are read."""

import io
import os
from typing import Protocol


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


class SliceFile(io.RawIOBase):
    """Slices in the form of a file, for libraries that read files."""

    def __init__(self, data: Slices) -> None:
        self._data = data
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the offset of the next read."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self._data)}[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes; all remaining ones if it is negative."""
        stop = len(self._data) if size is None or size < 0 else min(len(self._data), self._at + size)
        data = self._data[self._at : stop] if stop > self._at else b""
        self._at += len(data)
        return data
