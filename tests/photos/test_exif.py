"""Dates, places and orientation as cameras and programs write them."""

import json
import re
import shutil
import struct
import subprocess
from datetime import datetime

import pytest

from engine.photos.metadata.exif import Exif, read_exif, read_taken
from engine.photos.metadata.stored import FileSlices, Part
from engine.photos.metadata.taken import naive, read_date
from engine.photos.metadata.tiff import Tiff
from tests.photo_files import corners, encoded, exif_bytes, iim, jpeg_with, make_dng, photoshop, png_with

ORIGINAL, DIGITIZED, CHANGED = 0x9003, 0x9004, 0x0132
DATE = "2020:01:02 03:04:05"


def exif_of(ifd0=(), exif=()):
    return read_exif(encoded(corners(), "JPEG", exif=exif_bytes(ifd0=ifd0, exif=exif)))


DATES = [
    ([], [(ORIGINAL, DATE)], "2020-01-02T03:04:05"),
    ([], [(ORIGINAL, DATE), (0x9011, "+02:00")], "2020-01-02T03:04:05+02:00"),
    ([], [(ORIGINAL, DATE), (0x9011, "-11:30 ")], "2020-01-02T03:04:05-11:30"),
    ([], [(ORIGINAL, DATE), (0x9011, "   :  ")], "2020-01-02T03:04:05"),
    ([], [(ORIGINAL, DATE), (0x9011, "+99:99")], "2020-01-02T03:04:05"),
    ([], [(ORIGINAL, DATE), (0x9010, "+02:00")], "2020-01-02T03:04:05"),
    ([(CHANGED, "2021:01:01 00:00:00")], [(DIGITIZED, DATE)], "2020-01-02T03:04:05"),
    ([(CHANGED, DATE)], [(ORIGINAL, "    :  :     :  :  ")], "2020-01-02T03:04:05"),
    ([(CHANGED, DATE)], [(ORIGINAL, "0000:00:00 00:00:00")], "2020-01-02T03:04:05"),
    ([(CHANGED, "2020:13:41 03:04:05")], [], None),
    ([(CHANGED, "yesterday")], [], None),
    ([], [], None),
]


@pytest.mark.parametrize(("ifd0", "exif", "expected"), DATES)
def test_dates(ifd0, exif, expected):
    assert exif_of(ifd0, exif).taken == expected


def place_of(reference, latitude, longitude_reference="E", longitude=((8, 1), (30, 1), (0, 1)), *, xmp=b""):
    """The place of a file with these references (None: left out) and ratios; signed ones where one is negative."""
    signed = any(part < 0 for ratio in (*latitude, *longitude) for part in ratio)
    kind, code = (10, ">ii") if signed else (5, ">II")
    entries = []
    for tag, text, ratios in ((1, reference, latitude), (3, longitude_reference, longitude)):
        if text is not None:
            entries.append((tag, 2, text.encode() + b"\0"))
        entries.append((tag + 1, kind, b"".join(struct.pack(code, *v) for v in ratios)))
    at = 8 + 2 + 12 + 4
    table, values = struct.pack(">H", len(entries)), b""
    for tag, kind, data in entries:
        count = len(data) // (8 if kind in (5, 10) else 1)
        behind = at + 2 + 12 * len(entries) + 4 + len(values)
        table += struct.pack(">HHI", tag, kind, count)
        table += data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(">I", behind)
        values += data if len(data) > 4 else b""
    tiff = struct.pack(">2sHIHHHIII", b"MM", 42, 8, 1, 0x8825, 4, 1, at, 0) + table + bytes(4) + values
    text = [(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)] if xmp else []
    return read_exif(png_with(encoded(corners(), "PNG"), (b"eXIf", tiff), *text)).place


