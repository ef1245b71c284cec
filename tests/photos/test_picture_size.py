"""The size of a photo from its header is that of the decoded photo, or is not told."""

import dataclasses

import pytest

from engine.photos.decode import decode_photo, read_photo
from engine.photos.picture_size import read_size
from tests.photo_files import as_stored, corners, encoded, exif_bytes, make_dng


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF", "TIFF", "GIF", "BMP"])
def test_the_size_is_that_of_the_decoded_photo(tmp_path, kind, orientation):
    path = tmp_path / "photo"
    image = corners(96, 64) if kind in ("GIF", "BMP") else as_stored(corners(96, 64), orientation)
    options = {} if kind in ("GIF", "BMP") else {"exif": exif_bytes(orientation)}
    path.write_bytes(encoded(image, kind, **options))
    file = read_photo(path)
    facts = decode_photo(file).facts
    assert read_size(file) == (None if kind == "TIFF" else (facts.width, facts.height))


def test_only_decoding_tells_the_size_of_a_raw_file(tmp_path):
    path = tmp_path / "photo.dng"
    path.write_bytes(make_dng(encoded(corners(), "JPEG"), size=(960, 640)))
    assert read_size(read_photo(path)) is None
    shown_as_raw = tmp_path / "photo.cr2"
    shown_as_raw.write_bytes(encoded(corners(), "JPEG"))
    assert read_size(read_photo(shown_as_raw)) is None


@pytest.mark.parametrize("data", [b"no picture at all", b"\x89PNG\r\n\x1a\n\0\0", b"\0\0\0\x18ftypheic\0\0\0\0"])
def test_what_is_no_picture_has_no_size(tmp_path, data):
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    assert read_size(read_photo(path)) is None


def test_a_header_is_enough(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(corners(96, 64), "JPEG"))
    file = read_photo(path)
    cut = dataclasses.replace(file, data=file.data[:-20])
    assert read_size(cut) == (96, 64)
