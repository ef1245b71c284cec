"""Decode photos: an upright RGB picture with the facts and metadata of its file. Nothing else decodes photos."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from engine.core.boxes import TURNED, Box
from engine.core.errors import PhotoError
from engine.core.notes import Note, NoteCode
from engine.core.types import PhotoFacts
from engine.photos.discovery import RAW_SUFFIXES
from engine.photos.metadata.containers import Blocks
from engine.photos.metadata.embedded import Embedded, embedded_of
from engine.photos.metadata.exif import exif_of
from engine.photos.open_picture import MOST_PIXELS, SizeLimits, load_pixels, open_picture, within_most
from engine.photos.photo_file import PhotoFile, read_photo
from engine.photos.pixels import to_rgb, turn_upright
from engine.photos.raw import NoPreviewError, NotRawError, is_raw, read_preview
from engine.photos.unterminated_jpeg import add_end, lacks_end

__all__ = ["MOST_PIXELS", "Photo", "PhotoFile", "decode_photo", "load_photo", "read_photo"]

NO_END = Note(NoteCode.NO_END_MARKER)
"""Note on a JPEG whose last two bytes are lost, which other programs may refuse."""
DATA_BEHIND = Note(NoteCode.DATA_BEHIND_PICTURE)
"""Note on a JPEG for which it is unknown at which byte the picture ends and the other data begin."""


@dataclass(frozen=True)
class Photo:
    """A decoded photo: upright RGB pixels with the facts and metadata of its file.

    The picture may be smaller than the photo (`facts.width`, `facts.height`): it was decoded at a reduced size, or it
    is the preview of a raw file, or of a photo of more than 100 megapixels. Boxes detected in it are in its pixels;
    `in_photo` converts them to those of the photo.

    software: the EXIF `Software`. notes: what is wrong with the file, for the user. full: returns the picture as it is
    without a reduced size, or raises PhotoError; None where `image` was not reduced.
    """

    path: Path
    image: Image.Image
    facts: PhotoFacts
    embedded: Embedded = field(default_factory=Embedded)
    software: str = ""
    notes: tuple[Note, ...] = ()
    full: Callable[[], Image.Image] | None = field(default=None, repr=False, compare=False)

    def at_full_size(self) -> Image.Image:
        """Return the picture with all its pixels, for what is too small in `image`; a JPEG is decoded once more.

        Where that fails, as for want of memory, the reduced picture is returned.
        """
        try:
            return self.image if self.full is None else self.full()
        except PhotoError:
            return self.image

    def in_photo(self, box: Box) -> Box:
        """Convert a box from pixels of the picture to pixels of the upright photo."""
        size, target = self.image.size, (self.facts.width, self.facts.height)
        return box if size == target else box.scaled(size, target)

    def in_image(self, box: Box) -> Box:
        """Invert `in_photo`."""
        size, target = (self.facts.width, self.facts.height), self.image.size
        return box if size == target else box.scaled(size, target)


@dataclass(frozen=True)
class _Picture:
    """Upright RGB pixels. width, height: of the photo at its full size.

    exact: whether all its pixels were decoded. whole: the picture with all its pixels, where `image` has fewer and
    they were decoded.
    """

    image: Image.Image
    width: int
    height: int
    format: str
    orientation: int
    notes: tuple[Note, ...] = ()
    exact: bool = True
    whole: Image.Image | None = None


def load_photo(path: Path) -> Photo:
    """Read and decode a photo.

    Raises:
        PhotoError: as in `read_photo` and `decode_photo`.
    """
    return decode_photo(read_photo(path))


def decode_photo(file: PhotoFile, *, most_pixels: int = MOST_PIXELS, edge: int | None = None) -> Photo:
    """Decode a photo as 8-bit RGB, upright (EXIF orientation, rotation of HEIC); of an animation the first frame.

    edge: the longer side, in pixels, that is enough: a larger picture is reduced, but not below it. None: all pixels.

    Raises:
        PhotoError: the file is not a picture, truncated, damaged, a raw file without a preview, or over `most_pixels`.
    """
    blocks = file.blocks
    picture = _decode_or_fail(file, blocks, SizeLimits(most_pixels, edge))
    exif = exif_of(blocks)
    size = (picture.width, picture.height)
    facts = PhotoFacts(file.content_hash, *size, picture.format, picture.orientation, exif.taken, exif.place)
    full = _full_size(file, blocks, picture, SizeLimits(most_pixels))
    return Photo(file.path, picture.image, facts, embedded_of(blocks), exif.software, picture.notes, full)


def _full_size(
    file: PhotoFile, blocks: Blocks, picture: _Picture, limits: SizeLimits
) -> Callable[[], Image.Image] | None:
    """Return how to get the picture that was reduced, or None: from memory, or by decoding a JPEG once more."""
    whole = picture.whole
    if whole is not None:
        return lambda: whole
    if picture.exact:
        return None
    return lambda: _decode_or_fail(file, blocks, limits).image


def _decode_or_fail(file: PhotoFile, blocks: Blocks, limits: SizeLimits) -> _Picture:
    """Decode a photo; every failure is a PhotoError with a hint."""
    path = file.path
    if _is_cut_short(file.data):
        raise _cut_short(path)
    try:
        _silence_decoders()
        return _decode(file, blocks, limits)
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


def _decode(file: PhotoFile, blocks: Blocks, limits: SizeLimits) -> _Picture:
    named_raw = file.path.suffix.lower() in RAW_SUFFIXES
    if is_raw(file.data, blocks, named_raw=named_raw):
        try:
            return _decode_raw(file, blocks, limits)
        except NotRawError:
            if not named_raw:
                raise
    if not lacks_end(file.data):
        return _decode_picture(file, blocks, limits)
    completed = add_end(file.data, partial(_pixels, file.path, limits))
    if completed is None:
        raise _cut_short(file.path)
    picture = _decode_picture(replace(file, data=completed.data), blocks, limits)
    return replace(picture, notes=(NO_END if completed.ends_alone else DATA_BEHIND,))


def _pixels(path: Path, limits: SizeLimits, data: bytes) -> Image.Image:
    with open_picture(data) as opened:
        load_pixels(path, opened, data, limits)
        return opened


def _decode_raw(file: PhotoFile, blocks: Blocks, limits: SizeLimits) -> _Picture:
    preview = read_preview(file.data, blocks)
    stored, exact = preview.picture, True
    if isinstance(stored, bytes):
        with open_picture(stored) as opened:
            exact = load_pixels(file.path, opened, stored, limits)
            stored = to_rgb(opened, opened.info.get("icc_profile"))
    upright = turn_upright(stored.convert("RGB"), preview.turn_for(stored.size))
    name = file.path.suffix[1:].upper() if file.path.suffix.lower() in RAW_SUFFIXES else "RAW"
    return _reduced(_Picture(upright, preview.width, preview.height, name, preview.orientation, exact=exact), limits)


def _decode_picture(file: PhotoFile, blocks: Blocks, limits: SizeLimits) -> _Picture:
    with open_picture(file.data) as opened:
        width, height = opened.size
        name = opened.format or "unknown"
        profile = opened.info.get("icc_profile")
        opened.info.pop("xmp", None)  # by which Pillow would turn a TIFF
        exact = load_pixels(file.path, opened, file.data, limits)
        is_turned = name in ("HEIF", "TIFF")  # their readers turn the picture
        if is_turned:
            width, height = opened.size
        image = within_most(to_rgb(opened, profile))
    orientation = blocks.orientation
    if not is_turned:
        image = turn_upright(image, orientation)
        if orientation in TURNED:
            width, height = height, width
    return _reduced(_Picture(image, width, height, name, orientation, exact=exact), limits)


def _reduced(picture: _Picture, limits: SizeLimits) -> _Picture:
    """Reduce a picture that was decoded with all its pixels, if it is larger than is needed; keep both sizes."""
    image = limits.reduced(picture.image) if picture.exact else picture.image
    return picture if image is picture.image else replace(picture, image=image, whole=picture.image)
