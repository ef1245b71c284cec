"""Damaged files: whatever the bytes are, readers answer, or refuse with a PhotoError, in time."""

import io
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.core.errors import PhotoError
from engine.photos.content_hash import hash_content
from engine.photos.decode import PhotoFile, decode_photo
from engine.photos.metadata.embedded import read_embedded
from engine.photos.metadata.exif import read_exif
from engine.photos.metadata.taken import naive, place_of_xmp, read_date
from tests.photo_files import (
    corners,
    encoded,
    exif_bytes,
    extended_xmp,
    iim,
    jpeg_with,
    make_dng,
    photoshop,
    png_chunk,
    png_with,
)

SLOWEST = 20.0
"""Seconds for one small input; the usual one takes a millisecond."""


def seeds():
    """Small files of every format with all the metadata that is read."""
    image = corners()
    exif = exif_bytes(
        6,
        ifd0=[(0x010E, "a dog"), (0x0132, "2020:01:02 03:04:05"), (0x4746, 4), (0x9C9E, "a;b".encode("utf-16-le"))],
        exif=[(0x9003, "2020:01:02 03:04:05"), (0x9011, "+02:00"), (0x9286, b"UNICODE\0h\0i\0")],
    )
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'
        b' exif:DateTimeOriginal="2011-02-03T04:05:06.5+01:00" exif:GPSLatitude="54,19.5N" exif:GPSLongitude="8,30W">'
        b"<tiff:Orientation>3</tiff:Orientation></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    block = iim(
        (2, 55, b"20110203"),
        (2, 60, b"040506+0100"),
        (1, 90, b"\x1b%G"),
        (2, 5, b"title"),
        (2, 25, b"one"),
        (2, 25, b"two"),
        (2, 120, "Öl".encode()),
    )
    plain = {"exif": exif, "xmp": xmp}
    jpeg = jpeg_with(encoded(image, "JPEG", **plain), (0xED, photoshop(block)))
    found = {
        "a.jpg": jpeg,
        "extended.jpg": jpeg_with(jpeg, *((0xE1, c) for c in extended_xmp(xmp * 3, 100))),
        "progressive.jpg": encoded(image, "JPEG", progressive=True, **plain),
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG", **plain),
        "mpo.jpg": encoded(image, "MPO", save_all=True, append_images=[image], exif=exif),
        "a.png": png_with(encoded(image, "PNG", exif=exif), (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)),
        "palette.png": encoded(image.quantize(), "PNG"),
        "deep.png": encoded(Image.fromarray(np.arange(3072, dtype=np.uint16).reshape(48, 64)), "PNG"),
        "a.webp": encoded(image, "WEBP", **plain),
        "still.webp": encoded(image, "WEBP", lossless=True),
        "moving.webp": encoded(image, "WEBP", save_all=True, append_images=[image.rotate(180)]),
        "a.tif": encoded(image, "TIFF", tiffinfo={0x0112: 6, 0x02BC: xmp, 0x83BB: block}),
        "packed.tif": encoded(image, "TIFF", compression="tiff_lzw"),
        "a.gif": encoded(image, "GIF", save_all=True, append_images=[image.rotate(180)]),
        "a.avif": encoded(image, "AVIF", **plain),
        "a.dng": make_dng(encoded(image, "JPEG", exif=exif), 6, more=[(0x02BC, 1, xmp)]),
        "a.jp2": jp2_with(image, exif, xmp, block),
        "a.psd": b"",
    }
    found["moving.png"] = encoded(image, "PNG", save_all=True, append_images=[image.rotate(180)])
    found["heif"] = heif(image, exif, xmp)
    return {name: data for name, data in found.items() if data}


