"""Read the descriptive metadata in a photo file: its XMP packet, and texts of IPTC-IIM and EXIF.

Sources: IPTC-NAA Information Interchange Model 4.2 (datasets), EXIF 2.32 (Copyright), Microsoft's photo metadata
policies (XP tags, Rating).
"""

from dataclasses import dataclass

from engine.photos.metadata.containers import Blocks
from engine.photos.metadata.iptc import read_iptc
from engine.photos.metadata.stored import decode_text
from engine.photos.metadata.tiff import Directory
from engine.photos.metadata.xmp import ExtendedPacket, assemble
from engine.photos.photo_file import PhotoFile


@dataclass(frozen=True)
class Embedded:
    """The descriptive metadata in a photo file; "", () or None if absent.

    xmp: the packet as stored. extended: the packets of Extended XMP, of which `xmp` names one. exif_description: may be
    an automatic text of the camera. rating: 0..5, or -1 for rejected. title, keywords, creator, copyright: of IPTC,
    else of EXIF.

    EXIF's comments (UserComment, XPComment) are left out: they are no captions ("Screenshot", settings of editors, JSON
    of apps), no program reads them as captions, and a new sidecar must not make them captions.
    """

    xmp: bytes | None = None
    exif_description: str = ""
    iptc_caption: str = ""
    title: str = ""
    keywords: tuple[str, ...] = ()
    rating: int | None = None
    creator: tuple[str, ...] = ()
    copyright: str = ""
    extended: tuple[ExtendedPacket, ...] = ()


def read_embedded(file: PhotoFile) -> Embedded:
    """Read the descriptive metadata of a file. Damaged parts are left out; nothing is raised, no pixel is decoded."""
    return embedded_of(file.blocks)


def embedded_of(blocks: Blocks) -> Embedded:
    """Extract the descriptive metadata."""
    image, iptc = blocks.image, read_iptc(blocks.iptc)
    return Embedded(
        xmp=blocks.xmp or None,
        extended=assemble(blocks.extended),
        exif_description=image.text(0x010E),
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
    """Read one of the XP tags of Windows: UTF-16, little-endian whatever the byte order of the file."""
    data = image.raw(tag)
    return data[: len(data) // 2 * 2].decode("utf-16-le", "replace").split("\0", 1)[0].strip()


def _copyright(image: Directory) -> str:
    """Read the copyright: the photographer's and the editor's, separated by NUL in the file."""
    parts = [decode_text(part) for part in image.raw(0x8298)[:65536].split(b"\0")]
    return ", ".join(part for part in parts[:2] if part)


def _rating(image: Directory) -> int | None:
    numbers = image.numbers(0x4746)
    if not numbers:
        return None
    value = -1 if numbers[0] == 0xFFFF else numbers[0]
    return value if -1 <= value <= 5 else None