PLACES = [
    (("N", ((47, 1), (30, 1), (36, 1))), (47.51, 8.5)),
    (("S", ((47, 1), (30, 1), (36, 1)), "W"), (-47.51, -8.5)),
    (("s", ((475, 10), (0, 1), (0, 1)), "w"), (-47.5, -8.5)),
    (("N", ((47, 1), (30, 1))), (47.5, 8.5)),
    (("N", ((47, 0), (30, 1), (0, 1))), None),
    (("N", ((97, 1), (30, 1), (0, 1))), None),
    (("N", ((0, 1), (0, 1), (0, 1)), "E", ((0, 1), (0, 1), (0, 1))), None),
    (("\0", ((47, 1), (30, 1), (0, 1))), None),
    (("N", ()), None),
    (("South", ((47, 1), (30, 1), (0, 1)), "West"), (-47.5, -8.5)),
    ((" S", ((47, 1), (30, 1), (0, 1))), (-47.5, 8.5)),
    (("S", ((-47, 1), (30, 1), (0, 1))), (-47.5, 8.5)),
    (("N", ((-47, 1), (30, 1), (0, 1))), (-47.5, 8.5)),
    (("N", ((47, 1), (30, 1)), "W", ((-8, 1), (-30, 1))), (47.5, -8.5)),
    ((None, ((47, 1), (30, 1)), None, ((-8, 1), (-30, 1))), (47.5, -8.5)),
    ((None, ((47, 1), (30, 1))), None),
    (("X", ((47, 1), (30, 1))), None),
    (("E", ((47, 1), (30, 1)), "N"), None),
    (("N", ((47, 1), (30, 1), (0, 0))), (47.5, 8.5)),
    (("N", ((47, 1), (30, 1)), "E", ((181, 1),)), None),
    (("N", ((0, 1),)), (0.0, 8.5)),
]


@pytest.mark.parametrize(("written", "expected"), PLACES)
def test_places(written, expected):
    assert place_of(*written) == expected


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientations_out_of_range_are_1(value):
    assert exif_of([(0x0112, value)]).orientation == 1


ORDER = (
    *("EXIF:DateTimeOriginal", "XMP:DateTimeOriginal", "XMP:DateCreated", "IPTC:DateCreated"),
    *("EXIF:CreateDate", "XMP:CreateDate", "XMP:DateTimeDigitized", "IPTC:DigitalCreationDate", "EXIF:ModifyDate"),
)


def told_by_exiftool(paths, *options):
    """What exiftool says of files: numbers as numbers, dates in ISO 8601."""
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    command = ["exiftool", "-j", "-n", "-m", "-G0", "-d", "%Y-%m-%dT%H:%M:%S", *options, *map(str, paths)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)


def test_exif_of_real_photos_is_that_of_exiftool(shared):
    paths = sorted(p for p in (shared / "photos").rglob("*") if p.suffix in (".jpg", ".heic", ".png", ".webp", ".avif"))
    dates = places = 0
    for path, tags in zip(paths, told_by_exiftool(paths, "-EXIF:all", "-XMP:all", "-IPTC:all"), strict=True):
        found = read_exif(path.read_bytes())
        expected = next((tags[t] for t in ORDER if tags.get(t)), None)
        assert (found.taken or "")[:10] == (expected or "")[:10].replace(":", "-"), path.name
        assert "T" not in (expected or "") or found.taken[:19] == expected[:19], path.name
        if tags.get("EXIF:GPSLatitudeRef") and "EXIF:GPSLatitude" in tags:
            signs = [-1 if tags[f"EXIF:GPS{a}Ref"] in "SW" else 1 for a in ("Latitude", "Longitude")]
            degrees = [tags[f"EXIF:GPS{a}"] for a in ("Latitude", "Longitude")]
            place = tuple(s * abs(d) for s, d in zip(signs, degrees, strict=True))
            assert found.place == pytest.approx(place, abs=1e-5), path.name
            places += 1
        assert found.software == str(tags.get("EXIF:Software", "")).strip(), path.name
        assert found.orientation == tags.get("EXIF:Orientation", 1) or path.suffix in (".heic", ".avif"), path.name
        dates += expected is not None
    assert dates >= 8
    assert places >= 3


