import os

import numpy as np
import pytest
from PIL import Image

from engine.core.errors import PhotoError
from engine.photos.decode import decode_photo, load_photo, read_photo
from engine.photos.discovery import iter_photos
from engine.photos.path_list import read_list


def test_formats_decode_upright_with_facts(shared):
    folder = shared / "photos" / "formats"
    photos = {p.name: load_photo(p) for p in iter_photos([folder])}
    assert len(photos) == 15
    assert all(p.image.mode == "RGB" for p in photos.values())
    heic = photos["IMG_2682.heic"].facts
    assert (heic.format, heic.taken, heic.place) == ("HEIF", "2019-03-21T11:04:22", (41.2203, -96.071625))
    assert photos["datetimeoriginal-gps.jpg"].facts.place == (39.0, -108.0)
    assert photos["8bit-sRGB.avif"].facts.format == "AVIF"
    assert photos["density_plot.png"].facts.taken is None


def test_orientation_6_is_turned_upright(shared):
    folder = shared / "photos" / "formats"
    turned = load_photo(folder / "portrait-orientation-6.jpg")
    upright = load_photo(folder / "portrait.jpg")
    assert turned.facts.orientation == 6
    assert turned.image.size == upright.image.size
    a, b = (np.asarray(p.image.resize((64, 64)).convert("L"), float) for p in (turned, upright))
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_every_stored_orientation_gives_the_same_picture(tmp_path, orientation):
    from engine.storybook.photos import save_photo
    from engine.storybook.world.individuals import draw_figure
    from engine.storybook.world.scenes import compose

    rng = np.random.default_rng(1)
    scene = compose(rng, (draw_figure(rng, "cat"),), place="snow")
    straight = load_photo(save_photo(scene, tmp_path / "1.jpg", width=600).path)
    turned = load_photo(save_photo(scene, tmp_path / "n.jpg", orientation=orientation, width=600).path)
    assert turned.image.size == (600, 512)
    assert turned.facts.orientation == orientation
    difference = np.abs(np.asarray(straight.image, float) - np.asarray(turned.image, float))
    assert difference.mean() < 2.0


