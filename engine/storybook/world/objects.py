"""Draw the small objects that characters hold."""

import numpy as np

from engine.storybook.world.canvas import Pen
from engine.storybook.world.parts import INK, blob, box, outline

HELD_AT = {
    "ball": (0.0, 0.74),
    "apple": (0.0, 0.74),
    "book": (0.0, 0.68),
    "balloon": (0.05, -0.5),
    "flower": (0.0, 0.4),
    "umbrella": (0.0, -0.1),
    "kite": (0.15, -0.55),
    "gift": (0.0, 0.68),
}
"""Position of an object's middle in its holder's frame: (distance beyond the hand, height)."""


def draw_object(pen: Pen, name: str) -> None:
    """Draw an object around the pen's origin, about 0.7 units across."""
    _SHAPES[name](pen)


def _ball(pen: Pen) -> None:
    blob(pen, 0, 0, 0.26, 0.26, (250, 250, 250))
    for a in (0, 120, 240):
        angles = np.radians(np.linspace(a, a + 60, 5))
        rim = np.stack([np.cos(angles), np.sin(angles)], 1) * 0.26
        pen.polygon(np.concatenate([rim, [(0, 0)]]), (220, 50, 60))
    pen.ellipse(0, 0, 0.07, 0.07, (52, 96, 200))


def _apple(pen: Pen) -> None:
    blob(pen, -0.08, 0.02, 0.18, 0.24, (208, 40, 44))
    blob(pen, 0.1, 0.02, 0.18, 0.24, (208, 40, 44))
    pen.ellipse(0, 0.04, 0.2, 0.22, (208, 40, 44))
    pen.line([(0, -0.18), (0.04, -0.38)], 0.07, (96, 60, 30))
    pen.ellipse(0.18, -0.34, 0.16, 0.08, (70, 160, 60), angle=-25)


def _book(pen: Pen) -> None:
    for side in (-1, 1):
        page = np.array([(0, -0.2), (side * 0.42, -0.3), (side * 0.42, 0.22), (0, 0.32)])
        pen.polygon(page * 1.14, (96, 52, 30))
        pen.polygon(page, (252, 248, 232))
        for y in (-0.08, 0.04, 0.16):
            pen.line([(side * 0.07, y), (side * 0.36, y - 0.08)], 0.035, (140, 140, 150))


def _balloon(pen: Pen) -> None:
    pen.line([(0, 0.3), (-0.04, 0.7), (0.02, 1.1)], 0.035, INK)
    blob(pen, 0, 0, 0.28, 0.34, (232, 60, 90))
    pen.polygon([(-0.07, 0.42), (0.07, 0.42), (0, 0.3)], (232, 60, 90))
    pen.ellipse(-0.1, -0.12, 0.06, 0.1, (252, 190, 200))


def _flower(pen: Pen) -> None:
    pen.line([(0, 0), (0, 0.58)], 0.07, (56, 140, 60))
    pen.ellipse(0.12, 0.36, 0.14, 0.06, (56, 140, 60), angle=-30)
    for a in np.radians(np.arange(6) * 60):
        blob(pen, np.cos(a) * 0.2, np.sin(a) * 0.2, 0.1, 0.1, (250, 250, 252))
    pen.ellipse(0, 0, 0.14, 0.14, (250, 190, 40))


def _umbrella(pen: Pen) -> None:
    pen.line([(0, -0.3), (0, 0.62), (0.12, 0.66)], 0.06, INK)
    for grow, first, second in ((1.12, INK, INK), (1.0, (60, 80, 190), (240, 240, 250))):
        angles = np.radians(np.linspace(180, 360, 9))
        rim = np.stack([np.cos(angles) * 0.6, np.sin(angles) * 0.48 - 0.22], 1) * grow
        for i in range(4):
            pen.polygon([*rim[2 * i : 2 * i + 3], (0, -0.22)], first if i % 2 == 0 else second)


def _kite(pen: Pen) -> None:
    shape = np.array([(0, -0.42), (0.3, 0), (0, 0.42), (-0.3, 0)])
    pen.line([(0, 0.42), (-0.1, 0.8), (0.04, 1.2)], 0.035, INK)
    pen.polygon(shape * 1.14, INK)
    pen.polygon(shape[[0, 1, 3]], (250, 200, 40))
    pen.polygon(shape[[1, 2, 3]], (60, 170, 160))
    for y in (0.62, 0.9):
        pen.polygon([(-0.14, y - 0.06), (-0.14, y + 0.08), (0.1, y - 0.04), (0.1, y + 0.08)], (220, 60, 60))


def _gift(pen: Pen) -> None:
    box(pen, -0.3, -0.22, 0.3, 0.3, (60, 176, 180))
    pen.rect(-0.06, -0.22, 0.06, 0.3, (236, 60, 70))
    pen.rect(-0.3, -0.02, 0.3, 0.09, (236, 60, 70))
    for side in (-1, 1):
        pen.ellipse(side * 0.13, -0.32, 0.15, 0.09, outline((236, 60, 70)), angle=side * -20)
        pen.ellipse(side * 0.13, -0.32, 0.12, 0.065, (236, 60, 70), angle=side * -20)


_SHAPES = {
    "ball": _ball,
    "apple": _apple,
    "book": _book,
    "balloon": _balloon,
    "flower": _flower,
    "umbrella": _umbrella,
    "kite": _kite,
    "gift": _gift,
}
