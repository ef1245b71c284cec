"""Every kind of picture file, compared by its pixels."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from engine.core.boxes import Box
from engine.core.errors import PhotoError
from engine.photos import decode, open_picture
from engine.photos.decode import DATA_BEHIND, NO_END, load_photo
from engine.photos.metadata.jpeg import iter_coded
from engine.photos.pixels import _transform
from tests.photo_files import (
    as_stored,
    corners,
    difference,
    encoded,
    exif_bytes,
    jpeg_with,
    make_dng,
    png_chunk,
    png_with,
)


def decoded(folder, data, name="x.bin"):
    path = folder / name
    path.write_bytes(data)
    return load_photo(path)


def jpeg(stored, exif):
    return encoded(stored, "JPEG", quality=95, subsampling=0, exif=exif)


def heif(stored, exif):
    import pillow_heif

    pillow_heif.register_heif_opener()
    return encoded(stored, "HEIF", quality=95, chroma=444, exif=exif or None)


WRITERS = {
    "jpeg": jpeg,
    "progressive": lambda s, e: encoded(s, "JPEG", quality=95, subsampling=0, progressive=True, exif=e),
    "mpo": lambda s, e: encoded(s, "MPO", quality=95, subsampling=0, save_all=True, append_images=[s], exif=e),
    "png": lambda s, e: encoded(s, "PNG", exif=e),
    "apng": lambda s, e: encoded(s, "PNG", save_all=True, append_images=[s.rotate(180)], exif=e),
    "webp": lambda s, e: encoded(s, "WEBP", lossless=True, exif=e),
    "tiff": lambda s, e: encoded(s, "TIFF", exif=e),
    "tiff-lzw": lambda s, e: encoded(s, "TIFF", compression="tiff_lzw", exif=e),
    "tiff-jpeg": lambda s, e: encoded(s, "TIFF", compression="jpeg", quality=95, exif=e),
    "avif": lambda s, e: encoded(s, "AVIF", quality=95, subsampling="4:4:4", exif=e),
    "heic": heif,
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", WRITERS)
def test_all_orientations_are_turned_upright(tmp_path, kind, orientation):
    upright = corners()
    data = WRITERS[kind](as_stored(upright, orientation), exif_bytes(orientation))
    photo = decoded(tmp_path, data)
    assert photo.facts.orientation == orientation
    assert photo.image.size == (photo.facts.width, photo.facts.height) == upright.size
    assert difference(photo.image, upright) < 4
    assert photo.in_photo(Box(1, 2, 3, 4)) == Box(1, 2, 3, 4)


@pytest.mark.parametrize("kind", ["avif", "heic"])
def test_exif_alone_turns_no_heic_or_avif(tmp_path, kind):
    """Their own boxes turn them (ISO/IEC 23008-12, A.2.1); EXIF that says otherwise is out of date."""
    upright = corners()
    exif = exif_bytes(ifd0=[(0x010D, "a"), (0x0132, "2020:01:02 03:04:05")])
    before, after = struct.pack(">HHI", 0x010D, 2, 2) + b"a\0\0\0", struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    data = WRITERS[kind](upright, exif)
    assert data.count(before) == 1
    photo = decoded(tmp_path, data.replace(before, after))
    assert (photo.facts.orientation, photo.facts.taken) == (1, "2020-01-02T03:04:05")
    assert difference(photo.image, upright) < 4


def test_xmp_alone_turns_nothing(tmp_path):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'
    upright = corners()
    for data in (encoded(upright, "JPEG", xmp=xmp, quality=95), encoded(upright, "TIFF", tiffinfo={0x02BC: xmp})):
        photo = decoded(tmp_path, data)
        assert (photo.facts.orientation, photo.image.size) == (1, upright.size)
        assert photo.embedded.xmp == xmp


def test_the_orientation_of_old_pngs(tmp_path):
    """ImageMagick put EXIF into a text before there was a chunk for it."""
    exif = b"Exif\0\0" + exif_bytes(6)[6:]
    text = b"\nexif\n%8d\n" % len(exif) + exif.hex().encode()
    data = png_with(encoded(as_stored(corners(), 6), "PNG"), (b"tEXt", b"Raw profile type exif\0" + text))
    photo = decoded(tmp_path, data)
    assert photo.facts.orientation == 6
    assert difference(photo.image, corners()) == 0


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_raw_previews_are_turned_once(tmp_path, orientation, turned):
    """As the raw file says, whatever the preview's own EXIF says, unless it lies upright already."""
    upright = corners(192, 128) if orientation in (None, 1, 2, 3, 4) else corners(128, 192)
    turned = turned and orientation in (5, 6, 7, 8)
    for own in (None, 1, orientation):
        exif = exif_bytes(own) if own else b""
        preview = jpeg(upright if turned else as_stored(upright, orientation), exif)
        photo = decoded(tmp_path, make_dng(preview, orientation, size=(576, 384)), "x.DNG")
        assert difference(photo.image, upright) < 4
        assert photo.facts.orientation == (orientation or 1)
        assert (photo.facts.width, photo.facts.height) == (upright.width * 3, upright.height * 3)
        assert photo.facts.format == "DNG"
        assert photo.in_photo(Box(1, 2, 3, 4)) == Box(3, 6, 9, 12)


