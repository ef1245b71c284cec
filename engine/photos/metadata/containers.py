"""Find EXIF, XMP and IPTC in each kind of photo file, without decoding a pixel, in time bounded by the file size."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from engine.photos.metadata import bmff, jpeg
from engine.photos.metadata.stored import Part, Slices
from engine.photos.metadata.tiff import Directory, first_directory
from engine.photos.metadata.xmp import LARGEST_EXTENDED, ExtendedPart, is_blank, read_part

LARGEST_TEXT = 16 * 2**20
"""Most bytes to which a compressed text is unpacked (a PNG of a kilobyte can hold gigabytes of text)."""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_APP13 = 64 * 2**20


@dataclass(frozen=True)
class Blocks:
    """The metadata of a file as stored; empty if absent.

    image: the first directory of EXIF. orientation: EXIF 1..8 by which decoded pixels must be turned; for HEIC and AVIF
    that of the container, which their readers apply. tiffs: the TIFF structures with EXIF: one, or three in CR3.
    extended: parts of Extended XMP, in the order of the file.
    """

    image: Directory
    xmp: bytes = b""
    iptc: bytes = b""
    orientation: int = 1
    tiffs: tuple[Slices, ...] = ()
    extended: tuple[ExtendedPart, ...] = ()


@dataclass
class _Contents:
    """What a container holds. more: further directories of CR3."""

    tiff: Slices = b""
    more: dict[bytes, Part] = field(default_factory=dict)
    xmp: bytes = b""
    iptc: bytes = b""
    orientation: int | None = None
    extended: list[ExtendedPart] = field(default_factory=list)


def read_blocks(data: Slices) -> Blocks:
    """Find the metadata of a file, whose kind is known from its first bytes; never raises on damaged files."""
    head = data[0:16]
    try:
        contents = _find(data, head)
    except (ValueError, IndexError, KeyError, zlib.error):
        contents = _Contents()
    image = first_directory(contents.tiff)
    tiffs: tuple[Slices, ...] = (contents.tiff,)
    if contents.more:
        tiffs = (contents.tiff, contents.more.get(b"CMT2", b""), contents.more.get(b"CMT4", b""))
    orientation = contents.orientation or orientation_of(image)
    xmp = next((x for x in (contents.xmp, image.raw(0x02BC)) if not is_blank(x)), b"")
    iptc = contents.iptc or _iptc_of_tiff(image)
    return Blocks(image, xmp, iptc, orientation, tiffs, tuple(contents.extended))


def orientation_of(image: Directory) -> int:
    """Return the EXIF orientation of a first directory; 1 if it is absent or invalid."""
    values = image.numbers(0x0112)
    return values[0] if values and 1 <= values[0] <= 8 else 1


def _find(data: Slices, head: bytes) -> _Contents:
    if head[:2] == b"\xff\xd8":
        return _of_jpeg(data)
    if head[:8] == PNG_SIGNATURE:
        return _of_png(data)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _of_webp(data)
    if head[4:12] == b"ftypcrx ":
        more, xmp = bmff.read_canon(data)
        return _Contents(more.get(b"CMT1", b""), more, xmp)
    if head[4:8] == b"ftyp":
        items = bmff.read_items(data)
        return _Contents(items.exif.removeprefix(b"Exif\0\0"), xmp=items.xmp, orientation=items.orientation)
    if head[:12] == b"\0\0\0\x0cjP  \r\n\x87\n":
        exif, xmp, iptc = bmff.read_jp2(data)
        return _Contents(exif, xmp=xmp, iptc=iptc)
    if head[:16] == b"FUJIFILMCCD-RAW ":
        at, size = (int.from_bytes(data[k : k + 4], "big") for k in (84, 88))
        return _of_jpeg(Part(data, at, at + size))
    if head[:3] == b"GIF":
        return _Contents(xmp=_xmp_of_gif(data))
    return _Contents(data)


def _of_jpeg(data: Slices) -> _Contents:
    contents, photoshop, length, more = _Contents(), [], 0, 0
    for segment in jpeg.iter_segments(data):
        if segment.marker == jpeg.APP1:
            content = data[segment.start : segment.stop]
            if content.startswith(jpeg.EXIF_MARK) and not contents.tiff:
                contents.tiff = content[6:]
            elif content.startswith(jpeg.XMP_MARK) and is_blank(contents.xmp):
                contents.xmp = content[len(jpeg.XMP_MARK) :]
            elif (part := read_part(content)) is not None and more <= LARGEST_EXTENDED:
                contents.extended.append(part)
                more += len(part.data)
        elif segment.marker == jpeg.APP13 and length < _MOST_APP13:
            content = data[segment.start : segment.stop]
            if content.startswith(jpeg.PHOTOSHOP_MARK):
                photoshop.append(content[len(jpeg.PHOTOSHOP_MARK) :])
                length += len(content)
    contents.iptc = iptc_of_resources(b"".join(photoshop))
    return contents


def iptc_of_resources(data: bytes) -> bytes:
    """Return the IPTC block in Photoshop's image resources (resource 0x0404); b"" if absent."""
    at = 0
    while data[at : at + 4] == b"8BIM" and at + 12 <= len(data):
        kind, name = int.from_bytes(data[at + 4 : at + 6], "big"), data[at + 6]
        start = at + 6 + (name + 2) // 2 * 2
        size = int.from_bytes(data[start : start + 4], "big")
        if kind == 0x0404:
            return data[start + 4 : start + 4 + size]
        at = start + 4 + size + size % 2
    return b""


