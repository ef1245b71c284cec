"""Read the faces that Picasa stored in `.picasa.ini` of a folder instead of in the photos.

The section of a photo has `faces=rect64(HEX),PERSON;…`: left, top, right and bottom, 16 bits each, as fractions of the
stored picture (exiftool's `picasa_faces.config` converts them to MWG regions without rotation); `[Contacts2]` has
`PERSON=name;;`.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from engine.core.files import read_bytes
from engine.sidecars.locate import PICASA_NAMES, caseless
from engine.sidecars.regions.forms import NamedRegion, checked

_FACE = re.compile(r"rect64\(([0-9a-fA-F]{1,16})\),([0-9a-fA-F]+)")
_LARGEST = 16 * 2**20
"""Bytes that are read of such a file."""
_UNKNOWN_PERSON = "ffffffffffffffff"


def read_picasa(folder: Path) -> dict[str, tuple[NamedRegion, ...]]:
    """Read the named faces of the photos in a folder, by `caseless` file name; {} if there is no readable file."""
    for name in PICASA_NAMES:
        try:
            return _parse(read_bytes(folder / name, _LARGEST).decode("utf-8-sig", "replace"))
        except OSError:
            continue
    return {}


def _parse(text: str) -> dict[str, tuple[NamedRegion, ...]]:
    people: dict[str, str] = {}
    faces: dict[str, str] = {}
    for section, key, value in _lines(text):
        if section in ("contacts2", "contacts"):
            name = value.split(";")[0].strip()
            if name and (section == "contacts2" or key not in people):
                people[key.lower()] = name
        elif key == "faces":
            faces[section] = value
    regions = {photo: tuple(_regions(value, people)) for photo, value in faces.items()}
    return {photo: named for photo, named in regions.items() if named}


def _lines(text: str) -> Iterator[tuple[str, str, str]]:
    section = ""
    for line in text.splitlines():
        if line.startswith("[") and line.rstrip().endswith("]"):
            section = caseless(line.strip()[1:-1])
        elif "=" in line:
            key, _, value = line.partition("=")
            yield section, key.strip().lower(), value.strip()


def _regions(value: str, people: dict[str, str]) -> Iterator[NamedRegion]:
    for digits, person in _FACE.findall(value):
        name = "" if person.lower() == _UNKNOWN_PERSON else people.get(person.lower(), "")
        padded = digits.zfill(16)
        x0, y0, x1, y1 = (int(padded[i : i + 4], 16) / 0xFFFF for i in (0, 4, 8, 12))
        region = checked(NamedRegion(name, (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0))
        if region:
            yield region
