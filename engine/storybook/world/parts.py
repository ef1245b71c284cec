"""Draw the parts that several figures share: patterns, accessories, eyes."""

import numpy as np

from engine.storybook.world.attributes import COLORS
from engine.storybook.world.canvas import Color, Pen, shade
from engine.storybook.world.individuals import Figure

INK: Color = (34, 30, 34)


def outline(color: Color) -> Color:
    """Return the rim colour of a shape: darker than the shape, but lighter than a black one so that it is visible."""
    return shade(color, 0.62) if sum(color) > 210 else (92, 92, 104)


def blob(pen: Pen, x: float, y: float, rx: float, ry: float, color: Color, angle: float = 0.0) -> None:
    """Draw an ellipse with a rim."""
    pen.ellipse(x, y, rx + 0.045, ry + 0.045, outline(color), angle)
    pen.ellipse(x, y, rx, ry, color, angle)


def box(pen: Pen, x0: float, y0: float, x1: float, y1: float, color: Color) -> None:
    """Draw a rectangle with a rim."""
    pen.rect(x0 - 0.045, y0 - 0.045, x1 + 0.045, y1 + 0.045, outline(color))
    pen.rect(x0, y0, x1, y1, color)


def _rim(x: np.ndarray, rx: float, ry: float, boxy: bool) -> np.ndarray:
    return np.full_like(x, ry) if boxy else ry * np.sqrt(np.clip(1 - (x / rx) ** 2, 0, 1))


def pattern(pen: Pen, who: Figure, x: float, y: float, rx: float, ry: float, *, boxy: bool = False) -> None:
    """Fill a body (an ellipse, or a box if `boxy`) with its pattern; a `plain` body stays as it is."""
    color = COLORS[who.pattern_color]
    if who.pattern == "striped":
        for u in (-0.62, -0.08, 0.46):
            xs = np.linspace(u * rx, (u + 0.27) * rx, 5)
            half = _rim(xs, rx, ry, boxy)
            pen.polygon(np.concatenate([np.stack([x + xs, y - half], 1), np.stack([x + xs, y + half], 1)[::-1]]), color)
    elif who.pattern == "spotted":
        r = 0.2 * min(rx, ry) + 0.05
        for u, v in ((-0.62, -0.1), (-0.2, -0.52), (-0.12, 0.45), (0.3, -0.02), (0.62, -0.38), (0.58, 0.42)):
            pen.ellipse(x + u * rx, y + v * ry, r, r, color)
    elif who.pattern == "patchy":
        xs = np.linspace(-rx, -0.05 * rx, 8)
        half = _rim(xs, rx, ry, boxy)
        pen.polygon(np.concatenate([np.stack([x + xs, y - half], 1), np.stack([x + xs, y + half], 1)[::-1]]), color)


def detail_color(who: Figure) -> Color:
    """Return the colour of an individual's small detail: light on dark bodies, dark on light ones."""
    return (250, 248, 240) if sum(COLORS[who.color]) < 480 else (70, 52, 44)


def eyes(pen: Pen, x: float, y: float, gap: float, r: float, *, closed: bool) -> None:
    """Draw two cartoon eyes around (x, y)."""
    for side in (-1, 1):
        if closed:
            pen.arc(x + side * gap, y, r * 1.1, r * 0.9, 10, 170, 0.06, INK)
        else:
            pen.ellipse(x + side * gap, y, r * 1.25, r * 1.35, (252, 252, 252))
            pen.ellipse(x + side * gap + 0.25 * r, y + 0.1 * r, r * 0.8, r * 0.9, INK)


def hat(pen: Pen, r: float, color: Color) -> None:
    """Draw a top hat on a head of radius `r` around the origin."""
    box(pen, -0.62 * r, -1.85 * r, 0.62 * r, -0.8 * r, color)
    box(pen, -1.05 * r, -0.95 * r, 1.05 * r, -0.74 * r, color)
    pen.rect(-0.62 * r, -1.18 * r, 0.62 * r, -0.98 * r, shade(color, 0.55))


