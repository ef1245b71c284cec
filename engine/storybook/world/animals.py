"""Draw animals: one body plan in four poses, and a head for each category."""

from engine.storybook.world.attributes import COLORS
from engine.storybook.world.canvas import Color, Pen, mix, shade
from engine.storybook.world.individuals import Figure
from engine.storybook.world.parts import INK, blob, detail_color, eyes, outline, pattern, wear


def draw_animal(pen: Pen, who: Figure, pose: str) -> None:
    """Draw an animal in the pen's local frame: feet at y = 1, about 2 units tall and wide, facing right."""
    {"standing": _standing, "sitting": _sitting, "sleeping": _sleeping, "jumping": _jumping}[pose](pen, who)


def _standing(pen: Pen, who: Figure, spread: float = 0.0) -> None:
    wide = who.shape[1]
    _tail(pen.moved(-0.62 * wide, 0.2), who)
    for x, lean in ((-0.46, 1), (-0.2, 0.4), (0.14, -0.4), (0.4, -1)):
        _leg(pen, who, x * wide, 0.5, x * wide - lean * spread, 1.0)
    blob(pen, -0.05, 0.3, 0.64 * wide, 0.38, COLORS[who.color])
    pattern(pen, who, -0.05, 0.3, 0.64 * wide, 0.38)
    if who.detail == "belly":
        pen.ellipse(-0.03, 0.52, 0.36 * wide, 0.16, detail_color(who))
    _head(pen.moved(0.5 * wide, -0.3), who, closed=False)


def _jumping(pen: Pen, who: Figure) -> None:
    _standing(pen.moved(0.0, -0.12, angle=-24), who, spread=0.34)


def _sitting(pen: Pen, who: Figure) -> None:
    wide = who.shape[1]
    color = COLORS[who.color]
    _tail(pen.moved(-0.42 * wide, 0.75), who)
    blob(pen, -0.3 * wide, 0.84, 0.3, 0.17, color)
    blob(pen, 0.34 * wide, 0.84, 0.3, 0.17, color)
    blob(pen, 0, 0.45, 0.46 * wide, 0.53, color)
    pattern(pen, who, 0, 0.45, 0.46 * wide, 0.53)
    if who.detail == "belly":
        pen.ellipse(0, 0.6, 0.26 * wide, 0.3, detail_color(who))
    for x in (-0.14, 0.14):
        _leg(pen, who, x * wide, 0.45, x * wide, 0.98)
    _head(pen.moved(0, -0.3), who, closed=False)


def _sleeping(pen: Pen, who: Figure) -> None:
    wide = who.shape[1]
    color = COLORS[who.color]
    _tail(pen.moved(-0.7 * wide, 0.72), who)
    blob(pen, -0.12, 0.62, 0.72 * wide, 0.37, color)
    pattern(pen, who, -0.12, 0.62, 0.72 * wide, 0.37)
    if who.detail == "belly":
        pen.ellipse(-0.1, 0.82, 0.4 * wide, 0.14, detail_color(who))
    for x in (-0.4, 0.1):
        blob(pen, x * wide, 0.93, 0.2, 0.09, detail_color(who) if who.detail == "socks" else color)
    _head(pen.moved(0.52 * wide, 0.42), who, closed=True)
    for i, (x, y) in enumerate(((0.98, -0.2), (1.16, -0.48), (1.36, -0.8))):
        z = 0.09 + 0.035 * i
        pen.line([(x - z, y - z), (x + z, y - z), (x - z, y + z), (x + z, y + z)], 0.055, (70, 70, 110))


def _leg(pen: Pen, who: Figure, x0: float, y0: float, x1: float, y1: float) -> None:
    color = COLORS[who.color]
    thick = 0.3 if who.category == "elephant" else 0.13 if who.category == "duck" else 0.22
    if who.category == "duck":
        color = (240, 140, 40)
    pen.line([(x0, y0), (x1, y1)], thick + 0.08, outline(color))
    pen.line([(x0, y0), (x1, y1 - 0.03)], thick, color)
    if who.detail == "socks":
        xm, ym = x0 + 0.55 * (x1 - x0), y0 + 0.55 * (y1 - y0)
        pen.line([(xm, ym), (x1, y1 - 0.03)], thick, detail_color(who))


