"""Draw things (mug, car, robot, teapot, backpack), standing or lying on their side."""

from engine.storybook.world.attributes import COLORS
from engine.storybook.world.canvas import Color, Pen, mix, shade
from engine.storybook.world.individuals import Figure
from engine.storybook.world.parts import INK, blob, bow, box, detail_color, flag, heart, outline, pattern, star


def draw_thing(pen: Pen, who: Figure, pose: str) -> None:
    """Draw a thing in the pen's local frame: bottom at y = 1, about 2 units tall."""
    if pose == "lying":
        pen = pen.moved(0.0, 0.28, angle=78)
    _SHAPES[who.category](pen, who, COLORS[who.color])


def _mug(pen: Pen, who: Figure, color: Color) -> None:
    w = 0.58 * who.shape[1]
    pen.arc(w, 0.25, 0.42 * who.shape[0], 0.42, -90, 90, 0.3, outline(color))
    pen.arc(w, 0.25, 0.42 * who.shape[0], 0.42, -90, 90, 0.2, _tip(who, color))
    box(pen, -w, -0.5, w, 1.0, color)
    pattern(pen, who, 0, 0.3, w, 0.62, boxy=True)
    pen.ellipse(0, -0.5, w + 0.045, 0.2, outline(color))
    pen.ellipse(0, -0.5, w - 0.06, 0.13, (96, 62, 40))
    _marks(pen, who, w, -0.3, 1.0)
    _accessory(pen, who, 0.0, 0.3, top=-0.62)


def _car(pen: Pen, who: Figure, color: Color) -> None:
    w = 0.98 * who.shape[1]
    roof = [(-0.55 * w, 0.05), (-0.36 * w, -0.52), (0.34 * w, -0.52), (0.6 * w, 0.05)]
    pen.polygon([(x * 1.08, y - 0.05) for x, y in roof], outline(color))
    pen.polygon(roof, color)
    for x0, x1 in ((-0.44, -0.04), (0.04, 0.46)):
        pen.polygon([(x0 * w, 0.0), (x0 * 0.72 * w, -0.42), (x1 * 0.72 * w, -0.42), (x1 * w, 0.0)], (206, 230, 244))
    box(pen, -w, 0.05, w, 0.72, color)
    pattern(pen, who, 0, 0.38, w, 0.33, boxy=True)
    pen.ellipse(0.93 * w, 0.25, 0.08, 0.1, (255, 240, 150))
    _marks(pen, who, w, 0.08, 0.72)
    for x in (-0.52, 0.52):
        pen.ellipse(x * w, 0.74, 0.27 * who.shape[2], 0.27 * who.shape[2], INK)
        pen.ellipse(x * w, 0.74, 0.12, 0.12, _tip(who, (190, 190, 196)))
    _accessory(pen, who, -0.02, 0.36, top=-0.56)


def _robot(pen: Pen, who: Figure, color: Color) -> None:
    w = 0.52 * who.shape[1]
    for side in (-1, 1):
        box(pen, side * 0.27 - 0.12, 0.62, side * 0.27 + 0.12, 0.98, _sock(who, shade(color, 0.8)))
        pen.line([(side * w, 0.05), (side * (w + 0.3), 0.45)], 0.22, outline(color))
        pen.line([(side * w, 0.05), (side * (w + 0.3), 0.43)], 0.14, color)
        blob(pen, side * (w + 0.3), 0.48, 0.1, 0.1, _tip(who, (190, 190, 196)))
    box(pen, -w, -0.12, w, 0.66, color)
    pattern(pen, who, 0, 0.27, w, 0.38, boxy=True)
    _marks(pen, who, w, -0.12, 0.66)
    h = 0.42 * who.shape[2]
    pen.line([(0, -0.72), (0, -1.02)], 0.08, INK)
    blob(pen, 0, -1.02, 0.1, 0.1, (240, 70, 60))
    box(pen, -h, -0.78, h, -0.2, mix(color, (255, 255, 255), 0.3))
    for side in (-1, 1):
        box(pen, side * 0.19 - 0.1, -0.64, side * 0.19 + 0.1, -0.46, (250, 240, 120))
        pen.rect(side * h - 0.06, -0.6, side * h + 0.06, -0.36, (120, 120, 128))
    pen.rect(-0.22, -0.36, 0.22, -0.29, INK)
    _accessory(pen, who, 0.0, 0.27, top=-0.8)


