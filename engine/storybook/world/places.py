"""Draw places: the backgrounds of scenes, over the whole page, whatever its width."""

import numpy as np

from engine.storybook.world.canvas import Color, Pen, mix, shade

HORIZON = 0.58
"""Height of the ground's far edge, in page heights."""


def draw_place(pen: Pen, name: str, width: float, rng: np.random.Generator) -> None:
    """Draw a place over a page of `width` page heights; its details vary with `rng`."""
    _PLACES[name](pen, width, rng)


def _ground(pen: Pen, width: float, sky: Color, ground: Color) -> None:
    pen.rect(-0.1, -0.1, width + 0.1, HORIZON, sky)
    pen.rect(-0.1, 0.2, width + 0.1, HORIZON, mix(sky, (255, 255, 255), 0.18))
    pen.rect(-0.1, HORIZON, width + 0.1, 1.1, ground)
    pen.rect(-0.1, 0.84, width + 0.1, 1.1, shade(ground, 0.95))


def _spread(rng: np.random.Generator, width: float, n: int) -> np.ndarray:
    """Return n positions over the width, evenly spaced with jitter."""
    step = width / n
    return (np.arange(n) + rng.uniform(0.2, 0.8, n)) * step


def _sun(pen: Pen, width: float, rng: np.random.Generator) -> None:
    pen.ellipse(float(rng.uniform(0.1, width - 0.1)), 0.13, 0.08, 0.08, (255, 236, 140))


def _cloud(pen: Pen, x: float, y: float) -> None:
    for dx, dy, r in ((-0.07, 0.01, 0.045), (0, -0.015, 0.06), (0.07, 0.01, 0.045)):
        pen.ellipse(x + dx, y + dy, r * 1.3, r, (250, 252, 255))


def _beach(pen: Pen, width: float, rng: np.random.Generator) -> None:
    _ground(pen, width, (160, 214, 244), (244, 224, 168))
    pen.rect(-0.1, 0.44, width + 0.1, HORIZON, (70, 160, 206))
    for x in _spread(rng, width, 5):
        pen.rect(x - 0.06, 0.5, x + 0.06, 0.512, (206, 236, 248))
    _sun(pen, width, rng)
    x = float(rng.uniform(0.05, width - 0.05))
    pen.line([(x, 0.62), (x, 0.3)], 0.016, (120, 84, 60))
    pen.polygon([(x - 0.16, 0.36), (x, 0.24), (x + 0.16, 0.36)], (236, 110, 96))


def _forest(pen: Pen, width: float, rng: np.random.Generator) -> None:
    _ground(pen, width, (186, 216, 190), (112, 150, 92))
    for x in _spread(rng, width, 7):
        h = float(rng.uniform(0.36, 0.52))
        pen.rect(x - 0.015, 0.4, x + 0.015, 0.62, (108, 82, 62))
        for k in range(3):
            top = HORIZON - h + k * 0.1
            pen.polygon(
                [(x - 0.07 - 0.025 * k, top + 0.17), (x, top), (x + 0.07 + 0.025 * k, top + 0.17)], (52, 104, 66)
            )


def _kitchen(pen: Pen, width: float, rng: np.random.Generator) -> None:
    pen.rect(-0.1, -0.1, width + 0.1, 0.7, (250, 240, 208))
    for row, y in enumerate(np.arange(0.66, 1.1, 0.11)):
        for col, x in enumerate(np.arange(-0.1, width + 0.1, 0.14)):
            color = (232, 226, 216) if (row + col) % 2 else (176, 180, 186)
            pen.rect(x, y, x + 0.14, y + 0.11, color)
    x0 = float(rng.uniform(-0.02, 0.1))
    for x in np.arange(x0, width, 0.26):
        pen.rect(x, 0.04, x + 0.24, 0.22, (206, 176, 138))
        pen.ellipse(x + 0.2, 0.17, 0.012, 0.012, (90, 70, 50))
        pen.rect(x, 0.44, x + 0.24, 0.66, (206, 176, 138))
        pen.ellipse(x + 0.2, 0.5, 0.012, 0.012, (90, 70, 50))
    pen.rect(-0.1, 0.4, width + 0.1, 0.45, (150, 120, 96))


def _bedroom(pen: Pen, width: float, rng: np.random.Generator) -> None:
    pen.rect(-0.1, -0.1, width + 0.1, 0.64, (208, 200, 228))
    pen.rect(-0.1, 0.64, width + 0.1, 1.1, (178, 144, 116))
    x = float(rng.uniform(0.0, width - 0.62))
    pen.rect(x, 0.22, x + 0.05, 0.72, (124, 92, 70))
    pen.rect(x + 0.6, 0.4, x + 0.64, 0.72, (124, 92, 70))
    pen.rect(x + 0.03, 0.46, x + 0.62, 0.66, (150, 180, 214))
    pen.ellipse(x + 0.14, 0.43, 0.09, 0.055, (252, 252, 252))
    moon = (x + 0.75) % (width - 0.2) + 0.1
    pen.rect(moon - 0.09, 0.06, moon + 0.09, 0.28, (60, 70, 120))
    pen.ellipse(moon, 0.16, 0.045, 0.045, (250, 240, 190))