FORMS = [
    ("2023-07-21 21:06:26", "2023-07-21T21:06:26"),
    ("2023/07/21 21:06:26", "2023-07-21T21:06:26"),
    ("2023.07.21 21:06:26", "2023-07-21T21:06:26"),
    ("2023:07:21T21:06:26", "2023-07-21T21:06:26"),
    ("2023-07-21T21:06:26Z", "2023-07-21T21:06:26+00:00"),
    ("2023:07:21 21:06:26+02:00", "2023-07-21T21:06:26+02:00"),
    ("2023:07:21 21:06:26 -0330", "2023-07-21T21:06:26-03:30"),
    ("2023:07:21 21:06:26.50", "2023-07-21T21:06:26.50"),
    ("2023:07:21 21:06:26.000", "2023-07-21T21:06:26"),
    ("2023-07-21T21:06:26.123456789+02:00", "2023-07-21T21:06:26.123456+02:00"),
    ("2023: 7: 1  9:06:26", "2023-07-01T09:06:26"),
    ("2023:7:1 9:06:26", "2023-07-01T09:06:26"),
    ("20230721 210626", "2023-07-21T21:06:26"),
    ("20230721T210626+0200", "2023-07-21T21:06:26+02:00"),
    ("2023:07:21:21:06:26", "2023-07-21T21:06:26"),
    ("2023-07-21_21-06-26", "2023-07-21T21:06:26"),
    ("2023:07:21 21:06", "2023-07-21T21:06:00"),
    ("2023:07:21 09:06:26 PM", "2023-07-21T21:06:26"),
    ("2023:07:21 12:06:26 am", "2023-07-21T00:06:26"),
    ("2023:07:21 24:06:26", "2023-07-21T00:06:26"),
    ("2016:12:31 23:59:60", "2016-12-31T23:59:59"),
    ("2023:07:21", "2023-07-21"),
    ("2023:07:21   :  :  ", "2023-07-21"),
    ("2023:07:21 99:99:99", "2023-07-21"),
    ("2011-02", "2011-02"),
    ("2011", "2011"),
    ("18670000", "1867"),
    ("2023:02:30 10:00:00", None),
    ("2023:13:01 10:00:00", None),
    ("0000:00:00 00:00:00", None),
    ("0001-01-01T00:00:00", None),
    ("    :  :     :  :  ", None),
    ("                   ", None),
    ("1234567890", None),
    ("202307", None),
    ("21.07.2023 21:06:26", None),
    ("yesterday", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "expected"), FORMS)
def test_forms_of_dates(text, expected):
    assert read_date(text) == expected
    assert (exif_of((), [(ORIGINAL, text)]).taken if text else None) == expected
    if expected:
        assert naive(expected).year == int(expected[:4])


@pytest.mark.parametrize(
    ("offset", "expected"),
    [("+02:00", "+02:00"), ("-0330", "-03:30"), ("+2", "+02:00"), ("Z", "+00:00"), ("\u221205:00", "-05:00")]
    + [("", ""), ("   :  ", ""), ("+15:00", ""), ("+02:75", ""), ("CEST", "")],
)
def test_offsets(offset, expected):
    assert read_date(DATE, offset) == f"2020-01-02T03:04:05{expected}"
    assert read_date(f"{DATE}+01:00", offset) == "2020-01-02T03:04:05+01:00"


def packet(**properties):
    """An XMP packet with some properties as attributes, the prefix parted by two underscores."""
    spaces = {"exif": "http://ns.adobe.com/exif/1.0/", "xmp": "http://ns.adobe.com/xap/1.0/"}
    spaces["photoshop"] = "http://ns.adobe.com/photoshop/1.0/"
    declared = "".join(f' xmlns:{p}="{uri}"' for p, uri in spaces.items())
    told = "".join(f' {name.replace("__", ":")}="{text}"' for name, text in properties.items())
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{rdf}"><rdf:Description{declared}{told}/>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def everything(xmp=b"", iptc=(), ifd0=(), exif=()):
    data = encoded(corners(), "JPEG", exif=exif_bytes(ifd0=ifd0, exif=exif), **({"xmp": xmp} if xmp else {}))
    return read_exif(jpeg_with(data, (0xED, photoshop(iim(*iptc)))) if iptc else data)