def crown(pen: Pen, r: float, color: Color) -> None:
    """Draw a crown on a head of radius `r`."""
    teeth = np.array([(-0.8, -0.7), (-0.9, -1.6), (-0.45, -1.15), (0, -1.75), (0.45, -1.15), (0.9, -1.6), (0.8, -0.7)])
    pen.polygon(teeth * r * (1.08, 1.05), outline(color))
    pen.polygon(teeth * r, color)


def bow(pen: Pen, x: float, y: float, r: float, color: Color) -> None:
    """Draw a ribbon bow around (x, y)."""
    for side in (-1, 1):
        wing = np.array([(0, 0), (side * 1.25, -0.85), (side * 1.25, 0.85)])
        pen.polygon(wing * r * 1.12 + (x, y), outline(color))
        pen.polygon(wing * r + (x, y), color)
    blob(pen, x, y, 0.36 * r, 0.36 * r, shade(color, 0.85))


def scarf(pen: Pen, r: float, color: Color) -> None:
    """Draw a scarf under a head of radius `r`."""
    blob(pen, 0, 0.98 * r, 0.85 * r, 0.27 * r, color)
    box(pen, 0.2 * r, 0.95 * r, 0.62 * r, 2.0 * r, color)
    pen.rect(0.2 * r, 1.7 * r, 0.62 * r, 1.82 * r, shade(color, 0.6))


def glasses(pen: Pen, y: float, gap: float, r: float, color: Color) -> None:
    """Draw round glasses; `gap` is half the distance between the lenses."""
    for side in (-1, 1):
        pen.ellipse(side * gap, y, r, r, color)
        pen.ellipse(side * gap, y, 0.62 * r, 0.62 * r, (232, 242, 250))
    pen.rect(-gap + 0.8 * r, y - 0.14 * r, gap - 0.8 * r, y + 0.14 * r, color)


def star(pen: Pen, x: float, y: float, r: float, color: Color) -> None:
    """Draw a five-pointed star sticker."""
    angles = np.radians(np.arange(10) * 36 - 90)
    radii = np.where(np.arange(10) % 2 == 0, 1.0, 0.45)
    points = np.stack([np.cos(angles) * radii, np.sin(angles) * radii], 1)
    pen.polygon(points * r * 1.25 + (x, y), outline(color))
    pen.polygon(points * r + (x, y), color)


def heart(pen: Pen, x: float, y: float, r: float, color: Color) -> None:
    """Draw a heart sticker."""
    for grow, c in ((1.2, outline(color)), (1.0, color)):
        q = r * grow
        pen.ellipse(x - 0.48 * q, y - 0.3 * q, 0.56 * q, 0.56 * q, c)
        pen.ellipse(x + 0.48 * q, y - 0.3 * q, 0.56 * q, 0.56 * q, c)
        pen.polygon([(x - 1.0 * q, y - 0.12 * q), (x + 1.0 * q, y - 0.12 * q), (x, y + 1.05 * q)], c)


def flag(pen: Pen, x: float, y: float, r: float, color: Color) -> None:
    """Draw a flag on a pole that stands at (x, y)."""
    pen.rect(x - 0.1 * r, y - 2.3 * r, x + 0.1 * r, y, INK)
    points = np.array([(0, -2.3), (1.7, -1.75), (0, -1.1)]) * r
    pen.polygon(points * (1.08, 1.02) + (x, y), outline(color))
    pen.polygon(points + (x, y), color)


def wear(pen: Pen, who: Figure, r: float) -> None:
    """Draw the accessory that an animal wears; the pen's origin is the middle of its head of radius `r`."""
    color = COLORS[who.accessory_color]
    if who.accessory == "hat":
        hat(pen, r, color)
    elif who.accessory == "crown":
        crown(pen, r, color)
    elif who.accessory == "bow":
        bow(pen, -0.45 * r, -0.95 * r, 0.52 * r, color)
    elif who.accessory == "scarf":
        scarf(pen, r, color)
    elif who.accessory == "glasses":
        glasses(pen, -0.12 * r, 0.44 * r, 0.46 * r, color)