def test_raw_files_under_other_names_and_others_under_raw_names(tmp_path):
    upright = corners()
    preview = jpeg(upright, b"")
    assert decoded(tmp_path, make_dng(preview), "x.tif").facts.format == "RAW"
    assert decoded(tmp_path, preview, "x.nef").facts.format == "JPEG"
    assert decoded(tmp_path, encoded(upright, "TIFF"), "x.nef").facts.format == "TIFF"
    assert difference(decoded(tmp_path, encoded(upright, "TIFF"), "x.nef").image, upright) == 0


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (make_dng(None), "no preview"),
        (make_dng(encoded(corners(), "JPEG"))[:300], "no preview|not a picture"),
        (b"FUJIFILMCCD-RAW " + bytes(500), "not a picture|no preview"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(500), "not a picture|no preview"),
        (b"nothing at all", "not a picture"),
        (b"II*\0\x08\0\0\0" + bytes(500), "not a picture"),
    ],
)
def test_raw_files_without_a_preview_say_so(tmp_path, data, said):
    with pytest.raises(PhotoError, match=said) as caught:
        decoded(tmp_path, data, "x.dng")
    assert caught.value.hint


MODES = {
    "1": ("PNG", "TIFF", "BMP"),
    "L": ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "AVIF", "JPEG2000"),
    "LA": ("PNG", "WEBP", "TIFF"),
    "P": ("PNG", "TIFF", "GIF", "BMP"),
    "RGB": ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "AVIF", "HEIF", "BMP", "PPM", "JPEG2000"),
    "RGBA": ("PNG", "WEBP", "TIFF", "GIF", "AVIF", "HEIF"),
    "CMYK": ("JPEG", "TIFF"),
    "YCbCr": ("JPEG", "TIFF"),
    "LAB": ("TIFF",),
    "I": ("TIFF",),
    "F": ("TIFF",),
    "I;16": ("PNG", "TIFF"),
}


def in_mode(image, mode):
    if mode == "LAB":
        steps = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(image, *steps, outputMode="LAB")
    if mode in ("I", "F", "I;16"):
        grey = np.asarray(image.convert("L"), float)
        factors = {"I": (257, np.int32), "F": (1 / 255, np.float32), "I;16": (257, np.uint16)}
        factor, kind = factors[mode]
        return Image.fromarray((grey * factor).astype(kind))
    return image.convert(mode)


@pytest.mark.parametrize(("mode", "kind"), [(m, k) for m, kinds in MODES.items() for k in kinds])
def test_every_mode_of_every_format(tmp_path, mode, kind):
    stored = in_mode(corners(), mode)
    options = {"quality": 95} if kind in ("JPEG", "WEBP", "AVIF", "HEIF") else {}
    photo = decoded(tmp_path, encoded(stored, kind, **options))
    grey = mode in ("1", "L", "LA", "I", "F", "I;16")
    expected = stored.convert("L") if mode == "1" else corners().convert("L") if grey else corners()
    assert photo.image.mode == "RGB"
    assert photo.facts.format == kind
    lossy = kind in ("JPEG", "WEBP", "AVIF", "HEIF", "GIF") or mode == "LAB"
    assert difference(photo.image, expected) < (9 if lossy else 2)


