"""What a new sidecar starts from: the photo's own words, which most programs ignore once there is a sidecar.

IPTC-IIM and EXIF fill in what the XMP packet does not say. EXIF's UserComment is not taken for a description: phones
and programs write "Screenshot", JSON and generation parameters there, and it stays visible beside a sidecar anyway.

Left out is what the packet only mirrors of the file (XMP Specification Part 2, 3: the exif and tiff schemas), and what
would outrank it for good in programs that believe a sidecar first: orientation, the picture's size, and the dates of
exif: where xmp:CreateDate or photoshop:DateCreated tells the same. Every other date stays: it may be one that a user
set in XMP alone, for a scan, say.
"""

import re
from typing import TYPE_CHECKING

from engine.core.errors import SidecarError
from engine.sidecars.merge.junk import is_junk
from engine.sidecars.merge.ownership import DESCRIPTION, SUBJECT, TIFF_DESCRIPTION, is_known
from engine.sidecars.rdf.extended import merge_extended
from engine.sidecars.rdf.forms import term_key
from engine.sidecars.rdf.namespaces import DC, EXIF, MYVLM, PHOTOSHOP, TIFF, XMP
from engine.sidecars.rdf.packet import EMPTY, Packet

if TYPE_CHECKING:
    from engine.photos.metadata.embedded import Embedded

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold (2.2, Char); EXIF and IPTC texts are full of it."""
_PADDING = b"\0 \r\n\t"
_OF_THE_FILE = (
    *((TIFF, n) for n in ("Orientation", "ImageWidth", "ImageLength")),
    *((EXIF, n) for n in ("PixelXDimension", "PixelYDimension")),
)
_MIRRORED_DATES = tuple((EXIF, n) for n in ("DateTimeOriginal", "DateTimeDigitized"))
_OWN_DATES = ((PHOTOSHOP, "DateCreated"), (XMP, "CreateDate"))


def seed_packet(embedded: "Embedded | None") -> tuple[Packet, tuple[str, ...]]:
    """A new sidecar's packet with what the photo says of itself, and notes for the user.

    Raises:
        SidecarError: the photo's XMP packet cannot be read; a sidecar would hide it from programs that can.
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
    told = [text.strip() for name in _OWN_DATES if (text := packet.text(*name))]
    for name in _MIRRORED_DATES:
        date = (packet.text(*name) or "").strip()
        if date and any(t.startswith(date) for t in told):
            packet.remove(*name)
    for name in _OF_THE_FILE:
        packet.remove(*name)
    packet.remove_empty_blocks()


def read_embedded_packet(embedded: "Embedded | None") -> Packet | None:
    """The photo's own packet with its Extended XMP, or None when it has none that can be read.

    Raises:
        SidecarError: its Extended XMP cannot be used; a description may be in it.
    """
    packet = _main_packet(embedded)
    return merge_extended(packet, embedded.extended)[0] if packet is not None and embedded is not None else None


def _main_packet(embedded: "Embedded | None") -> Packet | None:
    try:
        return Packet(_unpadded(embedded.xmp)) if embedded and embedded.xmp else None
    except SidecarError:
        return None


def human_description(embedded: "Embedded | None", known: str | None) -> str:
    """What a human wrote into the photo file itself, "" for nothing; `known` is the hash of our own last caption."""
    packet = read_embedded_packet(embedded)
    texts = [embedded.exif_description, embedded.iptc_caption] if embedded else []
    marks = [known]
    if packet is not None:
        texts = [packet.default_text(*DESCRIPTION) or "", packet.default_text(*TIFF_DESCRIPTION) or "", *texts]
        marks += [packet.text(MYVLM, "CaptionHash")]
    found = (_clean(t) for t in texts)
    return next((t for t in found if t and not is_junk(t) and not any(is_known(t, m) for m in marks)), "")


def embedded_keywords(embedded: "Embedded | None") -> list[str]:
    """The keywords in the photo file itself."""
    packet = read_embedded_packet(embedded)
    own = packet.items(*SUBJECT) if packet is not None else []
    return _terms(own or (embedded.keywords if embedded else ()))


def has_camera_junk(embedded: "Embedded | None") -> bool:
    """Whether programs that read the image description first would find a camera's there."""
    if embedded is None:
        return False
    if is_junk(embedded.exif_description):
        return True
    packet = _main_packet(embedded)
    return packet is not None and is_junk(packet.default_text(*TIFF_DESCRIPTION) or "")


def _fill(packet: Packet, embedded: "Embedded") -> None:
    """Put EXIF's and IPTC's words where the XMP has none. A rating of 0 says that nobody rated the photo."""
    described = packet.default_text(*DESCRIPTION) or ""
    texts = (_clean(t) for t in (embedded.exif_description, embedded.iptc_caption))
    human = next((t for t in texts if t and not is_junk(t)), "")
    if human and (not described or is_junk(described)):
        packet.set_default_text(*DESCRIPTION, human)
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
    return _ILLEGAL.sub("", text).strip()


def _unpadded(xmp: bytes | None) -> bytes | None:
    """A packet as it can be parsed: without padding, and as UTF-8 (which files other than JPEG need not use)."""
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
    """A packet whose root is x:xmpmeta; a bare rdf:RDF, which is legal, is put into one."""
    document = packet.document
    if document.root is not document.rdf:
        return packet
    whole = Packet(EMPTY)
    place = whole.document.rdf
    document.rdf.tail = place.tail
    place.getparent().replace(place, document.rdf)
    return Packet(whole.serialise())
