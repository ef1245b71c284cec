"""The sheet that an explanation is drawn on: lines of text in the built-in font, wrapped and cut to a width."""

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

INK, GROUND = "#1c1c1c", "#ffffff"


@dataclass
class Page:
    """A sheet that is written from the top down."""

    image: Image.Image
    draw: ImageDraw.ImageDraw

    @classmethod
    def of(cls, width: int, height: int) -> "Page":
        """Return an empty page."""
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
        """Write a line whose top (of capitals) is at `place`, which is its left, middle or right."""
        self.draw.text(place, plain(text), fill=color, font=font(size), anchor=f"{align}a")

    def lines(
        self, place: tuple[float, float], text: str, width: float, *, size: int = 16, color: str = INK, most: int = 4
    ) -> float:
        """Write a text in lines of at most so many pixels; return where the next one begins."""
        x, y = place
        for line in wrapped(text, width, size)[:most]:
            self.text((x, y), line, size=size, color=color)
            y += round(size * 1.35)
        return y


def plain(text: str) -> str:
    """Return a text in the letters of the built-in font: without accents, `?` for other alphabets."""
    parts = unicodedata.normalize("NFKD", text)
    return "".join(c for c in parts if not unicodedata.combining(c)).encode("ascii", "replace").decode()


@lru_cache(maxsize=8)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the built-in font in a size in pixels."""
    return ImageFont.load_default(size=size)


def wrapped(text: str, width: float, size: int) -> list[str]:
    """Return lines of at most `width` pixels; a word that is longer is cut in its middle."""
    face, found = font(size), [""]
    for word in plain(text).split():
        longer = f"{found[-1]} {word}".strip()
        if face.getlength(longer) <= width:
            found[-1] = longer
        else:
            found += [cut(word, width, size)] if found[-1] else []
            found[-1] = found[-1] or cut(word, width, size)
    return found


def cut(word: str, width: float, size: int) -> str:
    """Return a text of the font's letters, without its middle where it is wider than the width."""
    face, keep = font(size), len(word) // 2
    short = word
    while face.getlength(short) > width and keep:
        short, keep = f"{word[:keep]}...{word[-keep:]}", keep - 1
    return short
