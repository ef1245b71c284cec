"""Pictures of pages: made when needed, once, of the photo that was meant."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

import engine.pages.thumbnails
import engine.photos.decode
from engine.core.boxes import Box
from engine.pages.thumbnails import Picture, Thumbnails, View
from engine.photos.decode import read_photo


@pytest.fixture
def photo(tmp_path):
    """A grey photo of 2000 x 1000 pixels with a red square of 100 pixels at (400, 300)."""
    pixels = np.full((1000, 2000, 3), 128, np.uint8)
    pixels[300:400, 400:500] = (255, 0, 0)
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x010E] = "a secret description"
    Image.fromarray(pixels).save(path, quality=95, exif=exif)
    return path


BOX = Box(400, 300, 500, 400)


def opened(made) -> Image.Image:
    return Image.open(io.BytesIO(made.data)).convert("RGB")


def is_red(pixel) -> bool:
    return pixel[0] > 200 and pixel[1] < 80


def test_a_region_is_cropped_with_a_margin_from_all_pixels(photo):
    crop = opened(Thumbnails([Picture(photo, None, BOX, View.REGION, 320)]).get(0))
    assert crop.size == (140, 140)  # not from a reduced copy of the photo
    assert is_red(crop.getpixel((70, 70)))
    assert not is_red(crop.getpixel((5, 5)))


def test_the_whole_photo_has_the_region_framed_in_its_colour(photo):
    whole = opened(Thumbnails([Picture(photo, None, BOX, View.WHOLE, 400, "#0000ff")]).get(0))
    assert whole.size == (400, 200)
    left, middle = 80, 70
    assert whole.getpixel((left + 1, middle))[2] > 200
    assert is_red(whole.getpixel((90, 70)))


def test_nothing_of_the_metadata_is_left(photo):
    made = Thumbnails([Picture(photo, None, None, View.WHOLE, 100)]).get(0)
    assert b"secret" not in made.data
    assert not opened(made).getexif()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.unlink(), "The photo is not there any more."),
        (lambda path: path.write_bytes(b"no picture"), "The photo has changed since."),
        (lambda path: None, ""),
    ],
)
def test_a_photo_that_is_not_what_it_was_is_not_shown(photo, change, reason):
    picture = Picture(photo, read_photo(photo).content_hash, BOX, View.REGION, 100)
    change(photo)
    made = Thumbnails([picture]).get(0)
    assert (made.reason, bool(made.data)) == (reason, not reason)


def test_a_damaged_photo_says_so(photo):
    photo.write_bytes(photo.read_bytes()[:3000])
    picture = Picture(photo, None, BOX, View.REGION, 100)
    assert Thumbnails([picture]).get(0).reason == "The photo cannot be read."


def test_the_pictures_of_a_photo_are_made_once_for_many_threads(photo, monkeypatch):
    decoded = []
    real = engine.pages.thumbnails.decode_photo
    monkeypatch.setattr(
        engine.pages.thumbnails, "decode_photo", lambda file, **o: decoded.append(file.path) or real(file, **o)
    )
    views = (View.REGION, View.WHOLE, View.REGION, View.WHOLE)
    thumbnails = Thumbnails([Picture(photo, None, BOX, view, 100 + n) for n, view in enumerate(views)])
    made = [None] * 16
    threads = [threading.Thread(target=lambda n=n: made.__setitem__(n, thumbnails.get(n % 4).data)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(decoded) == 1
    assert len(set(made)) == 4
    assert all(made)


def test_a_photo_is_decoded_at_its_full_size_once(tmp_path, monkeypatch):
    path = tmp_path / "large.jpg"
    Image.new("RGB", (3000, 2000), (10, 90, 200)).save(path)
    decoded = []
    real = engine.photos.decode._decode_or_fail
    monkeypatch.setattr(engine.photos.decode, "_decode_or_fail", lambda *a: decoded.append(1) or real(*a))
    boxes = [Box(100 + 300 * n, 100, 160 + 300 * n, 160) for n in range(6)]
    made = Thumbnails([Picture(path, None, box, View.REGION, 400) for box in boxes]).get(0)
    assert opened(made).size == (84, 84)  # all its pixels
    assert len(decoded) == 2


def test_pictures_beyond_the_memory_are_made_again(photo, tmp_path):
    paths = [photo.rename(tmp_path / "0.jpg")]
    for n in (1, 2):
        paths.append(tmp_path / f"{n}.jpg")
        paths[-1].write_bytes(paths[0].read_bytes())
    thumbnails = Thumbnails([Picture(p, None, BOX, View.WHOLE, 200) for p in paths], most_bytes=1)
    first = thumbnails.get(0).data
    for n in (1, 2):
        thumbnails.get(n)
    assert len(thumbnails._made) == 1
    assert thumbnails.get(0).data == first


@pytest.mark.parametrize("number", [-1, 1, 10**9])
def test_other_numbers_are_no_pictures(photo, number):
    with pytest.raises(IndexError):
        Thumbnails([Picture(photo, None, BOX, View.REGION, 100)]).get(number)
