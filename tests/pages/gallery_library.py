"""Small libraries whose photos can be decoded, for galleries."""

from pathlib import Path

from PIL import Image

from engine.core.boxes import Box
from engine.core.types import Kind, Match
from tests.library.sample import put

SIZE = (80, 60)


def add_photo(path: Path, caption=None, *matches: Match, **more) -> Path:
    """A photo that can be decoded, with sidecars; its picture depends on its name."""
    put(path, caption, *matches, **more)
    colour = sum(path.name.encode("utf-8", "surrogateescape")) % 255
    Image.new("RGB", SIZE, (colour, 90, 255 - colour)).save(path, "JPEG")
    return path


def at(name: str, kind: Kind = Kind.PET, box: Box | None = None) -> Match:
    return Match(f"id{name}", name, kind, 1, 3.0, 1.0, box or Box(1, 2, 6, 7), "detector")


def make_library(folder: Path) -> Path:
    """Five photos of three years, one without a date, and one that is damaged."""
    rex, anna = at("Rex"), at("Anna", Kind.PERSON, Box(0, 0, 5, 5))
    add_photo(folder / "2023" / "a.jpg", "Rex runs on the beach.", rex, taken="2023-07-01T10:00:00", place=(54.3, 10.1))
    add_photo(folder / "2024" / "b.jpg", "Rex and Anna in the snow.", rex, anna, taken="2024-01-05T09:00:00")
    add_photo(folder / "2024" / "c.jpg", "A café.", taken="2024-12-31T23:30:00+02:00")
    add_photo(folder / "d.jpg", None, at("Big Mug", Kind.THING))
    put(folder / "broken.jpg", "Anna is asleep.", anna, taken="2022-02-02T02:02:02")
    return folder