def _snow(pen: Pen, width: float, rng: np.random.Generator) -> None:
    _ground(pen, width, (188, 204, 222), (236, 242, 248))
    for x in _spread(rng, width, 3):
        pen.polygon([(x - 0.22, HORIZON), (x, 0.28), (x + 0.22, HORIZON)], (150, 166, 190))
        pen.polygon([(x - 0.075, 0.38), (x, 0.28), (x + 0.075, 0.38)], (250, 252, 255))
    for x, y in zip(_spread(rng, width, 16), rng.uniform(0.02, 0.95, 16), strict=True):
        pen.ellipse(x, float(y), 0.011, 0.011, (255, 255, 255))


def _city(pen: Pen, width: float, rng: np.random.Generator) -> None:
    _ground(pen, width, (198, 208, 218), (142, 144, 150))
    x = float(rng.uniform(-0.1, 0.0))
    while x < width:
        w, top = float(rng.uniform(0.13, 0.2)), float(rng.uniform(0.1, 0.34))
        tint = int(rng.integers(110, 150))
        pen.rect(x, top, x + w, HORIZON, (tint, tint, tint + 14))
        for wy in np.arange(top + 0.04, HORIZON - 0.05, 0.08):
            for wx in (x + 0.025, x + w - 0.055):
                pen.rect(wx, wy, wx + 0.03, wy + 0.035, (246, 232, 160))
        x += w + 0.012
    for dash in np.arange(0, width, 0.2):
        pen.rect(dash, 0.79, dash + 0.1, 0.805, (240, 240, 240))


def _garden(pen: Pen, width: float, rng: np.random.Generator) -> None:
    _ground(pen, width, (180, 224, 246), (146, 198, 106))
    for x in np.arange(-0.02, width + 0.1, 0.075):
        pen.polygon([(x, 0.6), (x, 0.4), (x + 0.025, 0.36), (x + 0.05, 0.4), (x + 0.05, 0.6)], (250, 246, 236))
    pen.rect(-0.1, 0.47, width + 0.1, 0.5, (250, 246, 236))
    for x, y in zip(_spread(rng, width, 8), rng.uniform(0.64, 0.98, 8), strict=True):
        pen.ellipse(x, float(y), 0.016, 0.016, ((240, 120, 150), (250, 220, 90))[int(rng.integers(2))])
    _cloud(pen, float(rng.uniform(0.15, width - 0.15)), 0.14)


def _desert(pen: Pen, width: float, rng: np.random.Generator) -> None:
    _ground(pen, width, (250, 214, 160), (222, 170, 108))
    for x in _spread(rng, width, 2):
        pen.ellipse(x, HORIZON + 0.02, 0.36, 0.1, (208, 150, 92))
    for x in _spread(rng, width, 3):
        pen.line([(x, 0.62), (x, 0.32)], 0.045, (86, 138, 96))
        pen.line([(x, 0.5), (x + 0.07, 0.5), (x + 0.07, 0.4)], 0.032, (86, 138, 96))
        pen.line([(x, 0.54), (x - 0.06, 0.54), (x - 0.06, 0.46)], 0.032, (86, 138, 96))
    _sun(pen, width, rng)


def _sofa(pen: Pen, width: float, rng: np.random.Generator) -> None:
    pen.rect(-0.1, -0.1, width + 0.1, 0.72, (226, 206, 196))
    pen.rect(-0.1, 0.72, width + 0.1, 1.1, (160, 122, 100))
    middle = width / 2 + float(rng.uniform(-0.05, 0.05))
    cloth = (104, 152, 150)
    pen.rect(middle - 0.46, 0.3, middle + 0.46, 0.7, shade(cloth, 0.86))
    for k in range(3):
        pen.rect(middle - 0.42 + 0.285 * k, 0.34, middle - 0.15 + 0.285 * k, 0.66, cloth)
    pen.rect(middle - 0.48, 0.66, middle + 0.48, 0.93, shade(cloth, 0.94))
    for side in (-1, 1):
        pen.rect(middle + side * 0.49 - 0.06, 0.46, middle + side * 0.49 + 0.06, 0.96, shade(cloth, 0.74))
    x = float(rng.uniform(0.15, width - 0.15))
    pen.rect(x - 0.1, 0.06, x + 0.1, 0.22, (120, 84, 60))
    pen.rect(x - 0.085, 0.075, x + 0.085, 0.205, (190, 214, 190))


_PLACES = {
    "beach": _beach,
    "forest": _forest,
    "kitchen": _kitchen,
    "bedroom": _bedroom,
    "snow": _snow,
    "city": _city,
    "garden": _garden,
    "desert": _desert,
    "sofa": _sofa,
}
