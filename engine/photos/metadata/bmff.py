"""Read the metadata of HEIC, AVIF, CR3 and JPEG 2000 files.

Sources: boxes, ISO/IEC 14496-12 and ISO/IEC 15444-1, annex I; image items, ISO/IEC 23008-12.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from engine.photos.metadata.stored import Part, Slices

_MOST_BOXES = 4096
_MOST_ITEMS = 20_000
_LARGEST_META = 16 * 2**20
_LARGEST_ITEM = 64 * 2**20
_CANON = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""Types of the boxes with Canon's metadata and with XMP (XMP Specification Part 3, 1.1.4)."""
_EXIF_BOX, _IPTC_BOX = b"JpgTiffExif->JP2", bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
"""Types of the boxes with EXIF and IPTC in JPEG 2000, as exiftool, exiv2 and ImageMagick write them."""


@dataclass(frozen=True)
class IsoBox:
    """Type of a box (for `uuid` boxes: its 16 bytes) and the range of its content."""

    kind: bytes
    start: int
    stop: int


def iter_boxes(data: Slices, start: int, stop: int) -> Iterator[IsoBox]:
    """Yield the boxes between two offsets; fewer if they are damaged."""
    for _ in range(_MOST_BOXES):
        head = data[start : min(start + 32, stop)]
        if len(head) < 8:
            return
        size, kind, content = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1:
            size, content = int.from_bytes(head[8:16], "big"), 16
        elif size == 0:
            size = stop - start
        if kind == b"uuid":
            kind, content = head[content : content + 16], content + 16
        if size < content or start + size > stop:
            return
        yield IsoBox(kind, start + content, start + size)
        start += size


def find_box(data: Slices, start: int, stop: int, kind: bytes) -> IsoBox | None:
    """Return the first box of a type between two offsets, or None."""
    return next((b for b in iter_boxes(data, start, stop) if b.kind == kind), None)


@dataclass(frozen=True)
class Items:
    """Metadata of a HEIC or AVIF file. orientation: of its `irot` and `imir`, as an EXIF orientation.

    Only these two turn the picture; the EXIF orientation of such a file has no effect (ISO/IEC 23008-12, A.2.1).
    """

    exif: bytes = b""
    xmp: bytes = b""
    orientation: int = 1


def read_items(data: Slices) -> Items:
    """Read the `meta` box of a HEIC or AVIF file; damaged parts are left out."""
    box = find_box(data, 0, len(data), b"meta")
    if box is None or box.stop - box.start > _LARGEST_META:
        return Items()
    meta = data[box.start + 4 : box.stop]
    boxes = {b.kind: b for b in iter_boxes(meta, 0, len(meta))}
    orientation = _orientation(meta, boxes)
    kinds = _item_kinds(meta, boxes.get(b"iinf"))
    wanted = {n for n, kind in kinds.items() if kind}
    places = _item_places(meta, boxes.get(b"iloc"), wanted)
    items: dict[str, bytes] = {}
    for number, kind in sorted(kinds.items()):
        if kind and kind not in items and number in places:
            items[kind] = _item(data, meta, boxes.get(b"idat"), places[number])
    exif = items.get("exif", b"")
    skipped = 4 + int.from_bytes(exif[:4], "big")
    return Items(exif[skipped if skipped < len(exif) else 4 :], items.get("xmp", b""), orientation)


def _item_kinds(meta: bytes, box: IsoBox | None) -> dict[int, str]:
    """Return `exif` or `xmp` by item number (`infe` boxes, version 2 and 3)."""
    if box is None:
        return {}
    wide = meta[box.start] if box.start < box.stop else 0
    kinds = {}
    for entry in iter_boxes(meta, box.start + (6 if wide == 0 else 8), box.stop):
        content = meta[entry.start : entry.stop]
        if entry.kind != b"infe" or len(content) < 12 or content[0] not in (2, 3):
            continue
        size = 2 if content[0] == 2 else 4
        number = int.from_bytes(content[4 : 4 + size], "big")
        kind, words = content[6 + size : 10 + size], content[10 + size :].split(b"\0")
        if kind == b"Exif":
            kinds[number] = "exif"
        elif kind == b"mime" and words[1:2] == [b"application/rdf+xml"]:
            kinds[number] = "xmp"
    return kinds


@dataclass(frozen=True)
class _Place:
    """Where an item is: offsets and lengths, into the file (method 0) or into the `idat` box (method 1)."""

    method: int
    extents: tuple[tuple[int, int], ...]