def _teapot(pen: Pen, who: Figure, color: Color) -> None:
    w = 0.66 * who.shape[1]
    spout = [(0.75 * w, 0.6), (1.05 * w, -0.02), (1.36 * w, -0.22), (1.5 * w, -0.02), (1.25 * w, 0.2), (0.8 * w, 0.85)]
    pen.polygon([(x * 1.05 - 0.02, y * 1.06 - 0.02) for x, y in spout], outline(color))
    pen.polygon(spout, _tip(who, color))
    pen.arc(-0.95 * w, 0.28, 0.34 * who.shape[0], 0.36, 60, 300, 0.24, outline(color))
    pen.arc(-0.95 * w, 0.28, 0.34 * who.shape[0], 0.36, 60, 300, 0.15, color)
    blob(pen, 0, 0.34, w, 0.64, color)
    pattern(pen, who, 0, 0.34, w, 0.64)
    _marks(pen, who, 0.7 * w, -0.1, 0.94)
    blob(pen, 0, -0.3, 0.44 * w, 0.13, shade(color, 0.85))
    blob(pen, 0, -0.52, 0.12, 0.12, shade(color, 0.7))
    _accessory(pen, who, 0.0, 0.36, top=-0.6)


def _backpack(pen: Pen, who: Figure, color: Color) -> None:
    w = 0.62 * who.shape[1]
    pen.arc(0, -0.72, 0.24, 0.26, 180, 360, 0.12, INK)
    for side in (-1, 1):
        blob(pen, side * w, 0.55, 0.17 * who.shape[0], 0.34, _tip(who, shade(color, 0.75)))
    blob(pen, 0, -0.28, w, 0.5, color)
    box(pen, -w, -0.28, w, 0.96, color)
    pattern(pen, who, 0, 0.3, w, 0.58, boxy=True)
    box(pen, -0.68 * w, 0.42, 0.68 * w, 0.86, shade(color, 0.82))
    pen.rect(-0.68 * w, 0.52, 0.68 * w, 0.58, (240, 200, 90))
    pen.arc(0, -0.1, 0.7 * w, 0.4, 200, 340, 0.07, (240, 200, 90))
    _marks(pen, who, w, -0.25, 0.4)
    _accessory(pen, who, 0.0, 0.12, top=-0.78)


def _tip(who: Figure, color: Color) -> Color:
    return detail_color(who) if who.detail == "tip" else color


def _sock(who: Figure, color: Color) -> Color:
    return detail_color(who) if who.detail == "socks" else color


def _marks(pen: Pen, who: Figure, w: float, top: float, bottom: float) -> None:
    """Draw the small detail of a thing: a band at the foot, a round mark, a chip or a label."""
    color = detail_color(who)
    if who.detail == "socks":
        pen.rect(-w, bottom - 0.16, w, bottom - 0.02, color)
    elif who.detail == "belly":
        pen.rect(-0.9 * w, top + 0.06, 0.9 * w, top + 0.2, color)
    elif who.detail == "eye patch":
        pen.ellipse(-0.62 * w, bottom - 0.24, 0.16, 0.16, color)
    elif who.detail == "muzzle":
        pen.polygon([(0.35 * w, top), (0.95 * w, top), (0.7 * w, top + 0.3)], color)


def _accessory(pen: Pen, who: Figure, x: float, y: float, *, top: float) -> None:
    color = COLORS[who.accessory_color]
    if who.accessory == "bow":
        bow(pen, x, top, 0.34, color)
    elif who.accessory == "star":
        star(pen, x, y, 0.36, color)
    elif who.accessory == "heart":
        heart(pen, x, y, 0.3, color)
    elif who.accessory == "flag":
        flag(pen, x - 0.2, top + 0.12, 0.36, color)


_SHAPES = {"mug": _mug, "car": _car, "robot": _robot, "teapot": _teapot, "backpack": _backpack}