XMP_ORIGINAL = packet(exif__DateTimeOriginal="2011-02-03T04:05:06+01:00")
CREATED = packet(photoshop__DateCreated="2010-02-03")
DIGITISED = packet(xmp__CreateDate="2012-02-03T04:05:06Z")
ELEMENT = XMP_ORIGINAL.replace(
    b"/></rdf:RDF>", b"><xmp:CreateDate> 2012-02-03 </xmp:CreateDate></rdf:Description></rdf:RDF>"
)
IPTC_DATE = ((2, 55, b"20090203"), (2, 60, b"040506+0100"))
PRECEDENCE = [
    ({"xmp": XMP_ORIGINAL, "iptc": IPTC_DATE, "exif": [(ORIGINAL, DATE)]}, "2020-01-02T03:04:05"),
    ({"xmp": XMP_ORIGINAL, "iptc": IPTC_DATE, "exif": [(DIGITIZED, DATE)]}, "2011-02-03T04:05:06+01:00"),
    ({"xmp": XMP_ORIGINAL, "exif": [(ORIGINAL, "0000:00:00 00:00:00")]}, "2011-02-03T04:05:06+01:00"),
    ({"xmp": CREATED, "iptc": IPTC_DATE, "exif": [(DIGITIZED, DATE)]}, "2010-02-03"),
    ({"xmp": CREATED, "iptc": ((2, 55, b"20100203"), (2, 60, b"040506"))}, "2010-02-03T04:05:06"),
    ({"xmp": DIGITISED, "iptc": IPTC_DATE, "exif": [(DIGITIZED, DATE)]}, "2009-02-03T04:05:06+01:00"),
    ({"xmp": DIGITISED, "exif": [(DIGITIZED, DATE)]}, "2020-01-02T03:04:05"),
    ({"xmp": DIGITISED, "ifd0": [(CHANGED, DATE)]}, "2012-02-03T04:05:06+00:00"),
    ({"xmp": ELEMENT.replace(b"exif:DateTimeOriginal", b"exif:Nothing")}, "2012-02-03"),
    ({"xmp": ELEMENT}, "2011-02-03T04:05:06+01:00"),
    ({"iptc": ((2, 62, b"20090203"), (2, 63, b"040506"))}, "2009-02-03T04:05:06"),
    ({"iptc": ((2, 55, b"00000000"),), "ifd0": [(CHANGED, DATE)]}, "2020-01-02T03:04:05"),
    ({"xmp": XMP_ORIGINAL[:-20]}, None),
    ({"xmp": b'<!DOCTYPE a [<!ENTITY b "2011">]>' + XMP_ORIGINAL}, None),
]


@pytest.mark.parametrize(("written", "expected"), PRECEDENCE)
def test_which_date_is_believed(written, expected):
    assert everything(**written).taken == expected