def _tail(pen: Pen, who: Figure) -> None:
    color = COLORS[who.color]
    tip = detail_color(who) if who.detail == "tip" else color
    if who.category in ("rabbit", "bear"):
        r = 0.2 if who.category == "rabbit" else 0.13
        blob(pen, -0.08, 0, r, r, tip if who.detail == "tip" else mix(color, (255, 255, 255), 0.35))
    elif who.category == "duck":
        pen.polygon([(-0.42, -0.32), (0.15, -0.2), (0.15, 0.2)], outline(color))
        pen.polygon([(-0.34, -0.26), (0.15, -0.14), (0.15, 0.14)], tip)
    else:
        ends = {"dog": (-0.32, -0.42), "cat": (-0.3, -0.72), "elephant": (-0.24, 0.32)}[who.category]
        width = {"dog": 0.17, "cat": 0.13, "elephant": 0.08}[who.category]
        middle = (ends[0] * 0.9, ends[1] * 0.35)
        pen.line([(0.1, 0.05), middle, ends], width + 0.08, outline(color))
        pen.line([(0.1, 0.05), middle, ends], width, color)
        pen.line([middle, ends], width, tip)


def _head(pen: Pen, who: Figure, *, closed: bool) -> None:
    color = COLORS[who.color]
    r = 0.43 * (0.85 + 0.15 * who.shape[2])
    _EARS[who.category](pen, who, r, color)
    blob(pen, 0, 0, r, r * 0.94, color)
    _forehead(pen, who, r)
    if who.detail == "eye patch":
        pen.ellipse(0.17, -0.1, 0.19, 0.2, detail_color(who))
    if who.detail == "muzzle":
        pen.ellipse(0, 0.18, 0.24, 0.17, detail_color(who))
    _SNOUTS[who.category](pen, who, r, color)
    eyes(pen, 0, -0.08, 0.17, 0.075, closed=closed)
    wear(pen, who, r)


def _forehead(pen: Pen, who: Figure, r: float) -> None:
    color = COLORS[who.pattern_color]
    if who.pattern == "striped":
        for x in (-0.16, 0.0, 0.16):
            pen.polygon([(x - 0.05, -0.9 * r), (x + 0.05, -0.9 * r), (x, -0.5 * r)], color)
    elif who.pattern == "spotted":
        for x, y in ((-0.66, 0.3), (0.62, 0.36), (0.1, -0.68)):
            pen.ellipse(x * r, y * r, 0.08, 0.08, color)
    elif who.pattern == "patchy":
        pen.ellipse(-0.5 * r, -0.3 * r, 0.4 * r, 0.5 * r, color)


def _dog_ears(pen: Pen, who: Figure, r: float, color: Color) -> None:
    for side in (-1, 1):
        blob(pen, side * 0.98 * r, 0.1, 0.15, 0.36 * who.shape[0], shade(color, 0.72), angle=side * -14)


def _cat_ears(pen: Pen, who: Figure, r: float, color: Color) -> None:
    h = 0.42 * who.shape[0]
    for side in (-1, 1):
        a, b, c = (side * 0.98 * r, -0.1), (side * 0.74 * r, -0.6 * r - h), (side * 0.12 * r, -0.8 * r)
        pen.polygon([(a[0] * 1.08, a[1]), (b[0] * 1.06, b[1] - 0.06), c], outline(color))
        pen.polygon([a, b, c], color)
        pen.polygon(
            [(side * 0.8 * r, -0.45 * r), (side * 0.7 * r, -0.6 * r - 0.7 * h), (side * 0.36 * r, -0.75 * r)],
            (246, 170, 180),
        )


def _rabbit_ears(pen: Pen, who: Figure, r: float, color: Color) -> None:
    h = 0.42 * who.shape[0]
    for side in (-1, 1):
        blob(pen, side * 0.2, -0.8 * r - h * 0.75, 0.13, h, color, angle=side * 12)
        pen.ellipse(side * 0.2, -0.8 * r - h * 0.75, 0.06, h * 0.75, (246, 170, 180), angle=side * 12)


