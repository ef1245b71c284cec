"""Draw polygons under affine maps, and keep the exact bounding box of everything that one owner draws."""

import math

import numpy as np
from PIL import Image, ImageDraw

Color = tuple[int, int, int]

_CIRCLE = np.array([(math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 25)[:-1]])
_OWNER_CELLS = 64


def shade(color: Color, factor: float) -> Color:
    """Scale a colour's brightness; `factor` 1.0 keeps it, values are clipped to 0..255."""
    red, green, blue = (int(min(255, max(0, c * factor))) for c in color)
    return red, green, blue


def mix(a: Color, b: Color, t: float) -> Color:
    """Blend `a` towards `b` by `t` in 0..1."""
    red, green, blue = (int(x + (y - x) * t) for x, y in zip(a, b, strict=True))
    return red, green, blue


class Canvas:
    """An RGB picture drawn `supersample` times too large, and a coarse map of the owner of each pixel.

    The unit of length is one page height: x runs from 0 to width/height, y downwards from 0 to 1.
    """

    def __init__(self, width: int, height: int, supersample: int = 2) -> None:
        self.width, self.height, self.supersample = width, height, supersample
        self.scale = float(height * supersample)
        self.image = Image.new("RGB", (width * supersample, height * supersample))
        self._draw = ImageDraw.Draw(self.image)
        cells = (round(_OWNER_CELLS * width / height), _OWNER_CELLS)
        self.owners = Image.new("L", cells)
        self._draw_owners = ImageDraw.Draw(self.owners)
        self._extent: dict[int, np.ndarray] = {}

    def polygon(self, points: np.ndarray, color: Color, owner: int = 0) -> None:
        """Fill a polygon; points: (N, 2) in page units. Owner 0 is the background."""
        self._draw.polygon((points * self.scale).ravel().tolist(), fill=color)
        if owner:
            self._draw_owners.polygon((points * _OWNER_CELLS - 0.5).ravel().tolist(), fill=owner)
            low, high = points.min(axis=0), points.max(axis=0)
            if owner in self._extent:
                extent = self._extent[owner]
                low, high = np.minimum(low, extent[0]), np.maximum(high, extent[1])
            self._extent[owner] = np.stack([low, high])

    def box(self, owner: int) -> tuple[float, float, float, float]:
        """Return the box of everything that `owner` drew: xyxy in pixels of the finished picture, clipped to it."""
        (x0, y0), (x1, y1) = self._extent[owner] * self.height
        return (
            max(0.0, float(x0)),
            max(0.0, float(y0)),
            min(float(self.width), float(x1)),
            min(float(self.height), float(y1)),
        )

    def finish(self) -> Image.Image:
        """Return the picture at its final size."""
        if self.supersample == 1:
            return self.image
        return self.image.reduce(self.supersample)

    def owner_map(self) -> np.ndarray:
        """Return the owner of each cell, (64, 64·width/height) uint8; later owners cover earlier ones."""
        return np.asarray(self.owners)


class Pen:
    """A pen that draws on a canvas through an affine map, (2, 3), on behalf of one owner."""

    def __init__(self, canvas: Canvas, matrix: np.ndarray, owner: int = 0, light: float = 1.0) -> None:
        self.canvas, self.matrix, self.owner, self.light = canvas, matrix, owner, light

    @classmethod
    def placed(
        cls,
        canvas: Canvas,
        *,
        x: float,
        y: float,
        size: float,
        flip: bool = False,
        owner: int = 0,
        light: float = 1.0,
    ) -> "Pen":
        """Make a pen whose local unit is `size` page heights, with its origin at (x, y)."""
        sx = -size if flip else size
        return cls(canvas, np.array([[sx, 0.0, x], [0.0, size, y]]), owner, light)

    def moved(
        self, dx: float = 0.0, dy: float = 0.0, *, angle: float = 0.0, scale: float = 1.0, squash: float = 1.0
    ) -> "Pen":
        """Return a pen in a local frame: scaled (y also by `squash`), turned by `angle` degrees, then shifted."""
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        local = np.array([[c * scale, -s * scale * squash, dx], [s * scale, c * scale * squash, dy], [0.0, 0.0, 1.0]])
        return Pen(self.canvas, self.matrix @ local, self.owner, self.light)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the page coordinates of a local point."""
        px, py = self.matrix @ np.array([x, y, 1.0])
        return float(px), float(py)

    def polygon(self, points: object, color: Color) -> None:
        """Fill a polygon given in local coordinates, (N, 2)."""
        local = np.asarray(points, dtype=float)
        page = local @ self.matrix[:, :2].T + self.matrix[:, 2]
        self.canvas.polygon(page, shade(color, self.light), self.owner)

    def ellipse(self, x: float, y: float, rx: float, ry: float, color: Color, angle: float = 0.0) -> None:
        """Fill an ellipse around (x, y), turned by `angle` degrees."""
        points = _CIRCLE * (rx, ry)
        if angle:
            c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            points = points @ np.array([[c, s], [-s, c]])
        self.polygon(points + (x, y), color)

    def rect(self, x0: float, y0: float, x1: float, y1: float, color: Color) -> None:
        """Fill an axis-parallel rectangle."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color)

    def line(self, points: object, width: float, color: Color) -> None:
        """Draw a polyline of the given local width: a quadrilateral for each segment, an ellipse at each joint."""
        pts = np.asarray(points, dtype=float)
        for a, b in zip(pts[:-1], pts[1:], strict=True):
            d = b - a
            n = np.array([-d[1], d[0]]) / (math.hypot(*d) or 1.0) * width / 2
            self.polygon([a + n, b + n, b - n, a - n], color)
        for p in pts[1:-1]:
            self.ellipse(p[0], p[1], width / 2, width / 2, color)

    def arc(
        self, x: float, y: float, rx: float, ry: float, start: float, end: float, width: float, color: Color
    ) -> None:
        """Draw part of an ellipse's rim from `start` to `end`, in degrees clockwise from three o'clock."""
        angles = np.radians(np.linspace(start, end, 9))
        inner = np.stack([x + (rx - width / 2) * np.cos(angles), y + (ry - width / 2) * np.sin(angles)], 1)
        outer = np.stack([x + (rx + width / 2) * np.cos(angles), y + (ry + width / 2) * np.sin(angles)], 1)
        self.polygon(np.concatenate([outer, inner[::-1]]), color)
