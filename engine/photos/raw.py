"""Read the preview that the camera stored in a raw file. The raw data is never developed."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from engine.core.boxes import TURNED
from engine.photos.metadata.containers import Blocks
from engine.photos.metadata.stored import Slices

_SIGNATURES = (b"FUJIFILMCCD-RAW ", b"FOVb", b"\0MRM", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
"""Fujifilm, Sigma, Minolta, Olympus (three), Panasonic."""
_DNG_VERSION = 0xC612
_FLIPS = {0: 1, 3: 3, 5: 8, 6: 6}
"""EXIF orientation by LibRaw's `flip` (LibRaw documentation)."""


class NoPreviewError(ValueError):
    """A raw file has no preview that can be read."""


class NotRawError(ValueError):
    """LibRaw does not take a file for a raw file."""


@dataclass(frozen=True)
class Preview:
    """The preview in a raw file as stored.

    picture: the bytes of a JPEG, or pixels. width, height: of the upright photo that the raw data would give.
    orientation: EXIF 1..8, of the raw file.
    """

    picture: bytes | Image.Image
    width: int
    height: int
    orientation: int

    def turn_for(self, size: tuple[int, int]) -> int:
        """Return the EXIF orientation by which a preview of this size must be turned.

        That of the raw file, unless the preview is upright already. Cameras store previews as the sensor saw them; an
        EXIF orientation in the preview adds nothing, or is outdated. Some programs store previews upright, which is
        seen from their sides.
        """
        if self.orientation not in TURNED or self.width == self.height or size[0] == size[1]:
            return self.orientation
        is_upright = (size[0] > size[1]) == (self.width > self.height)
        return 1 if is_upright else self.orientation


def is_raw(data: Slices, blocks: Blocks, *, named_raw: bool) -> bool:
    """Return whether a file is to be read as raw: by its signature, or, if it is a TIFF or unknown, by its name."""
    head = data[0:16]
    if head.startswith((b"\xff\xd8", b"\x89PNG", b"RIFF", b"GIF8")):
        return False
    return named_raw or _is_signed(head) or _DNG_VERSION in blocks.image


def _is_signed(head: bytes) -> bool:
    canon = head[4:12] == b"ftypcrx " or head[6:14] == b"HEAPCCDR" or head[8:10] == b"CR"
    return canon or head.startswith(_SIGNATURES)


def read_preview(data: bytes, blocks: Blocks) -> Preview:
    """Return the largest picture embedded in a raw file.

    Raises:
        NotRawError: LibRaw does not know what this is.
        NoPreviewError: there is none that can be read.
    """
    import rawpy

    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            sizes, thumb = raw.sizes, raw.extract_thumb()
    except (rawpy.LibRawFileUnsupportedError, rawpy.LibRawIOError) as err:
        raise NotRawError("not a raw file of a known camera") from err
    except (rawpy.LibRawError, rawpy.NotSupportedError) as err:
        raise NoPreviewError(f"no preview in the raw file: {_message(err)}") from err
    picture = bytes(thumb.data) if thumb.format == rawpy.ThumbFormat.JPEG else Image.fromarray(np.asarray(thumb.data))
    orientation = blocks.orientation if 0x0112 in blocks.image else _FLIPS.get(sizes.flip, 1)
    width, height = sizes.width, sizes.height
    if 0 < sizes.crop_width <= width and 0 < sizes.crop_height <= height:
        width, height = sizes.crop_width, sizes.crop_height
    if orientation in TURNED:
        width, height = height, width
    return Preview(picture, width, height, orientation)


def _message(err: Exception) -> str:
    message = err.args[0] if err.args else type(err).__name__
    return message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