def jp2_with(image, exif, xmp, block):
    """A JPEG 2000 file with metadata in boxes, as exiftool writes them."""
    kinds = (b"JpgTiffExif->JP2", bytes.fromhex("be7acfcb97a942e89c71999491e3afac"))
    kinds += (bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"),)
    boxes = [kind + content for kind, content in zip(kinds, (exif, xmp, block), strict=True)]
    return encoded(image, "JPEG2000") + b"".join(struct.pack(">I4s", 8 + len(b), b"uuid") + b for b in boxes)


def heif(image, exif, xmp):
    import pillow_heif

    pillow_heif.register_heif_opener()
    return encoded(image, "HEIF", exif=exif, xmp=xmp)


def mutated(data, rng):
    """Bytes changed in some of the ways in which files break, half of the time in the header."""
    found = bytearray(data)
    reach = len(found) if rng.random() < 0.5 else min(len(found), 1024)
    for _ in range(int(rng.geometric(0.4))):
        at = int(rng.integers(0, max(1, min(reach, len(found)))))
        way = int(rng.integers(0, 9))
        if way == 0:
            found[at : at + 1] = bytes([int(rng.integers(256))])
        elif way == 1:
            found[at : at + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1"])
        elif way == 2:
            del found[at : at + int(rng.integers(1, 64))]
        elif way == 3:
            found[at:at] = rng.bytes(int(rng.integers(1, 64)))
        elif way == 4:
            size = int(rng.integers(1, 200))
            source = int(rng.integers(0, max(1, len(found))))
            found[at : at + size] = found[source : source + size]
        elif way == 5:
            if rng.random() < 0.2:
                del found[at:]
        elif found:
            found[at % len(found)] ^= 1 << int(rng.integers(8))
    return bytes(found)


def look_at_metadata(data, path):
    exif = read_exif(data)
    assert 1 <= exif.orientation <= 8
    assert exif.taken is None or naive(exif.taken)
    assert exif.place is None or (abs(exif.place[0]) <= 90 and abs(exif.place[1]) <= 180)
    embedded = read_embedded(PhotoFile(path, data, "0"))
    assert embedded.rating is None or -1 <= embedded.rating <= 5
    assert len(hash_content(data)) == 64


def look_at_pixels(data, path):
    try:
        photo = decode_photo(PhotoFile(path, data, "0"), most_pixels=4_000_000)
    except PhotoError as err:
        assert str(path) in str(err)
        assert err.hint
        return False
    assert photo.image.mode == "RGB"
    assert photo.facts.width > 0
    assert photo.facts.height > 0
    return True


def fuzz(look, count, seed):
    """Look at `count` damaged files; returns how many gave a picture. Names the seed and number of a bad one."""
    files, fine = sorted(seeds().items()), 0
    for n in range(count):
        name, data = files[n % len(files)]
        rng = np.random.default_rng((seed, n))
        damaged = mutated(data, rng)
        begun = time.monotonic()
        try:
            fine += bool(look(damaged, Path(f"{seed}-{n}-{name}")))
        except Exception as err:
            raise AssertionError(f"seed {seed}, input {n} ({name}): {err!r}") from err
        assert time.monotonic() - begun < SLOWEST, f"seed {seed}, input {n} ({name}) is slow"
    return fine


def test_the_seeds_are_whole():
    for name, data in seeds().items():
        look_at_metadata(data, Path(name))
        assert look_at_pixels(data, Path(name)), name


def test_damaged_metadata():
    fuzz(look_at_metadata, 600, 1)


def test_damaged_dates_and_places():
    texts = ("2023:07:21 21:06:26.50+02:00", "20110203 040506+0100", "2023-7-1T9:06 PM", "54,19.5N", "8 deg 30' West")
    for n in range(5000):
        rng = np.random.default_rng((9, n))
        text = mutated(texts[n % len(texts)].encode(), rng).decode("latin-1")
        found, place = read_date(text, text[-6:]), place_of_xmp(text, text)
        assert found is None or naive(found)
        assert place is None or (abs(place[0]) <= 90 and abs(place[1]) <= 180)


def test_damaged_pictures():
    assert fuzz(look_at_pixels, 500, 2) > 50


def test_noise_behind_every_signature():
    rng = np.random.default_rng(3)
    for name, data in seeds().items():
        for keep in (2, 4, 8, 12, 16, 40):
            noise = data[:keep] + rng.bytes(400)
            look_at_metadata(noise, Path(name))
            look_at_pixels(noise, Path(name))


@pytest.mark.fuzz
def test_damaged_metadata_at_length():
    begun = time.monotonic()
    fuzz(look_at_metadata, 100_000, 11)
    print(f"100,000 inputs in {time.monotonic() - begun:.0f} s")


@pytest.mark.fuzz
def test_damaged_pictures_at_length():
    begun = time.monotonic()
    fine = fuzz(look_at_pixels, 40_000, 12)
    print(f"40,000 inputs, {fine} of them pictures, in {time.monotonic() - begun:.0f} s")


def chained_directories():
    """A TIFF of 200 kB whose directories overlap and name each other: following them all would take minutes."""
    import struct

    data = bytearray(struct.pack("<2sHI", b"II", 42, 8))
    data += b"\x10\x00" * 100_000
    return bytes(data)


def png_of_texts():
    return png_with(encoded(corners(), "PNG"), *[(b"tEXt", b"Comment\0x")] * 50_000)


def test_hostile_files_take_no_time():
    import zlib

    bomb = zlib.compress(bytes(300 * 2**20), 9)
    files = {
        "chain.tif": chained_directories(),
        "stuffed.jpg": encoded(corners(), "JPEG")[:-2] + b"\xff\x00" * 2_000_000 + b"\xff\xd9",
        "filled.jpg": b"\xff\xd8" + b"\xff" * 4_000_000,
        "texts.png": png_of_texts(),
        "bomb.png": png_with(encoded(corners(), "PNG"), (b"zTXt", b"Comment\0\0" + bomb)),
        "xmp.png": png_with(encoded(corners(), "PNG"), (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb)),
        "chunks.png": b"\x89PNG\r\n\x1a\n" + png_chunk(b"IDAT", b"") * 100_000,
        "boxes.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0\0\0\x08free" * 100_000,
    }
    for name, data in files.items():
        begun = time.monotonic()
        look_at_metadata(data, Path(name))
        look_at_pixels(data, Path(name))
        assert time.monotonic() - begun < SLOWEST, name


def test_long_texts_do_not_spoil_a_png():
    import zlib

    data = png_with(encoded(corners(), "PNG"), (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80 * 2**20), 9)))
    with pytest.raises(ValueError, match="too large"):
        Image.open(io.BytesIO(data)).load()
    assert look_at_pixels(data, Path("long.png"))