def make_bad_files(folder):
    good = Image.new("RGB", (64, 48), "red")
    good.save(folder / "good.jpg")
    data = (folder / "good.jpg").read_bytes()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "truncated.jpg").write_bytes(data[: len(data) // 2])
    (folder / "text.jpg").write_text("not a picture")
    (folder / "zeros.png").write_bytes(bytes(5000))
    (folder / "half.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    good.save(folder / "mislabelled.jpg", "PNG")
    good.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray((np.arange(64 * 48, dtype=np.uint16) * 20).reshape(48, 64)).save(folder / "16bit.png")
    good.convert("P").save(folder / "palette.png", transparency=0)


BAD = {"empty.jpg", "truncated.jpg", "text.jpg", "zeros.png", "half.png"}


def test_bad_files_say_what_is_wrong_and_good_oddities_decode(tmp_path):
    make_bad_files(tmp_path)
    failed = set()
    for path in iter_photos([tmp_path]):
        try:
            photo = load_photo(path)
            assert photo.image.mode == "RGB"
            assert photo.image.size == (64, 48)
        except PhotoError as err:
            assert str(path) in str(err)
            assert err.hint
            failed.add(path.name)
    assert failed == BAD


def test_pixel_cap(tmp_path):
    Image.new("RGB", (400, 300)).save(tmp_path / "big.png")
    with pytest.raises(PhotoError, match="megapixels"):
        decode_photo(read_photo(tmp_path / "big.png"), most_pixels=100_000)


def test_transparent_pixels_become_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "t.png")
    assert load_photo(tmp_path / "t.png").image.getpixel((0, 0)) == (255, 255, 255)


def test_16_bit_grey_keeps_its_range(tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (8, 1))
    Image.fromarray(ramp).save(tmp_path / "r.png")
    row = np.asarray(load_photo(tmp_path / "r.png").image)[0, :, 0].astype(int)
    assert abs(row - np.arange(256)).max() <= 1


def test_discovery_sorts_skips_and_survives_loops(tmp_path):
    for name in ("b.JPG", "a.jpeg", "c.heic", "notes.txt", ".hidden.jpg", "x.jpg_original", "video.mp4"):
        (tmp_path / name).write_bytes(b"x" + name.encode())
    for folder in ("@eaDir", ".git", "sub", "Lib.photoslibrary"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "z.png").write_bytes(folder.encode())
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "again.jpg").symlink_to(tmp_path / "b.JPG")
    found = [p.relative_to(tmp_path).as_posix() for p in iter_photos([tmp_path, tmp_path / "sub"])]
    assert found == ["a.jpeg", "again.jpg", "c.heic", "sub/z.png"]


def test_missing_files_are_passed_on_to_fail_by_themselves(tmp_path):
    assert list(iter_photos([tmp_path / "no.jpg"])) == [tmp_path / "no.jpg"]
    with pytest.raises(PhotoError, match="No such file"):
        read_photo(tmp_path / "no.jpg")


def test_lists_take_any_bytes(tmp_path):
    file = tmp_path / "list"
    file.write_bytes(b"a b.jpg\0caf\xe9.jpg\0new\nline.jpg\0")
    assert [os.fsencode(p) for p in read_list(file, null=True)] == [b"a b.jpg", b"caf\xe9.jpg", b"new\nline.jpg"]
    file.write_bytes(b"a.jpg\r\n\nb.jpg")
    assert [p.name for p in read_list(file, null=False)] == ["a.jpg", "b.jpg"]


def test_a_link_to_itself_fails_by_itself(tmp_path):
    (tmp_path / "itself.jpg").symlink_to(tmp_path / "itself.jpg")
    (path,) = iter_photos([tmp_path])
    with pytest.raises(PhotoError, match="symbolic links"):
        read_photo(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_half_synced_heic_is_refused(shared, tmp_path, share):
    whole = next(p for p in sorted(shared.rglob("*.heic")) if len(p.read_bytes()) > 10_000).read_bytes()
    (tmp_path / "whole.heic").write_bytes(whole)
    load_photo(tmp_path / "whole.heic")
    (tmp_path / "cut.heic").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(PhotoError, match="truncated"):
        load_photo(tmp_path / "cut.heic")


def test_paths_with_nul_are_an_error_of_that_path():
    path = next(iter_photos(read_list_of(b"a.jpg\0b.jpg\n")))
    with pytest.raises(PhotoError, match="no path"):
        read_photo(path)


def read_list_of(data):
    from pathlib import Path

    return [Path(os.fsdecode(line)) for line in data.split(b"\n") if line]


@pytest.mark.parametrize(("kind", "size"), [("JPEG", (400, 200)), ("PNG", (267, 134)), ("WEBP", (267, 134))])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_photo_is_decoded_as_small_as_is_enough(tmp_path, kind, size, orientation):
    upright = Image.linear_gradient("L").resize((800, 400)).convert("RGB")
    stored = upright.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else upright
    exif = Image.Exif()
    exif[274] = orientation
    stored.save(tmp_path / "photo", kind, quality=95, exif=exif)
    exact = load_photo(tmp_path / "photo")
    reduced = decode_photo(read_photo(tmp_path / "photo"), edge=260)
    assert exact.full is None and exact.image.size == (800, 400)
    assert reduced.image.size == size
    assert reduced.facts == exact.facts
    assert reduced.at_full_size() == exact.image
    smaller = np.asarray(exact.image.resize(size, Image.Resampling.BOX), float)
    assert np.abs(np.asarray(reduced.image, float) - smaller).mean() < 2.0


def test_a_photo_that_is_hardly_larger_than_enough_is_decoded_exactly(tmp_path):
    Image.linear_gradient("L").resize((511, 300)).save(tmp_path / "a.jpg")
    photo = decode_photo(read_photo(tmp_path / "a.jpg"), edge=256)
    assert photo.full is None and photo.image == load_photo(tmp_path / "a.jpg").image


def test_a_photo_that_cannot_be_decoded_again_stays_reduced(tmp_path, monkeypatch):
    from engine.photos import decode

    Image.linear_gradient("L").resize((800, 400)).save(tmp_path / "a.jpg")
    photo = decode_photo(read_photo(tmp_path / "a.jpg"), edge=256)

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(decode, "load_pixels", fail)
    assert photo.at_full_size() is photo.image


@pytest.mark.parametrize(
    ("name", "size", "reduced"),
    [
        ("a.png", (1200, 900), (300, 225)),
        ("a.png", (1200, 300), (600, 150)),
        ("a.jpg", (1200, 900), (300, 225)),
        ("a.jpg", (1200, 300), (600, 150)),
        ("a.jpg", (1200, 150), (1200, 150)),
    ],
)
def test_the_shorter_side_of_a_wide_photo_keeps_half_as_many_pixels(tmp_path, name, size, reduced):
    Image.new("RGB", size, "red").save(tmp_path / name)
    assert decode_photo(read_photo(tmp_path / name), edge=300).image.size == reduced