def deep(samples, kind, planes):
    """A PNG or TIFF of 16 bits a channel, which Pillow does not write."""
    height, width = samples.shape[:2]
    if kind == "PNG":
        color = {1: 0, 2: 4, 3: 2, 4: 6}[planes]
        head = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
        chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(k, c) for k, c in chunks)
    pixels = samples.astype("<u2").tobytes()
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, planes, 200), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 1, 208), (277, 3, 1, planes), (278, 3, 1, height), (279, 4, 1, len(pixels))]
    tags += [(338, 3, 1, 2)] if planes == 4 else []
    table = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *t) for t in tags) + bytes(4)
    return (b"II*\0\x08\0\0\0" + table).ljust(200, b"\0") + struct.pack("<4H", 16, 16, 16, 16) + pixels


@pytest.mark.parametrize(("kind", "planes"), [("PNG", 1), ("PNG", 2), ("PNG", 3), ("PNG", 4), ("TIFF", 3), ("TIFF", 4)])
def test_16_bits_a_channel(tmp_path, kind, planes):
    rgb = np.asarray(corners()).astype(np.uint16) * 257
    samples = rgb if planes > 2 else rgb[..., :1]
    if planes in (2, 4):
        samples = np.concatenate([samples, np.full_like(samples[..., :1], 65535)], axis=-1)
    photo = decoded(tmp_path, deep(samples, kind, planes))
    expected = corners() if planes > 2 else corners().getchannel("R")
    assert difference(photo.image, expected) < 1


@pytest.mark.parametrize("top", [1.0, 255.0, 4000.0, 65535.0, 1e6])
def test_floating_point_keeps_its_range(tmp_path, top):
    ramp = np.tile(np.linspace(0, top, 256, dtype=np.float32), (4, 1))
    ramp[0, 0], ramp[1, 0] = np.nan, np.inf
    row = np.asarray(decoded(tmp_path, encoded(Image.fromarray(ramp), "TIFF")).image)[2, :, 0].astype(int)
    white = 65535.0 if top == 4000.0 else top
    assert abs(row - np.linspace(0, 255 * top / white, 256)).max() <= 1.01


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_of_several_pictures_the_first(tmp_path, kind):
    frames = [corners().rotate(180), Image.new("RGB", (96, 64), "black")]
    data = encoded(corners(), kind, save_all=True, append_images=frames)
    assert difference(decoded(tmp_path, data).image, corners()) < 8


KINDS = {"RGBA": ("PNG", "WEBP", "TIFF", "GIF", "AVIF"), "LA": ("PNG", "WEBP", "TIFF"), "P": ("PNG", "GIF")}


@pytest.mark.parametrize(("mode", "kind"), [(m, k) for m, kinds in KINDS.items() for k in kinds])
def test_transparent_pixels_become_white(tmp_path, kind, mode):
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 16, 32))
    stored = image.convert(mode) if mode != "P" else image.getchannel("A").point(lambda v: v // 255).convert("P")
    options = {"lossless": True} if kind == "WEBP" else {}
    if mode == "P":
        stored.putpalette([9, 9, 9, 0, 0, 0])
        options["transparency"] = 0
    row = np.asarray(decoded(tmp_path, encoded(stored, kind, **options)).image)[8, :, 0]
    assert (row[:14] > 250).all()
    assert (row[18:] < 5).all()


def test_transparent_colours_of_plain_pictures(tmp_path):
    image = Image.new("RGB", (4, 4), (10, 20, 30))
    data = encoded(image, "PNG", transparency=(10, 20, 30))
    assert decoded(tmp_path, data).image.getpixel((0, 0)) == (255, 255, 255)
    grey = deep(np.full((4, 4, 1), 4660, np.uint16), "PNG", 1)
    photo = decoded(tmp_path, png_with(grey, (b"tRNS", struct.pack(">H", 4660))))
    assert photo.image.mode == "RGB"


def test_cmyk_as_adobe_writes_it_and_as_others_do(tmp_path):
    """Adobe stores CMYK JPEGs inverted and says so in APP14; those without it are taken for inverted all the same."""
    data = encoded(corners().convert("CMYK"), "JPEG", quality=95, subsampling=0)
    assert b"Adobe" in data[:100]
    assert difference(decoded(tmp_path, data).image, corners()) < 8


def profile_with(primaries, description):
    """An ICC v2 matrix profile with gamma 2.2 and a description (ICC.1:2001-04)."""

    def xyz(values):
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    text = description.encode() + b"\0"
    desc = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    tags = {b"desc": desc, b"wtpt": xyz((0.9642, 1.0, 0.8249)), b"cprt": b"text\0\0\0\0CC0\0"}
    tags |= dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(xyz, primaries), strict=True))
    tags |= {
        name: b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
        for name in (b"rTRC", b"gTRC", b"bTRC")
    }
    return packed_profile(tags, b"mntr", b"RGB ", b"XYZ ")


