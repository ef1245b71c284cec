"""Draw lines of text on a page, in Pillow's built-in font, wrapped and cut to a width."""

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

INK, GROUND = "#1c1c1c", "#ffffff"


@dataclass
class Page:
    """A page that is written from top to bottom."""

    image: Image.Image
    draw: ImageDraw.ImageDraw

    @classmethod
    def of(cls, width: int, height: int) -> "Page":
        """Return an empty page of a size in pixels."""
        image = Image.new("RGB", (width, height), GROUND)
        return cls(image, ImageDraw.Draw(image))

    def text(
        self,
        place: tuple[float, float],
        text: str,
        *,
        size: int = 16,
        color: str = INK,
        align: Literal["l", "m", "r"] = "l",
    ) -> None:
        """Write a line of text; `place` is the left end, middle or right end (`align`) of the tops of its capitals."""
        self.draw.text(place, plain(text), fill=color, font=font(size), anchor=f"{align}a")

    def lines(
        self, place: tuple[float, float], text: str, width: float, *, size: int = 16, color: str = INK, most: int = 4
    ) -> float:
        """Write a text in at most `most` lines of at most `width` pixels; return the height of the next line."""
        x, y = place
        for line in wrapped(text, width, size)[:most]:
            self.text((x, y), line, size=size, color=color)
            y += round(size * 1.35)
        return y


def plain(text: str) -> str:
    """Return a text in ASCII, which the built-in font has: accents are removed, other letters become `?`."""
    parts = unicodedata.normalize("NFKD", text)
    return "".join(c for c in parts if not unicodedata.combining(c)).encode("ascii", "replace").decode()


@lru_cache(maxsize=8)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the built-in font in a size in pixels."""
    return ImageFont.load_default(size=size)


def wrapped(text: str, width: float, size: int) -> list[str]:
    """Return the lines of a text, each at most `width` pixels wide; a wider word loses its middle."""
    face, lines = font(size), [""]
    for word in plain(text).split():
        longer = f"{lines[-1]} {word}".strip()
        if face.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines += [cut(word, width, size)] if lines[-1] else []
            lines[-1] = lines[-1] or cut(word, width, size)
    return lines


def cut(word: str, width: float, size: int) -> str:
    """Return an ASCII text, with `...` instead of its middle if it is wider than `width` pixels."""
    face, keep = font(size), len(word) // 2
    short = word
    while face.getlength(short) > width and keep:
        short, keep = f"{word[:keep]}...{word[-keep:]}", keep - 1
    return short
