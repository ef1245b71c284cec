"""What a photo file says of itself in words: its XMP packet, IPTC-IIM and EXIF texts.

Sources: IPTC-NAA Information Interchange Model 4.2 (datasets), EXIF 2.32 (UserComment, Copyright), Microsoft's photo
metadata policies (XP tags, Rating).
"""

from dataclasses import dataclass

from engine.photos.containers import Blocks, read_blocks
from engine.photos.reading import PhotoFile
from engine.photos.tiff import Directory, decode_text


@dataclass(frozen=True)
class Embedded:
    """What a photo file says of itself in words; "" / () / None where it says nothing.

    xmp: the packet as stored (of Extended XMP only the main packet). exif_description may be camera junk. rating: 0..5,
    or -1 for rejected. title, keywords, creator and copyright are IPTC's, else EXIF's.
    """

    xmp: bytes | None = None
    exif_description: str = ""
    exif_comment: str = ""
    iptc_caption: str = ""
    title: str = ""
    keywords: tuple[str, ...] = ()
    rating: int | None = None
    creator: tuple[str, ...] = ()
    copyright: str = ""


def read_embedded(file: PhotoFile) -> Embedded:
    """Read a file's words; what is damaged is left out, nothing is raised, no pixel is decoded."""
    return embedded_of(read_blocks(file.data))


def embedded_of(blocks: Blocks) -> Embedded:
    """The words in a file's metadata."""
    image, iptc = blocks.image, _read_iptc(blocks.iptc)
    return Embedded(
        xmp=blocks.xmp or None,
        exif_description=image.text(0x010E),
        exif_comment=_wide_text(image, 0x9C9C) or _user_comment(blocks.exif),
        iptc_caption=" ".join(iptc.get(120, ())[:1]),
        title=" ".join(iptc.get(5, ())[:1]) or _wide_text(image, 0x9C9B),
        keywords=_distinct(iptc.get(25, ())) or _split(_wide_text(image, 0x9C9E)),
        rating=_rating(image),
        creator=_distinct(iptc.get(80, ())) or _split(image.text(0x013B)) or _split(_wide_text(image, 0x9C9D)),
        copyright=" ".join(iptc.get(116, ())[:1]) or _copyright(image),
    )


def _distinct(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(t for t in texts if t))


def _split(text: str) -> tuple[str, ...]:
    return _distinct(tuple(part.strip() for part in text.split(";")))


def _wide_text(image: Directory, tag: int) -> str:
    """Windows' XP tags: UTF-16, little-endian whatever the file's byte order is."""
    data = image.raw(tag)
    return data[: len(data) // 2 * 2].decode("utf-16-le", "replace").split("\0", 1)[0].strip()


def _user_comment(exif: Directory) -> str:
    """UserComment with the character code of its first 8 bytes (EXIF 2.32, 4.6.5, table 9)."""
    data = exif.raw(0x9286)
    code, content = data[:8], data[8:]
    if code == b"UNICODE\0":
        return _utf16(content, exif.order).strip("\0 \t\r\n")
    if code == b"JIS\0\0\0\0\0":
        return content.decode("iso2022_jp", "ignore").strip("\0 \t\r\n")
    return decode_text(content.split(b"\0", 1)[0]) if code in (b"ASCII\0\0\0", bytes(8)) else ""


def _utf16(data: bytes, order: str) -> str:
    """UTF-16 by its mark, else by where its zeros are, else in the file's byte order (writers disagree)."""
    data = data[: len(data) // 2 * 2]
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    high, low = data[0::2].count(0), data[1::2].count(0)
    little = high < low if high != low else order == "<"
    return data.decode("utf-16-le" if little else "utf-16-be", "replace")


def _copyright(image: Directory) -> str:
    """The photographer's and the editor's, which a NUL parts."""
    parts = [decode_text(part) for part in image.raw(0x8298)[:65536].split(b"\0")]
    return ", ".join(part for part in parts[:2] if part)


def _rating(image: Directory) -> int | None:
    found = image.numbers(0x4746)
    if not found:
        return None
    value = -1 if found[0] == 0xFFFF else found[0]
    return value if -1 <= value <= 5 else None


_UTF8 = b"\x1b%G"
"""Dataset 1:90 of a block whose texts are UTF-8 (ISO 2022)."""
_MOST_DATASETS = 10_000


def _read_iptc(data: bytes) -> dict[int, tuple[str, ...]]:
    """The texts of the application record (2) by dataset; ends at the first damaged one."""
    found: dict[int, list[bytes]] = {}
    utf8 = False
    at = 0
    for _ in range(_MOST_DATASETS):
        head = data[at : at + 5]
        if len(head) < 5 or head[0] != 0x1C:
            break
        record, number, size = head[1], head[2], int.from_bytes(head[3:5], "big")
        at += 5
        if size & 0x8000:  # an extended dataset: so many bytes tell the size
            more = size & 0x7FFF
            size, at = int.from_bytes(data[at : at + min(more, 8)], "big"), at + more
        content = data[at : at + size]
        at += size
        if (record, number) == (1, 90):
            utf8 = content == _UTF8
        elif record == 2 and len(content) == size:
            found.setdefault(number, []).append(content)
    return {n: tuple(_iptc_text(c, utf8=utf8) for c in contents) for n, contents in found.items()}


def _iptc_text(content: bytes, *, utf8: bool) -> str:
    return content.decode("utf-8", "replace").strip("\0 \t\r\n") if utf8 else decode_text(content)
