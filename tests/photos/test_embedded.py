"""What photos say of themselves, in every container."""

import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from engine.photos.metadata.embedded import Embedded, read_embedded
from engine.photos.metadata.exif import read_exif
from engine.photos.photo_file import PhotoFile, read_photo
from engine.sidecars.merge.new_sidecar import start_packet
from tests.photo_files import corners, encoded, exif_bytes, iim, jpeg_with, make_dng, photoshop, png_with

XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="r"/>é</x:xmpmeta>'.encode()
UTF8 = (1, 90, b"\x1b%G")
LATIN_1 = (1, 90, b"\x1b.A")


def read(data):
    return read_embedded(PhotoFile(Path("x"), data, "0"))


def heif(**options):
    import pillow_heif

    pillow_heif.register_heif_opener()
    return encoded(corners(), "HEIF", **options)


def packed_png():
    import zlib

    return png_with(encoded(corners(), "PNG"), (b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0x\0" + zlib.compress(XMP)))


PACKETS = {
    "jpeg": lambda: encoded(corners(), "JPEG", xmp=XMP),
    "png": lambda: png_with(encoded(corners(), "PNG"), (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
    "png, packed": packed_png,
    "webp": lambda: encoded(corners(), "WEBP", xmp=XMP),
    "tiff": lambda: encoded(corners(), "TIFF", tiffinfo={0x02BC: XMP}),
    "avif": lambda: encoded(corners(), "AVIF", xmp=XMP),
    "heic": lambda: heif(xmp=XMP),
    "dng": lambda: make_dng(encoded(corners(), "JPEG"), more=[(0x02BC, 1, XMP)]),
    "cr3": lambda: box(b"ftyp", b"crx \0\0\0\1") + box(b"uuid", XMP_BOX + XMP) + box(b"mdat", bytes(9)),
    "raf": lambda: raf(encoded(corners(), "JPEG", xmp=XMP)),
    "gif": lambda: gif_with(XMP),
}
XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")


def box(kind, content):
    return struct.pack(">I4s", len(content) + 8, kind) + content


def raf(jpeg):
    return b"FUJIFILMCCD-RAW ".ljust(84, b"\0") + struct.pack(">II", 120, len(jpeg)) + bytes(28) + jpeg + bytes(50)


def gif_with(xmp):
    data = encoded(corners(), "GIF")
    packet = b"<?xpacket begin=''?>" + xmp + b'<?xpacket end="w"?>'
    return data[:-1] + b"\x21\xff\x0bXMP DataXMP" + packet + b"\1" + bytes(range(255, -1, -1)) + b"\0\0;"


@pytest.mark.parametrize("kind", PACKETS)
def test_packets_are_found_in_every_container(kind):
    assert XMP in (read(PACKETS[kind]()).xmp or b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_exif_is_found_in_every_container(kind):
    exif = exif_bytes(ifd0=[(0x010E, "a dog"), (0x013B, "Anna; Bob"), (0x8298, "(c) Anna"), (0x4746, 4)])
    data = heif(exif=exif) if kind == "HEIF" else encoded(corners(), kind, exif=exif)
    found = read(data)
    assert (found.exif_description, found.creator, found.copyright) == ("a dog", ("Anna", "Bob"), "(c) Anna")
    assert found.rating == 4


def test_canons_directories():
    image, exif = exif_bytes(6, ifd0=[(0x010E, "a dog")])[6:], exif_bytes(ifd0=[(0x010E, "a cat")])[6:]
    canon = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    moov = box(b"moov", box(b"uuid", canon + box(b"CNCV", b"x") + box(b"CMT1", image) + box(b"CMT2", exif)))
    found = read(box(b"ftyp", b"crx \0\0\0\1") + moov)
    assert found.exif_description == "a dog"


def test_extended_xmp_is_no_main_packet():
    extended = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40 + b"<more/>"
    data = jpeg_with(encoded(corners(), "JPEG", xmp=XMP), (0xE1, extended))
    assert read(data).xmp == XMP
    assert read(jpeg_with(encoded(corners(), "JPEG"), (0xE1, extended))).xmp is None


def test_comments_are_no_words_of_the_photo():
    exif = exif_bytes(ifd0=[(0x9C9C, "Öl".encode("utf-16-le"))], exif=[(0x9286, b"ASCII\0\0\0Screenshot")])
    assert read(encoded(corners(), "JPEG", exif=exif)) == Embedded()


def test_windows_tags():
    def wide(text):
        return (text + "\0").encode("utf-16-le")

    tags = [(0x9C9B, wide("Titel")), (0x9C9D, wide("Anna;Bob")), (0x9C9E, wide("a; b;;a"))]
    found = read(encoded(corners(), "JPEG", exif=exif_bytes(ifd0=tags)))
    assert (found.title, found.creator, found.keywords) == ("Titel", ("Anna", "Bob"), ("a", "b"))


@pytest.mark.parametrize(("stored", "expected"), [(0, 0), (5, 5), (65535, -1), (6, None), (99, None)])
def test_ratings(stored, expected):
    assert read(encoded(corners(), "JPEG", exif=exif_bytes(ifd0=[(0x4746, stored)]))).rating == expected


def test_copyright_of_photographer_and_editor():
    for stored, expected in ((b"Anna\0Bob\0", "Anna, Bob"), (b" \0Bob\0", "Bob"), (b"Anna\0", "Anna")):
        tiff = struct.pack("<2sHIHHHII", b"II", 42, 8, 1, 0x8298, 2, len(stored), 26) + bytes(4) + stored + bytes(8)
        assert read(jpeg_with(encoded(corners(), "JPEG"), (0xE1, b"Exif\0\0" + tiff))).copyright == expected


IPTC = [
    ((UTF8, (2, 120, "Öl".encode())), Embedded(iptc_caption="Öl")),
    (((2, 120, "Öl".encode()),), Embedded(iptc_caption="Öl")),
    (((2, 120, "Öl".encode("latin-1")),), Embedded(iptc_caption="Öl")),
    ((UTF8, (2, 120, b"\xd6l")), Embedded(iptc_caption="Öl")),
    ((UTF8, (2, 120, "Öl ".encode() + b"\xd6l")), Embedded(iptc_caption="Öl \ufffdl")),
    ((UTF8, (2, 5, "Ölä".encode()[:-1])), Embedded(title="Öl")),
    (((2, 5, "Ölä".encode()[:-1]),), Embedded(title="Öl")),
    (((2, 120, b"caf\xe9"),), Embedded(iptc_caption="café")),
    (((2, 120, "Prés “ici” €5".encode("cp1252")),), Embedded(iptc_caption="Prés “ici” €5")),
    ((LATIN_1, (2, 120, "Prés “ici” €5".encode("cp1252"))), Embedded(iptc_caption="Prés “ici” €5")),
    ((LATIN_1, (2, 120, "Ã©".encode("cp1252"))), Embedded(iptc_caption="Ã©")),
    ((UTF8, (2, 120, "“ici” €5".encode("cp1252"))), Embedded(iptc_caption="“ici” €5")),
    (((2, 120, b"a\x81b\x9d"),), Embedded(iptc_caption="a\ufffdb\ufffd")),
    (((1, 90, b"\x1b.B"), (2, 120, "Łódź".encode("iso8859-2"))), Embedded(iptc_caption="Łódź")),
    (((1, 90, b"\x1b-L"), (2, 25, "Москва".encode("iso8859-5"))), Embedded(keywords=("Москва",))),
    (((1, 90, b"\x1b%/G"), (2, 120, "Öl".encode())), Embedded(iptc_caption="Öl")),
    ((UTF8, (2, 120, "“ici” €5".encode("cp1252").decode("latin-1").encode())), Embedded(iptc_caption="“ici” €5")),
    (((2, 120, "é\x85".encode()),), Embedded(iptc_caption="é…")),
    (((1, 90, b"\x1b-L"), (2, 120, b"\x93" + "Москва".encode("iso8859-5"))), Embedded(iptc_caption="“Москва")),
    (((1, 90, b"nonsense"), (2, 120, "Öl".encode())), Embedded(iptc_caption="Öl")),
    (((2, 120, b"\xef\xbb\xbf" + "Öl".encode()),), Embedded(iptc_caption="Öl")),
    (((2, 25, b"a"), (2, 25, b"b"), (2, 25, b"a"), (2, 25, b"")), Embedded(keywords=("a", "b"))),
    (
        ((2, 5, b"t"), (2, 80, b"Anna"), (2, 80, b"Bob"), (2, 116, b"c")),
        Embedded(None, "", "", "t", (), None, ("Anna", "Bob"), "c"),
    ),
    (((2, 0, b"\0\2"), (7, 1, b"x"), (2, 120, b"d\0 ")), Embedded(iptc_caption="d")),
]


def test_exif_texts_are_utf8_or_windows_1252():
    for stored, expected in (
        (b"\x93ici\x94 \x805", "“ici” €5"),
        ("“ici” €5".encode(), "“ici” €5"),
        (b"caf\xe9", "café"),
    ):
        content = stored + b"\0"
        tiff = struct.pack("<2sHIHHHII", b"II", 42, 8, 1, 0x010E, 2, len(content), 26) + bytes(4) + content + bytes(8)
        assert read(jpeg_with(encoded(corners(), "JPEG"), (0xE1, b"Exif\0\0" + tiff))).exif_description == expected


@pytest.mark.parametrize(("datasets", "expected"), IPTC)
def test_iptc(datasets, expected):
    block = iim(*datasets)
    assert read(jpeg_with(encoded(corners(), "JPEG"), (0xED, photoshop(block)))) == expected
    assert read(encoded(corners(), "TIFF", tiffinfo={0x83BB: block})) == expected


def test_long_and_split_iptc():
    long = b"\x1c\x02\x78\x80\x04" + struct.pack(">I", 40_000) + b"x" * 40_000
    content = photoshop(long + iim((2, 5, b"after")))
    data = encoded(corners(), "JPEG")
    head = b"Photoshop 3.0\0"
    parts = ((0xED, content[:30_000]), (0xED, head + content[30_000:]))
    found = read(jpeg_with(data, *parts))
    assert (len(found.iptc_caption), found.title) == (40_000, "after")


@pytest.mark.parametrize("cut", range(0, 52, 7))
def test_damaged_iptc_keeps_what_is_before(cut):
    block = iim((2, 5, b"title"), (2, 120, b"a caption that is cut short somewhere"))
    found = read(jpeg_with(encoded(corners(), "JPEG"), (0xED, photoshop(block[: len(block) - cut]))))
    assert found.title == ("title" if cut <= 42 else "")
    assert found.iptc_caption in ("", "a caption that is cut short somewhere")


def test_nothing_in_plain_files():
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF"):
        assert read(encoded(corners(), kind)) == Embedded()
    assert read(b"") == read(b"text") == read(b"\xff\xd8\xff") == Embedded()


def test_packets_of_real_photos_are_those_of_pillow(shared):
    import pillow_heif

    pillow_heif.register_heif_opener()
    found = 0
    for path in sorted((shared / "photos" / "formats").iterdir()):
        with Image.open(path) as opened:
            xmp = opened.info.get("xmp") or opened.info.get("XML:com.adobe.xmp")
        expected = xmp.encode() if isinstance(xmp, str) else xmp
        assert read_embedded(read_photo(path)).xmp == expected, path.name
        found += expected is not None
    assert found > 3


FIELDS = {
    "exif_description": "IFD0:ImageDescription",
    "iptc_caption": "IPTC:Caption-Abstract",
    "title": "IPTC:ObjectName",
    "copyright": "IFD0:Copyright",
}


def test_words_of_real_photos_are_those_of_exiftool(shared):
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    paths = sorted((shared / "photos" / "formats").iterdir())
    command = ["exiftool", "-j", "-G1", "-charset", "iptc=utf8", "-m", "-IFD0:all", "-IPTC:all", *map(str, paths)]
    told = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    for path, tags in zip(paths, told, strict=True):
        found = read_embedded(read_photo(path))
        for field, tag in FIELDS.items():
            if tag in tags:
                assert getattr(found, field) == str(tags[tag]).strip(), (path.name, field)
        keywords = tags.get("IPTC:Keywords", [])
        assert list(found.keywords) == (keywords if isinstance(keywords, list) else [keywords]), path.name
        assert found.rating == tags.get("IFD0:Rating"), path.name


WRITTEN = {
    "a.jpg": lambda: encoded(corners(), "JPEG"),
    "a.png": lambda: encoded(corners(), "PNG"),
    "a.webp": lambda: encoded(corners(), "WEBP"),
    "a.tif": lambda: encoded(corners(), "TIFF"),
    "a.heic": heif,
    "a.avif": lambda: encoded(corners(), "AVIF"),
    "a.dng": lambda: make_dng(encoded(corners(), "JPEG")),
    "a.gif": lambda: encoded(corners(), "GIF"),
    "a.jp2": lambda: encoded(corners(), "JPEG2000"),
}


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("name", WRITTEN)
def test_what_exiftool_writes_is_read(tmp_path, name, order):
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    path = tmp_path / name
    path.write_bytes(WRITTEN[name]())
    words = ["-IFD0:ImageDescription=ein Hündchen", "-IFD0:Artist=Anna; Bob"]
    words += ["-IFD0:Copyright=(c) Anna", "-IFD0:XPKeywords=a;Ö", "-IFD0:XPTitle=Titel", "-IFD0:Rating=3"]
    facts = ["-ExifIFD:DateTimeOriginal=2020:01:02 03:04:05", "-ExifIFD:OffsetTimeOriginal=+02:00"]
    facts += ["-GPSLatitude=47.5", "-GPSLatitudeRef=N", "-GPSLongitude=8.25", "-GPSLongitudeRef=W", "-Orientation#=6"]
    iptc = ["-IPTC:Caption-Abstract=Öl", "-IPTC:Keywords=eins", "-IPTC:Keywords=zwei", "-IPTC:CodedCharacterSet=UTF8"]
    given = [*words, *facts, *(iptc if name in ("a.jpg", "a.png", "a.tif", "a.jp2") else ()), "-XMP-dc:Title=Titel"]
    given = ["-XMP-dc:Title=Titel"] if name == "a.gif" else given
    command = ["exiftool", "-q", "-m", "-overwrite_original", f"-ExifByteOrder={order}", *given, str(path)]
    result = subprocess.run(command, capture_output=True, timeout=60)
    assert result.returncode == 0, result.stderr
    file = read_photo(path)
    found = read_embedded(file)
    assert b"Titel" in (found.xmp or b"")
    if name == "a.gif":
        return
    assert (found.exif_description, found.title) == ("ein Hündchen", "Titel")
    assert (found.creator, found.copyright, found.rating) == (("Anna", "Bob"), "(c) Anna", 3)
    assert found.keywords == (("eins", "zwei") if iptc[0] in given else ("a", "Ö"))
    assert found.iptc_caption == ("Öl" if iptc[0] in given else "")
    exif = read_exif(file.data)
    assert (exif.taken, exif.place) == ("2020-01-02T03:04:05+02:00", (47.5, -8.25))
    assert exif.orientation == (1 if name in ("a.heic", "a.avif") else 6)


BLANKS = [
    b" " * 2000,
    b"\n" * 9,
    bytes(500),
    b"\xef\xbb\xbf  ",
    b'<?xpacket begin="" id="W5M0"?>\n  \n<?xpacket end="w"?>  ',
]


@pytest.mark.parametrize("blank", [*BLANKS, "\ufeff   \n".encode("utf-16-le")])
def test_a_packet_of_blanks_is_none(blank):
    mark = b"http://ns.adobe.com/xap/1.0/\0"
    data = jpeg_with(encoded(corners(), "JPEG"), (0xE1, mark + blank))
    assert read(data) == Embedded()
    assert start_packet(read(data))[0].blocks() == []
    assert read(jpeg_with(data, (0xE1, mark + b"<x/>"))).xmp == b"<x/>"
    assert read(encoded(corners(), "TIFF", tiffinfo={0x02BC: blank})) == Embedded()
    assert read(png_with(encoded(corners(), "PNG"), (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + blank))) == Embedded()