def packed_profile(tags, kind, space, connection):
    """An ICC v2 profile of its tags (ICC.1:2001-04, 6)."""
    at, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02100000, kind, space, connection) + bytes(12) + b"acsp"
    head = head.ljust(68, b"\0") + struct.pack(">iii", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""Primaries of Adobe RGB (1998), adapted to D50 (its annex B)."""


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_colour_profiles_are_followed(tmp_path, kind):
    import pillow_heif

    pillow_heif.register_heif_opener()
    image = Image.new("RGB", (32, 32), (180, 100, 100))
    profile = profile_with(ADOBE, "wide")
    expected = ImageCms.profileToProfile(
        image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert difference(expected, image) > 5
    photo = decoded(tmp_path, encoded(image, kind, quality=98, icc_profile=profile))
    assert difference(photo.image, expected) < 3
    plain = decoded(tmp_path, encoded(image, kind, quality=98, icc_profile=profile_with(ADOBE, "sRGB built-in")))
    assert difference(plain.image, image) < 3


def ink_profile():
    """An ICC v2 profile of inks that mix as in Pillow's plain formula: a table of their 16 corners (lut8Type)."""
    lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    corner = Image.new("RGB", (16, 1))
    for n in range(16):
        inks = [255 * (n >> k & 1) for k in (3, 2, 1, 0)]
        corner.putpixel((n, 0), tuple((255 - ink) * (255 - inks[3]) // 255 for ink in inks[:3]))
    found = ImageCms.applyTransform(corner, lab)
    table = bytes(v for n in range(16) for v in found.getpixel((n, 0)))
    matrix = struct.pack(">9i", *(65536 if k % 4 == 0 else 0 for k in range(9)))
    lut = b"mft1\0\0\0\0\4\3\2\0" + matrix + bytes(range(256)) * 4 + table + bytes(range(256)) * 3
    text = b"ink\0"
    desc = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    white = b"XYZ \0\0\0\0" + struct.pack(">iii", 63190, 65536, 54061)
    tags = {b"desc": desc, b"cprt": b"text\0\0\0\0CC0\0", b"wtpt": white, b"A2B0": lut}
    return packed_profile(tags, b"prtr", b"CMYK", b"Lab ")


def test_profiles_of_inks_are_followed(tmp_path):
    profile = ink_profile()
    for kind, options in (("JPEG", {"quality": 95, "subsampling": 0}), ("TIFF", {})):
        data = encoded(corners().convert("CMYK"), kind, icc_profile=profile, **options)
        assert b"mft1" in data
        assert _transform(profile, "CMYK") is not None
        assert difference(decoded(tmp_path, data).image, corners()) < 12


def test_profiles_that_do_not_fit_are_passed_over(tmp_path):
    profile = profile_with(ADOBE, "wide")
    for data in (
        encoded(corners(), "JPEG", quality=95, icc_profile=b"no profile"),
        encoded(corners(), "JPEG", quality=95, icc_profile=profile[:200]),
        encoded(corners().convert("CMYK"), "JPEG", quality=95, icc_profile=profile),
        encoded(corners().convert("L"), "PNG", icc_profile=profile),
    ):
        assert decoded(tmp_path, data).image.mode == "RGB"


@pytest.mark.parametrize("packed", [zlib.compress(bytes(30 * 2**20), 9), b"nothing packed"])
def test_profiles_that_cannot_be_unpacked_are_passed_over(tmp_path, packed):
    data = png_with(encoded(corners(), "PNG"), (b"iCCP", b"name\0\0" + packed))
    assert difference(decoded(tmp_path, data).image, corners()) == 0


def test_motion_photos_are_whole(tmp_path):
    video = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(5000)
    for data in (jpeg(corners(), b"") + video, jpeg(corners(), b"") + bytes(3000)):
        assert difference(decoded(tmp_path, data).image, corners()) < 4


def test_a_heic_with_a_video_behind_it_is_whole(tmp_path):
    data = heif(corners(), b"")
    assert difference(decoded(tmp_path, data + struct.pack(">I4s", 5008, b"mpvd") + bytes(5000)).image, corners()) < 4


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_truncated_files_are_refused(tmp_path, kind, share):
    rng = np.random.default_rng(5)
    noise = Image.fromarray(rng.integers(0, 255, (96, 96, 3), dtype=np.uint8))
    whole = WRITERS[kind](noise, b"")
    whole = whole if kind not in ("mpo", "apng") or share < 0.4 else whole[: len(whole) // 2]  # the first picture
    with pytest.raises(PhotoError, match=r"damaged|not a picture") as caught:
        decoded(tmp_path, whole[: int(share * len(whole))])
    assert caught.value.hint


def claiming(kind, side):
    """A tiny file that says it has side × side pixels."""
    small = encoded(corners(), kind, **({"progressive": True} if kind == "JPEG" else {}))
    if kind == "PNG":
        return small[:8] + png_chunk(b"IHDR", struct.pack(">II", side, side) + small[24:29]) + small[33:]
    if kind == "GIF":
        return small[:6] + struct.pack("<HH", side, side) + small[10:]
    at = small.index(b"\xff\xc2") + 5
    return small[:at] + struct.pack(">HH", side, side) + small[at + 4 :]


@pytest.mark.parametrize("kind", ["PNG", "GIF", "JPEG"])
def test_files_that_claim_to_be_huge_are_refused_unseen(tmp_path, kind):
    with pytest.raises(PhotoError, match="3600 megapixels"):
        decoded(tmp_path, claiming(kind, 60_000))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "HEIF"])
def test_other_very_large_pictures_are_given_smaller(tmp_path, monkeypatch, kind):
    upright = corners(400, 200)
    data = WRITERS[{"HEIF": "heic"}.get(kind, kind.lower())](as_stored(upright, 6), exif_bytes(6))
    monkeypatch.setattr(open_picture, "MOST_AT_FULL_SIZE", 9_000)
    photo = decoded(tmp_path, data)
    assert (photo.facts.width, photo.facts.height, photo.image.size) == (400, 200, (134, 67))
    assert difference(photo.image, upright.resize((134, 67), Image.Resampling.BOX)) < 6


@pytest.mark.parametrize("orientation", [1, 6])
def test_very_large_jpegs_are_decoded_smaller(tmp_path, monkeypatch, orientation):
    upright = corners(800, 400)
    data = encoded(as_stored(upright, orientation), "JPEG", quality=95, exif=exif_bytes(orientation))
    for most, factor in ((400_000, 1), (100_000, 2), (20_000, 4), (6_000, 8)):
        monkeypatch.setattr(open_picture, "MOST_AT_FULL_SIZE", most)
        photo = decoded(tmp_path, data)
        assert (photo.facts.width, photo.facts.height) == (800, 400)
        assert photo.image.size == (800 // factor, 400 // factor)
        assert difference(photo.image, upright.resize(photo.image.size, Image.Resampling.BOX)) < 4
        assert photo.in_photo(Box(0, 0, *photo.image.size)) == Box(0, 0, 800, 400)


def test_a_120_megapixel_panorama(tmp_path):
    data = encoded(Image.new("L", (20_000, 6_000), 77), "JPEG")
    photo = decoded(tmp_path, data)
    assert (photo.facts.width, photo.facts.height, photo.image.size) == (20_000, 6_000, (10_000, 3_000))


def test_progressive_files_with_endless_scans_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(open_picture, "_MOST_SCANNED", 96 * 64 * 100)
    data = encoded(corners(), "JPEG", progressive=True)
    assert decoded(tmp_path, data + b"\xff\xda" * 200).image.size == (96, 64)  # a video may be behind it
    at = data.rindex(b"\xff\xda")
    with pytest.raises(PhotoError, match="scans"):
        decoded(tmp_path, data[:at] + data[at:-2] * 100 + data[-2:])


def interleaved(data):
    """A baseline JPEG in which the first scan says that it has one of three components."""
    at = data.index(b"\xff\xda")
    return data[:at] + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + data[at + 14 :]


@pytest.mark.parametrize(
    "broken", [encoded(corners(), "JPEG", progressive=True), interleaved(encoded(corners(), "JPEG"))]
)
def test_large_jpegs_that_have_to_be_held_are_refused(tmp_path, broken):
    (tmp_path / "x.jpg").write_bytes(broken)
    with pytest.raises(PhotoError, match="megapixels"):
        decode.decode_photo(decode.read_photo(tmp_path / "x.jpg"), most_pixels=1000)
    (tmp_path / "x.jpg").write_bytes(encoded(corners(), "JPEG"))
    decode.decode_photo(decode.read_photo(tmp_path / "x.jpg"), most_pixels=1000)


def test_programs_are_never_run(tmp_path):
    """EPS is a program that Pillow would hand to Ghostscript."""
    with pytest.raises(PhotoError, match="not a picture"):
        decoded(tmp_path, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n", "x.jpg")


def test_a_malformed_mpo_is_read_as_a_jpeg(tmp_path):
    """Pillow warns of it; whoever turns warnings into errors gets the photo all the same."""
    broken = jpeg_with(jpeg(corners(), b""), (0xE2, b"MPF\0" + b"II*\0\x08\0\0\0" + bytes(40)))
    assert difference(decoded(tmp_path, broken).image, corners()) < 4


def test_threads_decode_side_by_side(tmp_path):
    """As `read_ahead` does; warnings of one thread's decoder are no errors in another."""
    from concurrent.futures import ThreadPoolExecutor

    paths = []
    for n, (kind, write) in enumerate(sorted(WRITERS.items())):
        for orientation in range(1, 9):
            data = write(as_stored(corners(), orientation), exif_bytes(orientation))
            paths.append(tmp_path / f"{n}-{orientation}.{kind}")
            paths[-1].write_bytes(data)
    with ThreadPoolExecutor(4) as pool:
        assert all(difference(photo.image, corners()) < 4 for photo in pool.map(load_photo, paths * 3))


def scene(size=(96, 64)):
    """A picture with detail in every corner, so that the last bytes of a file matter."""
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 60, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(np.asarray(corners(*size), np.uint8) // 2 + noise)


CODINGS = {
    "baseline": {},
    "fine": {"quality": 95, "subsampling": 0},
    "optimised": {"optimize": True},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 2},
    "restart rows": {"restart_marker_rows": 1},
    "progressive restarts": {"progressive": True, "restart_marker_rows": 1},
}
PICTURES = {"scene": scene, "odd size": lambda: scene((93, 61)), "flat": corners, "grey": lambda: scene().convert("L")}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("name", PICTURES)
def test_a_jpeg_is_whole_without_its_end_marker(tmp_path, name, coding):
    whole = encoded(PICTURES[name](), "JPEG", **CODINGS[coding])
    expected = decoded(tmp_path, whole)
    assert expected.notes == ()
    for cut in (1, 2):
        found = decoded(tmp_path, whole[:-cut])
        assert found.notes == (NO_END,)
        assert found.image.tobytes() == expected.image.tobytes()
    if whole[-3]:  # else nobody can tell the picture's last zeros from those that follow
        assert decoded(tmp_path, whole[:-2] + bytes(4096)).notes == (NO_END,)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("name", PICTURES)
def test_a_jpeg_that_lacks_pixels_is_refused_at_any_depth(tmp_path, name, coding):
    whole = encoded(PICTURES[name](), "JPEG", **CODINGS[coding])
    pixels = decoded(tmp_path, whole).image.tobytes()
    end = len(whole) - 2
    accepted = 0
    for cut in (*range(1, 40), *range(40, end - 700, 97)):
        for padding in (b"", bytes(3000), b"\xff" * 3000) if cut in (5, 20, 234) else (b"",):
            try:
                found = decoded(tmp_path, whole[: end - cut] + padding)
            except PhotoError as err:
                assert "truncated" in str(err)
                continue
            accepted += 1
            assert found.image.tobytes() == pixels, (cut, len(padding))
    assert accepted <= 4 or name == "flat", "the last bytes of nearly every file matter"


def coded_scans(whole):
    """Where the scans of a JPEG begin."""
    return [s.start - 4 for s in iter_coded(whole) if s.marker == 0xDA]


def test_the_missing_scans_of_a_progressive_jpeg_are_missed(tmp_path):
    whole = encoded(scene(), "JPEG", progressive=True)
    for start in coded_scans(whole)[1:]:
        with pytest.raises(PhotoError, match="truncated"):
            decoded(tmp_path, whole[:start])


def test_the_missing_intervals_of_a_jpeg_with_restarts_are_missed(tmp_path):
    whole = encoded(scene(), "JPEG", restart_marker_blocks=2)
    places = [m.start() for m in re.finditer(rb"\xff[\xd0-\xd7]", whole)]
    assert len(places) > 8
    for place in places[-9:]:
        for end in (place, place + 1, place + 2):
            with pytest.raises(PhotoError, match="truncated"):
                decoded(tmp_path, whole[:end])


def samsung_trailer(offset=35):
    """A trailer with one block, which begins 35 bytes before its directory."""
    block = b"\0\0\1\x0a" + struct.pack("<I", 14) + b"Image_UTC_Data1500000000000"
    entries = b"\0\0\1\x0a" + struct.pack("<II", offset, len(block))
    directory = b"SEFH" + struct.pack("<II", 107, 1) + entries
    return block + directory + struct.pack("<I", len(directory)) + b"SEFT"


CONTENT = bytes(range(200)) * 20
VIDEO = struct.pack(">I", 24) + b"ftypmp42" + bytes(12) + struct.pack(">I", 8 + len(CONTENT)) + b"mdat" + CONTENT
TRAILERS = [
    (samsung_trailer(), 0, NO_END),
    (samsung_trailer(), 5, None),
    (samsung_trailer() + bytes(64), 300, None),
    (samsung_trailer(42), 0, DATA_BEHIND),
    (samsung_trailer(2**31), 0, DATA_BEHIND),
    (b"SEFT", 5, None),
    (VIDEO, 0, NO_END),
    (VIDEO, 5, None),
    (VIDEO, 300, None),
    (VIDEO.replace(b"\xc0", b"\xff") + samsung_trailer(), 5, None),
    (b"PK\3\4" + CONTENT, 0, DATA_BEHIND),
]


@pytest.mark.parametrize(("trailer", "cut", "note"), TRAILERS)
def test_data_behind_a_jpeg_without_end_marker_are_not_its_pixels(tmp_path, trailer, cut, note):
    whole = encoded(scene(), "JPEG")
    data = whole[: -2 - cut] + trailer
    if note is None:
        with pytest.raises(PhotoError, match="truncated"):
            decoded(tmp_path, data)
        return
    found = decoded(tmp_path, data)
    assert found.notes == (note,)
    assert found.image.tobytes() == decoded(tmp_path, whole).image.tobytes()
    assert decoded(tmp_path, whole + trailer).notes == ()


def test_bitmaps_without_their_file_header_are_read(tmp_path):
    for data in (encoded(corners(), "DIB"), encoded(corners(), "BMP")):
        (tmp_path / "a.dib").write_bytes(data)
        assert load_photo(tmp_path / "a.dib").image.tobytes() == corners().convert("RGB").tobytes()
