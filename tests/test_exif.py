"""Dates, places and orientation as cameras and programs write them."""

import json
import shutil
import struct
import subprocess
from datetime import datetime

import pytest

from engine.photos.blocks.slices import FileSlices, Part
from engine.photos.blocks.tiff import Tiff
from engine.photos.exif import Exif, read_exif, read_taken
from tests.photo_files import corners, encoded, exif_bytes, make_dng, png_with

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


def place_of(reference, latitude, longitude_reference="E", longitude=((8, 1), (30, 1), (0, 1))):
    def ratios(values):
        return b"".join(struct.pack(">II", *v) for v in values)

    entries = [(1, 2, reference.encode() + b"\0"), (2, 5, ratios(latitude))]
    entries += [(3, 2, longitude_reference.encode() + b"\0"), (4, 5, ratios(longitude))]
    at = 8 + 2 + 12 + 4
    table, values = struct.pack(">H", len(entries)), b""
    for tag, kind, data in entries:
        count = len(data) // (8 if kind == 5 else 1)
        behind = at + 2 + 12 * len(entries) + 4 + len(values)
        table += struct.pack(">HHI", tag, kind, count)
        table += data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(">I", behind)
        values += data if len(data) > 4 else b""
    tiff = struct.pack(">2sHIHHHIII", b"MM", 42, 8, 1, 0x8825, 4, 1, at, 0) + table + bytes(4) + values
    return read_exif(png_with(encoded(corners(), "PNG"), (b"eXIf", tiff))).place


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
]


@pytest.mark.parametrize(("written", "expected"), PLACES)
def test_places(written, expected):
    assert place_of(*written) == expected


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientations_out_of_range_are_1(value):
    assert exif_of([(0x0112, value)]).orientation == 1


def test_exif_of_real_photos_is_that_of_exiftool(shared):
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    paths = sorted(p for p in (shared / "photos").rglob("*") if p.suffix in (".jpg", ".heic", ".png", ".webp", ".avif"))
    tags = ("DateTimeOriginal", "CreateDate", "ModifyDate", "GPSLatitude", "GPSLongitude", "Orientation", "Software")
    command = ["exiftool", "-j", "-n", "-m", *(f"-EXIF:{t}" for t in tags)]
    command += ["-EXIF:GPSLatitudeRef", "-EXIF:GPSLongitudeRef", *map(str, paths)]
    told = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    dates = places = 0
    for path, tags in zip(paths, told, strict=True):
        found = read_exif(path.read_bytes())
        dated = [tags[t] for t in ("DateTimeOriginal", "CreateDate", "ModifyDate") if tags.get(t)]
        expected = datetime.strptime(dated[0], "%Y:%m:%d %H:%M:%S").isoformat() if dated else None
        assert (found.taken or "")[:19] == (expected or ""), path.name
        if tags.get("GPSLatitudeRef") and "GPSLatitude" in tags:
            signs = (-1 if tags["GPSLatitudeRef"] == "S" else 1, -1 if tags["GPSLongitudeRef"] == "W" else 1)
            place = (signs[0] * abs(tags["GPSLatitude"]), signs[1] * abs(tags["GPSLongitude"]))
            assert found.place == pytest.approx(place, abs=1e-5), path.name
            places += 1
        assert found.software == str(tags.get("Software", "")).strip(), path.name
        assert found.orientation == tags.get("Orientation", 1) or path.suffix in (".heic", ".avif"), path.name
        dates += expected is not None
    assert dates >= 8
    assert places >= 3


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
