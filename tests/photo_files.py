"""Photo files made by hand for the tests: raw files, oddities that Pillow does not write, pictures to recognise."""

import hashlib
import io
import struct
import zlib

import numpy as np
from PIL import Image

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What takes an upright picture to the stored one of an EXIF orientation."""


def corners(width=96, height=64):
    """A picture whose four corners have four colours, none of them its own mirror image."""
    image = Image.new("RGB", (width, height), (200, 200, 200))
    half = (width // 2, height // 2)
    for color, place in (("red", (0, 0)), ("lime", (half[0], 0)), ("blue", (0, half[1]))):
        image.paste(color, (*place, place[0] + half[0], place[1] + half[1]))
    return image


def as_stored(upright, orientation):
    return upright.transpose(TURNS[orientation]) if orientation in TURNS else upright


def exif_bytes(orientation=None, *, ifd0=(), exif=()):
    tags = Image.Exif()
    if orientation:
        tags[0x0112] = orientation
    for tag, value in ifd0:
        tags[tag] = value
    for tag, value in exif:
        tags.get_ifd(0x8769)[tag] = value
    return tags.tobytes()


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def difference(a, b):
    """Mean absolute difference of two pictures of one size, 0..255."""
    assert a.size == b.size
    return float(np.abs(np.asarray(a.convert("RGB"), float) - np.asarray(b.convert("RGB"), float)).mean())


_CODES = {1: ("B", 1), 2: ("s", 1), 3: ("H", 2), 4: ("I", 4), 5: ("I", 8), 7: ("s", 1), 10: ("i", 8)}


def _directory(entries, base):
    """A little-endian TIFF directory at an offset, its longer values behind it."""
    table, values = struct.pack("<H", len(entries)), b""
    behind = base + 2 + 12 * len(entries) + 4
    for tag, kind, value in sorted(entries):
        code, size = _CODES[kind]
        data = value if isinstance(value, bytes) else struct.pack(f"<{len(value)}{code}", *value)
        table += struct.pack("<HHI", tag, kind, len(data) // size)
        if len(data) <= 4:
            table += data.ljust(4, b"\0")
        else:
            table += struct.pack("<I", behind + len(values))
            values += data + b"\0" * (len(data) % 2)
    return table + struct.pack("<I", 0) + values


def make_dng(preview, orientation=1, *, size=(96, 64), more=()):
    """A minimal DNG 1.4 (Adobe, 2012): one-strip Bayer data and a JPEG preview (bytes or None) in a SubIFD."""
    width, height = size
    raw = np.tile(np.array([1000, 2000], "<u2"), width * height // 2).tobytes()

    def layout(preview_at, raw_at, below_at):
        main = [
            *((0x00FE, 4, (0,)), (0x0100, 4, (width,)), (0x0101, 4, (height,)), (0x0102, 3, (16,)), (0x0103, 3, (1,))),
            *((0x0106, 3, (32803,)), (0x010F, 2, b"Acme\0"), (0x0110, 2, b"Cam 1\0"), (0x0111, 4, (raw_at,))),
            *((0x0115, 3, (1,)), (0x0116, 4, (height,)), (0x0117, 4, (len(raw),)), (0x011C, 3, (1,))),
            *((0x828D, 3, (2, 2)), (0x828E, 1, (0, 1, 1, 2)), (0xC612, 1, (1, 4, 0, 0)), (0xC614, 2, b"Acme Cam 1\0")),
            *((0xC61D, 4, (4095,)), (0xC621, 10, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1))),
            *((0xC628, 5, (1, 2, 1, 1, 1, 2)), (0xC65A, 3, (21,)), *more),
        ]
        main += [(0x0112, 3, (orientation,))] if orientation else []
        main += [(0x014A, 4, (below_at,))] if preview else []
        wide, high = Image.open(io.BytesIO(preview)).size if preview else (0, 0)
        below = [
            *((0x00FE, 4, (1,)), (0x0100, 4, (wide,)), (0x0101, 4, (high,)), (0x0102, 3, (8, 8, 8)), (0x0103, 3, (7,))),
            *((0x0106, 3, (6,)), (0x0111, 4, (preview_at,)), (0x0115, 3, (3,)), (0x0116, 4, (high,))),
            (0x0117, 4, (len(preview or b""),)),
        ]
        return _directory(main, 8), _directory(below, below_at) if preview else b""

    picture = (preview or b"") + b"\0" * (len(preview or b"") % 2)
    below_at = 8 + len(layout(0, 0, 0)[0])
    preview_at = below_at + len(layout(0, 0, below_at)[1])
    main, below = layout(preview_at, preview_at + len(picture), below_at)
    return b"II*\0" + struct.pack("<I", 8) + main + below + picture + raw


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with(data, *chunks):
    """A PNG with chunks put behind its header."""
    return data[:33] + b"".join(png_chunk(kind, content) for kind, content in chunks) + data[33:]


def jpeg_with(data, *segments):
    """A JPEG with segments (marker, content) put behind its first two bytes."""
    put = b"".join(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in segments)
    return data[:2] + put + data[2:]


def guid_of(packet):
    """What names an extended XMP packet (XMP Specification Part 3, 1.1.3.1)."""
    return hashlib.md5(packet).hexdigest().upper().encode()


def extended_xmp(packet, step=65_400, guid=None):
    """The APP1 contents of an extended XMP packet, in parts of `step` bytes."""
    head = b"http://ns.adobe.com/xmp/extension/\0" + (guid or guid_of(packet))
    starts = range(0, len(packet), step)
    return [head + struct.pack(">II", len(packet), at) + packet[at : at + step] for at in starts]


def iim(*datasets):
    """An IPTC block: (record, dataset, content)."""
    return b"".join(struct.pack(">BBBH", 0x1C, r, n, len(c)) + c for r, n, c in datasets)


def photoshop(block):
    """Image resources with an IPTC block, as in APP13."""
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(block)) + block + b"\0" * (len(block) % 2)
    return b"Photoshop 3.0\0" + b"8BIM\x03\xed\0\0\0\0\0\x02ab" + resource
