"""The image-data hash: what a program writes beside the pixels does not change it, what changes the pixels does."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from engine.core.files import sha256_of
from engine.photos.content_hash import hash_content
from engine.photos.photo_file import read_photo
from tests.photo_files import corners, encoded, exif_bytes, jpeg_with, png_chunk, png_with
from tests.photos.test_formats import ADOBE, profile_with

WRITERS = {
    "jpg": lambda **o: encoded(corners(), "JPEG", **o),
    "png": lambda **o: encoded(corners(), "PNG", **{k: v for k, v in o.items() if k != "xmp"}),
    "webp": lambda **o: encoded(corners(), "WEBP", **o),
    "lossless.webp": lambda **o: encoded(corners(), "WEBP", lossless=True, **o),
    "moving.webp": lambda **o: encoded(
        corners(), "WEBP", save_all=True, append_images=[corners(96, 64).rotate(9)], **o
    ),
    "progressive.jpg": lambda **o: encoded(corners(), "JPEG", progressive=True, **o),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_metadata_does_not_count(kind):
    write = WRITERS[kind]
    plain = hash_content(write())
    assert plain != sha256_of(write())
    assert hash_content(write(exif=exif_bytes(1, ifd0=[(0x010E, "a dog"), (0x4746, 5)]))) == plain
    assert hash_content(write(xmp=b"<x:xmpmeta/>")) == plain
    turned = {hash_content(write(exif=exif_bytes(n))) for n in range(1, 9)}
    assert len(turned) == 8
    assert plain in turned


@pytest.mark.parametrize("kind", WRITERS)
def test_pixels_and_profiles_count(kind):
    write = WRITERS[kind]
    assert hash_content(write(icc_profile=profile_with(ADOBE, "wide"))) != hash_content(write())
    assert hash_content(write(icc_profile=profile_with(ADOBE, "wide"))) != hash_content(
        write(icc_profile=profile_with(ADOBE, "wider"))
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_one_pixel_counts(kind):
    changed = corners()
    changed.putpixel((50, 50), (0, 0, 0))
    assert hash_content(encoded(corners(), kind)) != hash_content(encoded(changed, kind))


def test_segments_of_a_jpeg():
    data = WRITERS["jpg"]()
    assert data[2:4] == b"\xff\xe0"
    no_jfif = data[:2] + data[20:]
    same = [
        *(
            jpeg_with(data, (0xFE, b"comment")),
            jpeg_with(data, (0xED, b"Photoshop 3.0\0")),
            jpeg_with(data, (0xE4, b"x")),
        ),
        *(jpeg_with(data, (0xE2, b"MPF\0II*\0")), data + b"a video behind it", data[:2] + b"\xff\xff\xff" + data[2:]),
        jpeg_with(data, (0xE1, exif_bytes(1))),
    ]
    other = [
        *(no_jfif, jpeg_with(data, (0xEE, b"Adobe\0\x64\0\0\0\0\0")), jpeg_with(data, (0xE1, exif_bytes(3)))),
        jpeg_with(data, (0xE2, b"ICC_PROFILE\0\1\1x")),
    ]
    assert {hash_content(d) for d in same} == {hash_content(data)}
    assert len({hash_content(d) for d in [data, *other]}) == 5
    assert hash_content(jpeg_with(no_jfif, (0xFE, b"c"))) == hash_content(no_jfif)


def test_chunks_of_a_png():
    data = WRITERS["png"]()
    same = [(b"tEXt", b"a\0b"), (b"tIME", bytes(7)), (b"pHYs", bytes(9)), (b"eXIf", exif_bytes(1)[6:])]
    other = [(b"gAMA", b"\0\0\1\1"), (b"sRGB", b"\0"), (b"tRNS", bytes(6)), (b"eXIf", exif_bytes(2)[6:])]
    assert {hash_content(png_with(data, c)) for c in same} == {hash_content(data)}
    assert len({hash_content(png_with(data, c)) for c in other} | {hash_content(data)}) == 5


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9"[:3],
        WRITERS["jpg"]()[:-2],
        WRITERS["jpg"]()[:400],
        WRITERS["png"]()[:-12],
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IEND", b""),
        b"RIFF\4\0\0\0WEBP",
        encoded(corners(), "GIF"),
        encoded(corners(), "TIFF"),
        encoded(corners(), "AVIF"),
    ],
)
def test_other_and_broken_files_are_hashed_whole(data):
    assert hash_content(data) == sha256_of(data)


def exiftool(path, *arguments):
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    command = ["exiftool", "-q", "-overwrite_original", *arguments, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "lossless.webp", "moving.webp"])
def test_what_exiftool_writes_does_not_count(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(WRITERS[name.removeprefix("a.")](icc_profile=profile_with(ADOBE, "wide")))
    before, data = read_photo(path).content_hash, path.read_bytes()
    exiftool(path, "-XMP-xmp:Rating=5", "-XMP-dc:Description=a dog", "-EXIF:Artist=Anna", "-EXIF:Software=exiftool")
    assert path.read_bytes() != data
    assert read_photo(path).content_hash == before
    exiftool(path, "-EXIF:Orientation#=6")
    assert read_photo(path).content_hash != before
    exiftool(path, "-EXIF:Orientation#=1", "-XMP:all=")
    assert read_photo(path).content_hash == before


def test_real_photos_and_exiftool(shared, tmp_path):
    for source in sorted((shared / "photos" / "formats").iterdir()):
        if source.suffix in (".jpg", ".png", ".webp"):
            path = tmp_path / source.name
            path.write_bytes(source.read_bytes())
            before = read_photo(path).content_hash
            assert before != sha256_of(path.read_bytes())
            exiftool(path, "-m", "-XMP-dc:Subject+=Rex", "-XMP-xmp:Rating=3")
            assert read_photo(path).content_hash == before, source.name


def test_time_is_linear():
    """20 MB of noise, of stuffed bytes and of restarts: each as long as hashing, not as the square."""
    import time

    noise = np.random.default_rng(1).integers(0, 255, 20_000_000, dtype=np.uint8).tobytes()
    head = WRITERS["jpg"]()[:-2]
    for body in (noise.replace(b"\xff", b"\xfe"), b"\xff\x00" * 10_000_000, b"\xff\xd0" * 10_000_000, noise):
        begun = time.monotonic()
        hash_content(head + body + b"\xff\xd9")
        assert time.monotonic() - begun < 10


def test_grey_and_large_pictures_of_the_same_pixels_differ_by_format():
    image = Image.new("L", (8, 8), 7)
    assert len({hash_content(encoded(image, kind)) for kind in ("JPEG", "PNG", "WEBP")}) == 3