def test_dates_are_those_that_exiftool_reads(tmp_path):
    texts = [text for text, expected in FORMS if expected and len(expected) >= 19 and "." not in expected]
    texts = [t for t in texts if "24:" not in t and ":60" not in t and "m" not in t.lower() and "Z" not in t]
    paths = [tmp_path / f"{n:02}.jpg" for n in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(encoded(corners(), "JPEG", exif=exif_bytes(exif=[(ORIGINAL, text)])))
    for path, text, tags in zip(paths, texts, told_by_exiftool(paths, "-EXIF:DateTimeOriginal"), strict=True):
        numbers = [list(map(int, re.findall(r"\d+", t))) for t in (read_date(text), tags["EXIF:DateTimeOriginal"])]
        assert numbers[0][:6] == numbers[1][:6] or len(numbers[1]) < 6, text
        assert read_exif(path.read_bytes()).taken == read_date(text)


def test_places_in_xmp():
    for latitude, longitude, expected in XMP_PLACES:
        found = everything(packet(exif__GPSLatitude=latitude, exif__GPSLongitude=longitude)).place
        assert found == expected, (latitude, longitude)


def test_the_place_in_xmp_is_that_of_a_photo_whose_exif_holds_none():
    xmp = packet(exif__GPSLatitude="54,19.5S", exif__GPSLongitude="8,30W")
    for written, expected in PLACES:
        assert place_of(*written, xmp=xmp) == (expected or (-54.325, -8.5)), written


XMP_PLACES = [
    ("54,19.5N", "8,30W", (54.325, -8.5)),
    ("54,19,30S", "8,30,0E", (-54.325, 8.5)),
    ("54,19.5n", "8,30w", (54.325, -8.5)),
    ("54 deg 19' 30 North", "8 deg 30' West", (54.325, -8.5)),
    ("-54.325", "8.5", (-54.325, 8.5)),
    ("54,325N", "8,30E", None),
    ("54,19.5E", "8,30N", None),
    ("54,19.5", "8,30", None),
    ("91,0N", "8,30E", None),
    ("0,0N", "0,0E", None),
    ("0,0N", "8,30E", (0.0, 8.5)),
    ("N", "E", None),
]


def test_read_taken_reads_only_the_metadata(tmp_path, shared):
    for path in sorted((shared / "photos" / "formats").iterdir()):
        taken = read_exif(path.read_bytes()).taken
        assert read_taken(path) == (datetime.fromisoformat(taken).replace(tzinfo=None) if taken else None)
    data = encoded(corners(), "JPEG", exif=exif_bytes(exif=[(ORIGINAL, DATE)]))
    read = []

    class Watched(FileSlices):
        def __getitem__(self, part):
            found = super().__getitem__(part)
            read.append(len(found))
            return found

    (tmp_path / "large.jpg").write_bytes(data + bytes(20_000_000))
    with (tmp_path / "large.jpg").open("rb") as f:
        assert read_exif(Watched(f.fileno())).taken == "2020-01-02T03:04:05"
    assert sum(read) < 2 * len(data) + 1000


@pytest.mark.parametrize("name", ["no.jpg", ".", "a\0b.jpg"])
def test_read_taken_never_raises(tmp_path, name):
    assert read_taken(tmp_path / name) is None


def test_read_taken_does_not_wait_for_a_pipe(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.jpg")
    assert read_taken(tmp_path / "pipe.jpg") is None


@pytest.mark.parametrize("order", ["<", ">"])
def test_big_tiffs(order):
    mark = b"II" if order == "<" else b"MM"
    text = b"2020:01:02 03:04:05\0"
    entries = struct.pack(f"{order}HHQHHxxxx", 0x0112, 3, 1, 6, 0)
    entries += struct.pack(f"{order}HHQQ", CHANGED, 2, 20, 16 + 8 + 40 + 8)
    data = struct.pack(f"{order}2sHHHQQ", mark, 43, 8, 0, 16, 2) + entries + bytes(8) + text
    assert read_exif(data) == Exif(6), "exifread does not read BigTIFF; how it is turned must be known all the same"


def test_raw_files_have_exif():
    data = make_dng(
        encoded(corners(), "JPEG"), 8, more=[(CHANGED, 2, DATE.encode() + b"\0"), (0x0131, 2, b"Cam 2.1\0")]
    )
    assert read_exif(data) == Exif(8, "2020-01-02T03:04:05", None, "Cam 2.1")
    for mark in (b"IIU\0", b"IIRO", b"IIRS"):  # Panasonic, Olympus
        assert read_exif(mark + data[4:]) == read_exif(data)


def test_no_tiff_is_an_error():
    for data in (b"", b"II", b"II*\0", b"XX*\0\x08\0\0\0", b"II+\0\x08\0\0\0"):
        with pytest.raises(ValueError, match="TIFF"):
            Tiff(data)


def test_parts_are_cut_to_what_is_there():
    part = Part(b"0123456789", 2, 100)
    assert (len(part), part[0:3], part[5:100], part[9:4], part[20:30]) == (8, b"234", b"789", b"", b"")
    assert len(Part(b"abc", 7, 9)) == len(Part(b"abc", 2, 1)) == 0
