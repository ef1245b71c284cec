"""Decode photos: an upright RGB picture with the facts and metadata of its file. Nothing else decodes photos."""

import io
import re
import warnings
import zlib
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from PIL import Image, ImageFile, PngImagePlugin, UnidentifiedImageError

from engine.core.boxes import TURNED, Box
from engine.core.errors import PhotoError
from engine.core.notes import Note, NoteCode
from engine.core.types import PhotoFacts
from engine.photos.discovery import RAW_SUFFIXES
from engine.photos.metadata.containers import PNG_SIGNATURE, Blocks, iter_chunks
from engine.photos.metadata.embedded import Embedded, embedded_of
from engine.photos.metadata.exif import exif_of
from engine.photos.metadata.jpeg import Scans, read_scans
from engine.photos.photo_file import PhotoFile, read_photo
from engine.photos.pixels import shrink, to_rgb, turn_upright
from engine.photos.raw import NoPreviewError, NotRawError, is_raw, read_preview
from engine.photos.unterminated_jpeg import add_end, lacks_end

__all__ = ["MOST_PIXELS", "Photo", "PhotoFile", "decode_photo", "load_photo", "read_photo"]

MOST_PIXELS = 200_000_000
"""Larger pictures are refused, except a JPEG in one scan, which can be decoded at a fraction of its size.

Pillow takes 4 bytes per pixel, and turning or flattening needs a second picture: 1.6 GB at this size.
"""
MOST_AT_FULL_SIZE = 100_000_000
"""Larger pictures are reduced to a fraction of their sides, which is still more than any model uses.

JPEGs are decoded at 1/2, 1/4 or 1/8; others are decoded whole and reduced, because a batch holds several.
"""
NO_END = Note(NoteCode.NO_END_MARKER)
"""Note on a JPEG whose last two bytes are lost, which other programs may refuse."""
DATA_BEHIND = Note(NoteCode.DATA_BEHIND_PICTURE)
"""Note on a JPEG for which it is unknown at which byte the picture ends and the other data begin."""
_MOST_SCANNED = 5_000_000_000
"""Most pixels times scans of a JPEG. An ordinary one of 200 megapixels has ten scans; each takes a second or two."""
_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF", "GIF", "BMP", "JPEG2000", "PPM", "PSD", "DIB")
"""Formats of Pillow that are decoded, whatever the name of a file says.

AVIF is before HEIF, whose reader opens AVIF files but cannot decode them. DIB, which is BMP without its file header, is
last because only four bytes identify it. Left out are formats that run other programs (EPS) or hold no photos.
"""


@dataclass(frozen=True)
class Photo:
    """A decoded photo: upright RGB pixels with the facts and metadata of its file.

    The picture may be smaller than the photo (`facts.width`, `facts.height`): the preview of a raw file, or a photo of
    more than 100 megapixels. Boxes detected in it are in its pixels; `in_photo` converts them to those of the photo.

    software: the EXIF `Software`. notes: what is wrong with the file, for the user.
    """

    path: Path
    image: Image.Image
    facts: PhotoFacts
    embedded: Embedded = field(default_factory=Embedded)
    software: str = ""
    notes: tuple[Note, ...] = ()

    def in_photo(self, box: Box) -> Box:
        """Convert a box from pixels of the picture to pixels of the upright photo."""
        return _scaled(box, self.image.size, (self.facts.width, self.facts.height))

    def in_image(self, box: Box) -> Box:
        """Invert `in_photo`."""
        return _scaled(box, (self.facts.width, self.facts.height), self.image.size)


def _scaled(box: Box, size: tuple[int, int], target: tuple[int, int]) -> Box:
    if size == target:
        return box
    x, y = target[0] / size[0], target[1] / size[1]
    return Box(box.x0 * x, box.y0 * y, box.x1 * x, box.y1 * y)


@dataclass(frozen=True)
class _Picture:
    """Upright RGB pixels. width, height: of the photo at its full size."""

    image: Image.Image
    width: int
    height: int
    format: str
    orientation: int
    notes: tuple[Note, ...] = ()


def load_photo(path: Path) -> Photo:
    """Read and decode a photo.

    Raises:
        PhotoError: as in `read_photo` and `decode_photo`.
    """
    return decode_photo(read_photo(path))


def decode_photo(file: PhotoFile, *, most_pixels: int = MOST_PIXELS) -> Photo:
    """Decode a photo as 8-bit RGB, upright (EXIF orientation, rotation of HEIC); of an animation the first frame.

    Raises:
        PhotoError: the file is not a picture, truncated, damaged, a raw file without a preview, or over `most_pixels`.
    """
    path = file.path
    if _is_cut_short(file.data):
        raise _cut_short(path)
    blocks = file.blocks
    try:
        _silence_decoders()
        picture = _decode(file, blocks, most_pixels)
    except PhotoError:
        raise
    except (UnidentifiedImageError, NotRawError) as err:
        raise PhotoError(f"{path}: not a picture that can be read", hint="Check what the file really is.") from err
    except NoPreviewError as err:
        raise PhotoError(f"{path}: {err}", hint="Give myvlm a JPEG made from it.") from err
    except MemoryError as err:
        raise PhotoError(f"{path}: too little memory to decode it", hint="Give myvlm a smaller copy.") from err
    except Exception as err:  # the decoders raise many types for damaged files
        raise PhotoError(f"{path}: damaged or truncated ({err})", hint="Restore it from a backup.") from err
    exif = exif_of(blocks)
    size = (picture.width, picture.height)
    facts = PhotoFacts(file.content_hash, *size, picture.format, picture.orientation, exif.taken, exif.place)
    return Photo(path, picture.image, facts, embedded_of(blocks), exif.software, picture.notes)