class _Reader:
    """Reads big-endian numbers one after the other.

    Raises:
        ValueError: the data is cut short.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def number(self, size: int) -> int:
        if self.at + size > len(self._data):
            raise ValueError("cut short")
        self.at += size
        return int.from_bytes(self._data[self.at - size : self.at], "big")


def _item_places(meta: bytes, box: IsoBox | None, wanted: set[int]) -> dict[int, _Place]:
    """Read where the wanted items are (`iloc`, ISO/IEC 14496-12, 8.11.3)."""
    places: dict[int, _Place] = {}
    if box is None or not wanted:
        return places
    read = _Reader(meta[box.start : box.stop])
    try:
        version, _ = read.number(1), read.number(3)
        sizes = read.number(2)
        offset, length, base, index = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15 if version else 0
        for _ in range(min(read.number(4 if version == 2 else 2), _MOST_ITEMS)):
            number = read.number(4 if version == 2 else 2)
            method = read.number(2) & 15 if version else 0
            read.number(2)
            start = read.number(base)
            extents = []
            for _ in range(read.number(2)):
                read.number(index)
                extents.append((start + read.number(offset), read.number(length)))
            if number in wanted:
                places.setdefault(number, _Place(method, tuple(extents[:64])))
    except ValueError:
        pass
    return places


def _item(data: Slices, meta: bytes, idat: IsoBox | None, place: _Place) -> bytes:
    if sum(size for _, size in place.extents) > _LARGEST_ITEM or place.method not in (0, 1):
        return b""
    if place.method == 0:
        return b"".join(data[start : start + size] for start, size in place.extents)
    inside = meta[idat.start : idat.stop] if idat else b""
    return b"".join(inside[start : start + size] for start, size in place.extents)


_TURNS = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, -1, 1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, 1, -1, 0): 8,
}
"""EXIF orientation by the matrix (a b; c d) that maps a stored point (y down) to an upright one."""
_ROTATIONS = ((1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0))  # irot: quarter turns anti-clockwise
_MIRRORS = ((1, 0, 0, -1), (-1, 0, 0, 1))  # imir: 0 swaps top and bottom, 1 swaps left and right


def _orientation(meta: bytes, boxes: dict[bytes, IsoBox]) -> int:
    """Return the EXIF orientation of `irot` and `imir` of the primary item, in the order in which they apply."""
    pitm, iprp = boxes.get(b"pitm"), boxes.get(b"iprp")
    if pitm is None or iprp is None or pitm.start >= pitm.stop:
        return 1
    primary = int.from_bytes(meta[pitm.start + 4 : pitm.start + (6 if meta[pitm.start] == 0 else 8)], "big")
    ipco = find_box(meta, iprp.start, iprp.stop, b"ipco")
    if ipco is None:
        return 1
    properties = list(iter_boxes(meta, ipco.start, ipco.stop))
    turned = (1, 0, 0, 1)
    for box in iter_boxes(meta, iprp.start, iprp.stop):
        if box.kind == b"ipma":
            for index in _associated(meta[box.start : box.stop], primary):
                if 0 < index <= len(properties):
                    turned = _after(turned, meta, properties[index - 1])
    return _TURNS[turned]


def _after(before: tuple[int, int, int, int], meta: bytes, box: IsoBox) -> tuple[int, int, int, int]:
    """Apply an `irot` or `imir` box to a matrix; other boxes leave it unchanged."""
    if box.kind not in (b"irot", b"imir") or box.start >= box.stop:
        return before
    value = meta[box.start]
    a, b, c, d = _ROTATIONS[value & 3] if box.kind == b"irot" else _MIRRORS[value & 1]
    p, q, r, s = before
    return a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s


def _associated(content: bytes, item: int) -> list[int]:
    """Return the numbers of the properties of an item (`ipma`, ISO/IEC 23008-12, 9.3.2)."""
    read = _Reader(content)
    properties: list[int] = []
    try:
        version, flags = read.number(1), read.number(3)
        for _ in range(min(read.number(4), _MOST_ITEMS)):
            number = read.number(2 if version < 1 else 4)
            wide = flags & 1
            indices = [read.number(2) & 0x7FFF if wide else read.number(1) & 0x7F for _ in range(read.number(1))]
            if number == item:
                properties += indices
    except ValueError:
        pass
    return properties


def read_canon(data: Slices) -> tuple[dict[bytes, Part], bytes]:
    """Read the TIFF structures of a CR3 file (CMT1: first directory, CMT2: EXIF, CMT4: place) and its XMP packet."""
    xmp = find_box(data, 0, len(data), _XMP_BOX)
    packet = data[xmp.start : xmp.stop] if xmp and xmp.stop - xmp.start <= _LARGEST_ITEM else b""
    moov = find_box(data, 0, len(data), b"moov")
    canon = find_box(data, moov.start, moov.stop, _CANON) if moov else None
    if canon is None:
        return {}, packet
    return {b.kind: Part(data, b.start, b.stop) for b in iter_boxes(data, canon.start, canon.stop)}, packet


def read_jp2(data: Slices) -> tuple[bytes, bytes, bytes]:
    """Read the TIFF structure of EXIF, the XMP packet and the IPTC block of a JPEG 2000 file; b"" if absent."""
    contents: dict[bytes, bytes] = {}
    for box in iter_boxes(data, 0, len(data)):
        if box.kind in (_EXIF_BOX, _XMP_BOX, _IPTC_BOX) and box.stop - box.start <= _LARGEST_ITEM:
            contents.setdefault(box.kind, data[box.start : box.stop])
    exif, xmp, iptc = (contents.get(kind, b"") for kind in (_EXIF_BOX, _XMP_BOX, _IPTC_BOX))
    return exif.removeprefix(b"Exif\0\0"), xmp, iptc
