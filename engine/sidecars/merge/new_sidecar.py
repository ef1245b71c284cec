"""Start a new sidecar from the metadata in the photo file, which most programs ignore once there is a sidecar.

IPTC-IIM and EXIF fill in what the XMP packet lacks. EXIF's UserComment is not taken for a description: phones and
programs write "Screenshot", JSON and generation parameters there, and programs show it beside a sidecar anyway.

Left out are properties that only mirror the file (XMP Specification Part 2, 3: the exif and tiff schemas) and would
override it for ever in programs that prefer a sidecar: orientation, the size of the picture, and the dates of exif: if
xmp:CreateDate or photoshop:DateCreated has the same date. Every other date stays: the user may have set it in XMP only,
for a scan for example.
"""

import re
from typing import TYPE_CHECKING

from engine.core.errors import SidecarError
from engine.core.notes import Note
from engine.sidecars.merge.automatic import is_automatic
from engine.sidecars.merge.ownership import DESCRIPTION, SUBJECT, TIFF_DESCRIPTION, has_hash
from engine.sidecars.rdf.extended import merge_extended
from engine.sidecars.rdf.forms import DC, EXIF, MYVLM, PHOTOSHOP, TIFF, XMP, term_key
from engine.sidecars.rdf.packet import EMPTY, Packet

if TYPE_CHECKING:
    from engine.photos.metadata.embedded import Embedded

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold (2.2, Char); they are frequent in EXIF and IPTC texts."""
_PADDING = b"\0 \r\n\t"
_OF_THE_FILE = (
    *((TIFF, n) for n in ("Orientation", "ImageWidth", "ImageLength")),
    *((EXIF, n) for n in ("PixelXDimension", "PixelYDimension")),
)
_MIRRORED_DATES = tuple((EXIF, n) for n in ("DateTimeOriginal", "DateTimeDigitized"))
_OWN_DATES = ((PHOTOSHOP, "DateCreated"), (XMP, "CreateDate"))


def start_packet(embedded: "Embedded | None") -> tuple[Packet, tuple[Note, ...]]:
    """Return the packet of a new sidecar, with the metadata of the photo file, and notes for the user.

    Raises:
        SidecarError: the XMP packet of the photo cannot be read; a sidecar would hide it from programs that can.
    """
    if embedded is None:
        return Packet(None), ()
    try:
        packet, notes = merge_extended(_wrapped(Packet(_unpadded(embedded.xmp))), embedded.extended)
    except SidecarError as err:
        raise SidecarError(f"the photo's embedded metadata is damaged ({err}); a sidecar would hide it") from err
    _remove_mirrors(packet)
    _fill(packet, embedded)
    return packet, notes


def _remove_mirrors(packet: Packet) -> None:
    """Remove properties that only mirror the file; see the module's docstring."""
    dates = [text.strip() for name in _OWN_DATES if (text := packet.text(*name))]
    for name in _MIRRORED_DATES:
        date = (packet.text(*name) or "").strip()
        if date and any(d.startswith(date) for d in dates):
            packet.remove(*name)
    for name in _OF_THE_FILE:
        packet.remove(*name)
    packet.remove_empty_blocks()


def read_embedded_packet(embedded: "Embedded | None") -> Packet | None:
    """Return the packet in the photo file with its Extended XMP, or None if it has none that can be read.

    Raises:
        SidecarError: its Extended XMP, in which a description may be, cannot be used.
    """
    packet = _main_packet(embedded)
    return merge_extended(packet, embedded.extended)[0] if packet is not None and embedded is not None else None


def _main_packet(embedded: "Embedded | None") -> Packet | None:
    try:
        return Packet(_unpadded(embedded.xmp)) if embedded and embedded.xmp else None
    except SidecarError:
        return None