def iter_chunks(data: Slices) -> Iterator[tuple[bytes, int, int]]:
    """Yield the chunks of a PNG: type, start and stop of the content; fewer if the file is damaged."""
    at = 8
    while at + 12 <= len(data):
        head = data[at : at + 8]
        size = int.from_bytes(head[:4], "big")
        if at + 12 + size > len(data):
            return
        yield head[4:8], at + 8, at + 8 + size
        at += 12 + size


def _of_png(data: Slices) -> _Contents:
    contents = _Contents()
    exif: Slices = b""
    for kind, start, stop in iter_chunks(data):
        if kind == b"eXIf" and not exif:
            exif = data[start:stop].removeprefix(b"Exif\0\0")
        elif kind in (b"iTXt", b"zTXt", b"tEXt") and stop - start <= LARGEST_TEXT:
            key, text = _png_text(kind, data[start:stop])
            if key == b"XML:com.adobe.xmp":
                contents.xmp = contents.xmp or text
            elif key in (b"Raw profile type exif", b"Raw profile type APP1"):
                contents.tiff = contents.tiff or _profile(text).removeprefix(b"Exif\0\0")
            elif key == b"Raw profile type iptc":
                contents.iptc = contents.iptc or _iptc_of_profile(_profile(text))
    contents.tiff = exif or contents.tiff
    return contents


_TEXTS = (b"XML:com.adobe.xmp", b"Raw profile type exif", b"Raw profile type APP1", b"Raw profile type iptc")


def _png_text(kind: bytes, content: bytes) -> tuple[bytes, bytes]:
    """Return keyword and text of a text chunk (PNG 3rd edition, 11.3.3); only metadata is unpacked."""
    key, _, rest = content.partition(b"\0")
    if key not in _TEXTS:
        return key, b""
    packed = kind == b"zTXt"
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        packed = rest[:1] == b"\1"
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    return key, zlib.decompressobj().decompress(rest, LARGEST_TEXT) if packed else rest


def _profile(text: bytes) -> bytes:
    """Decode a profile of ImageMagick in PNG: a line with the name, one with the length, then hexadecimal digits."""
    parts = text.strip().split(b"\n", 2)
    return bytes.fromhex(parts[2].decode("ascii", "replace")) if len(parts) == 3 else b""


def _iptc_of_profile(profile: bytes) -> bytes:
    return iptc_of_resources(profile) if profile.startswith(b"8BIM") else profile


def iter_riff(data: Slices) -> Iterator[tuple[bytes, int, int]]:
    """Yield the chunks of a WebP file: type, start and stop of the content; fewer if the file is damaged."""
    at = 12
    while at + 8 <= len(data):
        head = data[at : at + 8]
        size = int.from_bytes(head[4:8], "little")
        if at + 8 + size > len(data):
            return
        yield head[:4], at + 8, at + 8 + size
        at += 8 + size + size % 2


def _of_webp(data: Slices) -> _Contents:
    contents = _Contents()
    for kind, start, stop in iter_riff(data):
        if kind == b"EXIF" and not contents.tiff:
            contents.tiff = data[start:stop].removeprefix(b"Exif\0\0")
        elif kind == b"XMP " and not contents.xmp:
            contents.xmp = data[start:stop]
    return contents


def _xmp_of_gif(data: Slices) -> bytes:
    """Return the packet in the application extension (XMP Specification Part 3, 1.1.2), which is near either end."""
    for start in (0, max(0, len(data) - 2**20)):
        part = data[start : start + 2**20]
        at = part.find(b"\x21\xff\x0bXMP DataXMP")
        end = part.find(b"<?xpacket end=", at)
        stop = part.find(b"?>", end)
        if 0 <= at < end < stop:
            return part[at + 14 : stop + 2]
    return b""


def _iptc_of_tiff(image: Directory) -> bytes:
    """Return IPTC from a TIFF's own tag (some programs declare it as 32-bit numbers), else from Photoshop resources."""
    iptc = image.raw(0x83BB)
    return iptc if iptc[:1] == b"\x1c" else iptc_of_resources(image.raw(0x8649))