_QUIET = ("ignore", None, Warning, re.compile(r"(PIL|pillow_heif|rawpy)\b"), 0)


def _silence_decoders() -> None:
    """Ignore warnings of decoders: what they warn about is decided here, or raises an error.

    The filter is permanent: photos are decoded in threads, and a temporary filter would affect all of them.
    """
    if _QUIET not in warnings.filters:
        warnings.filterwarnings("ignore", module=_QUIET[3].pattern)


_BOXES = frozenset({b"ftyp", b"meta", b"mdat", b"moov", b"idat", b"free"})


def _is_cut_short(data: bytes) -> bool:
    """Return whether a HEIC or AVIF file ends inside a box (ISO/IEC 14496-12, 4.2): decoders would fill in grey."""
    if data[4:8] != b"ftyp":
        return False
    at = 0
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        size = int.from_bytes(data[at + 8 : at + 16], "big") if size == 1 else size
        if kind not in _BOXES or size < 8:
            return False
        at += size
    return at > len(data)


def _cut_short(path: Path) -> PhotoError:
    return PhotoError(f"{path}: damaged or truncated (its end is missing)", hint="Restore it from a backup.")


def _decode(file: PhotoFile, blocks: Blocks, most_pixels: int) -> _Picture:
    named_raw = file.path.suffix.lower() in RAW_SUFFIXES
    if is_raw(file.data, blocks, named_raw=named_raw):
        try:
            return _decode_raw(file, blocks, most_pixels)
        except NotRawError:
            if not named_raw:
                raise
    if not lacks_end(file.data):
        return _decode_picture(file, blocks, most_pixels)
    completed = add_end(file.data, partial(_pixels, file.path, most_pixels))
    if completed is None:
        raise _cut_short(file.path)
    picture = _decode_picture(replace(file, data=completed.data), blocks, most_pixels)
    return replace(picture, notes=(NO_END if completed.ends_alone else DATA_BEHIND,))


def _pixels(path: Path, most_pixels: int, data: bytes) -> Image.Image:
    with _open(data) as opened:
        _load(path, opened, data, most_pixels)
        return opened


def _decode_raw(file: PhotoFile, blocks: Blocks, most_pixels: int) -> _Picture:
    preview = read_preview(file.data, blocks)
    stored = preview.picture
    if isinstance(stored, bytes):
        with _open(stored) as opened:
            _load(file.path, opened, stored, most_pixels)
            stored = to_rgb(opened, opened.info.get("icc_profile"))
    upright = turn_upright(stored.convert("RGB"), preview.turn_for(stored.size))
    name = file.path.suffix[1:].upper() if file.path.suffix.lower() in RAW_SUFFIXES else "RAW"
    return _Picture(upright, preview.width, preview.height, name, preview.orientation)


def _decode_picture(file: PhotoFile, blocks: Blocks, most_pixels: int) -> _Picture:
    with _open(file.data) as opened:
        width, height = opened.size
        name = opened.format or "unknown"
        profile = opened.info.get("icc_profile")
        opened.info.pop("xmp", None)  # by which Pillow would turn a TIFF
        _load(file.path, opened, file.data, most_pixels)
        is_turned = name in ("HEIF", "TIFF")  # their readers turn the picture
        if is_turned:
            width, height = opened.size
        image = shrink(to_rgb(opened, profile), MOST_AT_FULL_SIZE)
    orientation = blocks.orientation
    if not is_turned:
        image = turn_upright(image, orientation)
        if orientation in TURNED:
            width, height = height, width
    return _Picture(image, width, height, name, orientation)


def _open(data: bytes) -> Image.Image:
    _register_heif()
    Image.MAX_IMAGE_PIXELS = None  # `_load` checks the size, with a message of ours
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    return Image.open(io.BytesIO(_without_ballast(data)), formats=_FORMATS)


def _register_heif() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()


def _without_ballast(data: bytes) -> bytes:
    """Return a PNG without texts and without an overlong profile, because of which Pillow would refuse the picture."""
    if data[:8] != PNG_SIGNATURE:
        return data
    kept, at = [], 0
    for kind, start, stop in iter_chunks(data):
        if kind in (b"iTXt", b"zTXt", b"tEXt") or (kind == b"iCCP" and _is_overlong(data[start:stop])):
            kept.append(data[at : start - 8])
            at = stop + 4
    return b"".join([*kept, data[at:]]) if kept else data


def _is_overlong(profile: bytes) -> bool:
    most = PngImagePlugin.MAX_TEXT_CHUNK
    try:
        return len(zlib.decompressobj().decompress(profile.partition(b"\0")[2][1:], most + 1)) > most
    except zlib.error:
        return True


def _load(path: Path, opened: Image.Image, data: bytes, most_pixels: int) -> None:
    """Decode the first frame of an opened picture; a very large JPEG at a fraction of its size.

    Raises:
        PhotoError: it has too many pixels or scans.
    """
    pixels = opened.width * opened.height
    is_jpeg = opened.format in ("JPEG", "MPO")
    scans = read_scans(data) if is_jpeg else Scans(1, held=True)
    if pixels > most_pixels and scans.held:
        raise PhotoError(
            f"{path}: {pixels / 1e6:.0f} megapixels, more than {most_pixels / 1e6:.0f}",
            hint="Give myvlm a smaller copy.",
        )
    if pixels * scans.count > _MOST_SCANNED and scans.held:
        raise PhotoError(f"{path}: too many scans to decode", hint="Give myvlm a copy saved anew.")
    if is_jpeg and pixels > MOST_AT_FULL_SIZE:
        factor = next(f for f in (2, 4, 8) if pixels <= f * f * MOST_AT_FULL_SIZE or f == 8)
        opened.draft(None, (max(1, opened.width // factor), max(1, opened.height // factor)))
    opened.load()