def _bear_ears(pen: Pen, who: Figure, r: float, color: Color) -> None:
    for side in (-1, 1):
        blob(pen, side * 0.74 * r, -0.72 * r, 0.19 * who.shape[0], 0.19 * who.shape[0], color)
        pen.ellipse(side * 0.74 * r, -0.72 * r, 0.09, 0.09, shade(color, 0.65))


def _elephant_ears(pen: Pen, who: Figure, r: float, color: Color) -> None:
    for side in (-1, 1):
        blob(pen, side * 1.12 * r, -0.05, 0.33 * who.shape[0], 0.4 * who.shape[0], shade(color, 0.88))
        pen.ellipse(side * 1.12 * r, -0.05, 0.2 * who.shape[0], 0.26 * who.shape[0], mix(color, (246, 170, 180), 0.5))


def _duck_crest(pen: Pen, who: Figure, r: float, color: Color) -> None:
    for side in (-1, 0, 1):
        pen.line([(0, -0.8 * r), (side * 0.16, -1.0 * r - 0.2 * who.shape[0])], 0.08, outline(color))


def _dog_snout(pen: Pen, who: Figure, r: float, color: Color) -> None:
    if who.detail != "muzzle":
        pen.ellipse(0, 0.19, 0.2, 0.14, mix(color, (255, 255, 255), 0.35))
    pen.ellipse(0, 0.11, 0.085, 0.06, INK)
    pen.ellipse(0.02, 0.3, 0.06, 0.08, (236, 92, 110))


def _cat_snout(pen: Pen, who: Figure, r: float, color: Color) -> None:
    pen.polygon([(-0.06, 0.1), (0.06, 0.1), (0, 0.17)], (236, 92, 110))
    for side in (-1, 1):
        for dy in (-0.05, 0.05):
            pen.line([(side * 0.12, 0.17), (side * 0.46, 0.17 + dy * 1.6)], 0.025, (60, 60, 66))
        pen.arc(side * 0.06, 0.18, 0.07, 0.07, 0, 180, 0.03, INK)


def _rabbit_snout(pen: Pen, who: Figure, r: float, color: Color) -> None:
    pen.ellipse(0, 0.13, 0.055, 0.04, (236, 92, 110))
    pen.rect(-0.07, 0.2, 0.07, 0.32, (252, 252, 252))
    pen.rect(-0.008, 0.2, 0.008, 0.32, (120, 120, 120))


def _bear_snout(pen: Pen, who: Figure, r: float, color: Color) -> None:
    if who.detail != "muzzle":
        pen.ellipse(0, 0.18, 0.19, 0.15, (240, 214, 176))
    pen.ellipse(0, 0.12, 0.075, 0.055, INK)
    pen.arc(0, 0.2, 0.08, 0.07, 20, 160, 0.03, INK)


def _duck_bill(pen: Pen, who: Figure, r: float, color: Color) -> None:
    pen.ellipse(0.08, 0.17, 0.3, 0.11, (176, 92, 20))
    pen.ellipse(0.08, 0.15, 0.28, 0.09, (248, 154, 40))


def _elephant_trunk(pen: Pen, who: Figure, r: float, color: Color) -> None:
    path = [(0, 0.1), (0.04, 0.42), (0.16, 0.62), (0.34, 0.6)]
    pen.line(path, 0.25, outline(color))
    pen.line(path, 0.18, color)
    for side in (-1, 1):
        pen.polygon([(side * 0.14, 0.22), (side * 0.24, 0.2), (side * 0.3, 0.48)], (250, 248, 238))


_EARS = {
    "dog": _dog_ears,
    "cat": _cat_ears,
    "rabbit": _rabbit_ears,
    "bear": _bear_ears,
    "duck": _duck_crest,
    "elephant": _elephant_ears,
}
_SNOUTS = {
    "dog": _dog_snout,
    "cat": _cat_snout,
    "rabbit": _rabbit_snout,
    "bear": _bear_snout,
    "duck": _duck_bill,
    "elephant": _elephant_trunk,
}
