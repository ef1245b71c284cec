"""Raw files: the picture that the camera put beside the raw data. The raw data is never developed."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from engine.core.boxes import TURNED
from engine.photos.metadata.containers import Blocks
from engine.photos.metadata.slices import Slices

_SIGNATURES = (b"FUJIFILMCCD-RAW ", b"FOVb", b"\0MRM", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
"""Fujifilm, Sigma, Minolta, Olympus (three), Panasonic."""
_DNG_VERSION = 0xC612
_FLIPS = {0: 1, 3: 3, 5: 8, 6: 6}
"""LibRaw's turns as EXIF orientations (LibRaw documentation, `flip`)."""


class NoPreviewError(ValueError):
    """A raw file without a picture that can be shown."""


class NotRawError(ValueError):
    """A file that LibRaw does not take for a raw file."""


@dataclass(frozen=True)
class Preview:
    """A raw file's picture, not turned yet: a JPEG's bytes or pixels.

    width, height: of the upright photo that the raw data would give. orientation: EXIF 1..8, the raw file's.
    """

    picture: bytes | Image.Image
    width: int
    height: int
    orientation: int

    def turn_for(self, size: tuple[int, int]) -> int:
        """What a preview of this size has to be turned by: as the raw data, unless it lies upright already.

        Cameras store it as the sensor saw it, and its own EXIF, if it has one, says nothing more (or, after the raw
        file's was changed, what was true before); some programs store it turned, which its sides then show.
        """
        if self.orientation not in TURNED or self.width == self.height or size[0] == size[1]:
            return self.orientation
        is_upright = (size[0] > size[1]) == (self.width > self.height)
        return 1 if is_upright else self.orientation


def is_raw(data: Slices, blocks: Blocks, *, named_raw: bool) -> bool:
    """Whether a file is to be read as raw: by its signature, or because it is a TIFF or unknown and is named so."""
    head = data[0:16]
    if head.startswith((b"\xff\xd8", b"\x89PNG", b"RIFF", b"GIF8")):
        return False
    return named_raw or _is_signed(head) or _DNG_VERSION in blocks.image


def _is_signed(head: bytes) -> bool:
    canon = head[4:12] == b"ftypcrx " or head[6:14] == b"HEAPCCDR" or head[8:10] == b"CR"
    return canon or head.startswith(_SIGNATURES)


def read_preview(data: bytes, blocks: Blocks) -> Preview:
    """The largest picture embedded in a raw file.

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
    picture = thumb.data if thumb.format == rawpy.ThumbFormat.JPEG else Image.fromarray(np.asarray(thumb.data))
    orientation = blocks.orientation if 0x0112 in blocks.image else _FLIPS.get(sizes.flip, 1)
    width, height = sizes.width, sizes.height
    if 0 < sizes.crop_width <= width and 0 < sizes.crop_height <= height:
        width, height = sizes.crop_width, sizes.crop_height
    if orientation in TURNED:
        width, height = height, width
    return Preview(picture, width, height, orientation)


def _message(err: Exception) -> str:
    said = err.args[0] if err.args else type(err).__name__
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
