"""Metadata of HEIC, AVIF, CR3 and JPEG 2000 files: boxes (ISO/IEC 14496-12; ISO/IEC 15444-1, annex I), image items
(ISO/IEC 23008-12), and the boxes of Canon and others.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from engine.photos.metadata.slices import Part, Slices

_MOST_BOXES = 4096
_MOST_ITEMS = 20_000
_LARGEST_META = 16 * 2**20
_LARGEST_ITEM = 64 * 2**20
_CANON = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""Canon's metadata and Adobe's XMP (XMP Specification part 3, 1.1.4)."""

_EXIF_BOX, _IPTC_BOX = b"JpgTiffExif->JP2", bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
"""Boxes of EXIF and IPTC in JPEG 2000, as exiftool, exiv2 and ImageMagick write them."""


@dataclass(frozen=True)
class Box:
    """A box's type (for `uuid` boxes: its 16 bytes) and where its content lies."""

    kind: bytes
    start: int
    stop: int


def iter_boxes(data: Slices, start: int, stop: int) -> Iterator[Box]:
    """The boxes between two offsets; fewer where they are damaged."""
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
        yield Box(kind, start + content, start + size)
        start += size


def find_box(data: Slices, start: int, stop: int, kind: bytes) -> Box | None:
    """The first box of a kind between two offsets."""
    return next((b for b in iter_boxes(data, start, stop) if b.kind == kind), None)


@dataclass(frozen=True)
class Items:
    """What a HEIC or AVIF file says beside its pixels; orientation is that of its `irot` and `imir`, as EXIF counts.

    Those two are what turns the picture; the EXIF orientation of such a file is only told (ISO/IEC 23008-12, A.2.1).
    """

    exif: bytes = b""
    xmp: bytes = b""
    orientation: int = 1


def read_items(data: Slices) -> Items:
    """Read the `meta` box of a HEIC or AVIF file; what is damaged is left out."""
    box = find_box(data, 0, len(data), b"meta")
    if box is None or box.stop - box.start > _LARGEST_META:
        return Items()
    meta = data[box.start + 4 : box.stop]
    boxes = {b.kind: b for b in iter_boxes(meta, 0, len(meta))}
    orientation = _orientation(meta, boxes)
    kinds = _item_kinds(meta, boxes.get(b"iinf"))
    wanted = {n for n, kind in kinds.items() if kind}
    places = _item_places(meta, boxes.get(b"iloc"), wanted)
    found: dict[str, bytes] = {}
    for number, kind in sorted(kinds.items()):
        if kind and kind not in found and number in places:
            found[kind] = _item(data, meta, boxes.get(b"idat"), places[number])
    exif = found.get("exif", b"")
    skipped = 4 + int.from_bytes(exif[:4], "big")
    return Items(exif[skipped if skipped < len(exif) else 4 :], found.get("xmp", b""), orientation)


def _item_kinds(meta: bytes, box: Box | None) -> dict[int, str]:
    """`exif` or `xmp` by item number (`infe` boxes, version 2 and 3)."""
    if box is None:
        return {}
    wide = meta[box.start] if box.start < box.stop else 0
    found = {}
    for entry in iter_boxes(meta, box.start + (6 if wide == 0 else 8), box.stop):
        content = meta[entry.start : entry.stop]
        if entry.kind != b"infe" or len(content) < 12 or content[0] not in (2, 3):
            continue
        size = 2 if content[0] == 2 else 4
        number = int.from_bytes(content[4 : 4 + size], "big")
        kind, words = content[6 + size : 10 + size], content[10 + size :].split(b"\0")
        if kind == b"Exif":
            found[number] = "exif"
        elif kind == b"mime" and words[1:2] == [b"application/rdf+xml"]:
            found[number] = "xmp"
    return found


@dataclass(frozen=True)
class _Place:
    method: int  # 0: offsets into the file, 1: into the idat box
    extents: tuple[tuple[int, int], ...]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def number(self, size: int) -> int:
        if self.at + size > len(self._data):
            raise ValueError("cut short")
        self.at += size
        return int.from_bytes(self._data[self.at - size : self.at], "big")


def _item_places(meta: bytes, box: Box | None, wanted: set[int]) -> dict[int, _Place]:
    """Where the wanted items lie (`iloc`, 14496-12, 8.11.3)."""
    found: dict[int, _Place] = {}
    if box is None or not wanted:
        return found
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
                found.setdefault(number, _Place(method, tuple(extents[:64])))
    except ValueError:
        pass
    return found


def _item(data: Slices, meta: bytes, idat: Box | None, place: _Place) -> bytes:
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
"""EXIF orientation by the matrix (a b; c d) that takes a stored point (x, y down) to an upright one."""
_ROTATIONS = ((1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0))  # irot: quarter turns, anti-clockwise
_MIRRORS = ((1, 0, 0, -1), (-1, 0, 0, 1))  # imir axis 0: top and bottom change places, 1: left and right


def _orientation(meta: bytes, boxes: dict[bytes, Box]) -> int:
    """The primary item's `irot` and `imir`, in the order in which they are applied."""
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


def _after(before: tuple[int, int, int, int], meta: bytes, box: Box) -> tuple[int, int, int, int]:
    if box.kind not in (b"irot", b"imir") or box.start >= box.stop:
        return before
    value = meta[box.start]
    a, b, c, d = _ROTATIONS[value & 3] if box.kind == b"irot" else _MIRRORS[value & 1]
    p, q, r, s = before
    return a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s


def _associated(content: bytes, item: int) -> list[int]:
    """Numbers of the properties of an item (`ipma`, 23008-12, 9.3.2)."""
    read = _Reader(content)
    found: list[int] = []
    try:
        version, flags = read.number(1), read.number(3)
        for _ in range(min(read.number(4), _MOST_ITEMS)):
            number = read.number(2 if version < 1 else 4)
            wide = flags & 1
            indices = [read.number(2) & 0x7FFF if wide else read.number(1) & 0x7F for _ in range(read.number(1))]
            if number == item:
                found += indices
    except ValueError:
        pass
    return found


def read_canon(data: Slices) -> tuple[dict[bytes, Part], bytes]:
    """The TIFF structures of a CR3 file (CMT1: first directory, CMT2: EXIF, CMT4: place) and its XMP packet."""
    xmp = find_box(data, 0, len(data), _XMP_BOX)
    packet = data[xmp.start : xmp.stop] if xmp and xmp.stop - xmp.start <= _LARGEST_ITEM else b""
    moov = find_box(data, 0, len(data), b"moov")
    canon = find_box(data, moov.start, moov.stop, _CANON) if moov else None
    if canon is None:
        return {}, packet
    return {b.kind: Part(data, b.start, b.stop) for b in iter_boxes(data, canon.start, canon.stop)}, packet


def read_jp2(data: Slices) -> tuple[bytes, bytes, bytes]:
    """EXIF's TIFF structure, XMP packet and IPTC block of a JPEG 2000 file; empty where it has none."""
    found: dict[bytes, bytes] = {}
    for box in iter_boxes(data, 0, len(data)):
        if box.kind in (_EXIF_BOX, _XMP_BOX, _IPTC_BOX) and box.stop - box.start <= _LARGEST_ITEM:
            found.setdefault(box.kind, data[box.start : box.stop])
    exif, xmp, iptc = (found.get(kind, b"") for kind in (_EXIF_BOX, _XMP_BOX, _IPTC_BOX))
    return exif.removeprefix(b"Exif\0\0"), xmp, iptc