def find_user_description(embedded: "Embedded | None", known_hash: str | None) -> str:
    """Return the description that the user wrote into the photo file, "" if there is none.

    known_hash: hash of the last caption that myvlm wrote.
    """
    packet = read_embedded_packet(embedded)
    texts = [embedded.exif_description, embedded.iptc_caption] if embedded else []
    hashes = [known_hash]
    if packet is not None:
        texts = [packet.default_text(*DESCRIPTION) or "", packet.default_text(*TIFF_DESCRIPTION) or "", *texts]
        hashes += [packet.text(MYVLM, "CaptionHash")]
    cleaned = (_clean(t) for t in texts)
    return next((t for t in cleaned if t and not is_automatic(t) and not any(has_hash(t, h) for h in hashes)), "")


def embedded_keywords(embedded: "Embedded | None") -> list[str]:
    """Return the keywords in the photo file: those of XMP, else those of IPTC or EXIF."""
    packet = read_embedded_packet(embedded)
    keywords = packet.items(*SUBJECT) if packet is not None else []
    return _terms(keywords or (embedded.keywords if embedded else ()))


def has_automatic_description(embedded: "Embedded | None") -> bool:
    """Return whether programs that read the image description first find one that a camera or program wrote."""
    if embedded is None:
        return False
    if is_automatic(embedded.exif_description):
        return True
    packet = _main_packet(embedded)
    return packet is not None and is_automatic(packet.default_text(*TIFF_DESCRIPTION) or "")


def _fill(packet: Packet, embedded: "Embedded") -> None:
    """Add what EXIF and IPTC have and XMP lacks. A rating of 0 means that the photo is not rated."""
    current = packet.default_text(*DESCRIPTION) or ""
    texts = (_clean(t) for t in (embedded.exif_description, embedded.iptc_caption))
    description = next((t for t in texts if t and not is_automatic(t)), "")
    if description and (not current or is_automatic(current)):
        packet.set_default_text(*DESCRIPTION, description)
    if not packet.items(*SUBJECT):
        _add(packet, SUBJECT, _terms(embedded.keywords))
    for name, text in (("title", embedded.title), ("rights", embedded.copyright)):
        if _clean(text) and packet.find(DC, name) is None:
            packet.set_default_text(DC, name, _clean(text))
    if packet.find(DC, "creator") is None:
        _add(packet, (DC, "creator"), _terms(embedded.creator), kind="Seq")
    if embedded.rating and packet.find(XMP, "Rating") is None:
        packet.set_text(XMP, "Rating", str(embedded.rating))


def _add(packet: Packet, target: tuple[str, str], terms: list[str], kind: str = "Bag") -> None:
    if terms:
        packet.add_items(*target, terms, kind=kind)


def _terms(texts: "tuple[str, ...] | list[str]") -> list[str]:
    return list(dict.fromkeys(t for text in texts if (t := term_key(_clean(text)))))


def _clean(text: str) -> str:
    """Remove characters that XML cannot hold, and outer white space."""
    return _ILLEGAL.sub("", text).strip()


def _unpadded(xmp: bytes | None) -> bytes | None:
    """Return a packet without padding and in UTF-8; in files other than JPEG it may be in UTF-16."""
    if not xmp:
        return None
    if xmp[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            text = xmp.decode("utf-16").rstrip("\0 \r\n\t")
        except UnicodeDecodeError:
            return xmp
        return re.sub(r"\A\s*<\?xml [^>]*\?>", "", text).encode("utf-8", "surrogatepass")
    return xmp.strip(_PADDING) or None


def _wrapped(packet: Packet) -> Packet:
    """Return a packet whose root is x:xmpmeta; a bare rdf:RDF, which is legal, is put into one."""
    document = packet.document
    if document.root is not document.rdf:
        return packet
    whole = Packet(EMPTY)
    placeholder = whole.document.rdf
    document.rdf.tail = placeholder.tail
    whole.document.root.replace(placeholder, document.rdf)
    return Packet(whole.serialise())
