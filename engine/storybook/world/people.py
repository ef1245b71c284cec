"""Draw people: a body in changing clothes, and a face that is the same in every picture."""

from dataclasses import dataclass

import numpy as np

from engine.storybook.world.attributes import COLORS, EYE_COLORS, HAIR_COLORS, SKIN_DARK, SKIN_LIGHT
from engine.storybook.world.canvas import Color, Pen, mix, shade
from engine.storybook.world.individuals import Person
from engine.storybook.world.parts import INK, blob, box, outline

_CHILDREN = ("boy", "girl")


@dataclass(frozen=True)
class FaceMarks:
    """The place of a face, in page units: its box xyxy, and five landmarks, (5, 2), in ArcFace's order.

    The order is eye, eye, nose, mouth corner, mouth corner; eyes and corners from left to right in the picture.
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray


def skin_color(who: Person) -> Color:
    """Return a person's skin tone."""
    return mix(SKIN_LIGHT, SKIN_DARK, who.skin)


def draw_person(pen: Pen, who: Person, pose: str, shirt: str, expression: str) -> FaceMarks:
    """Draw a person in the pen's local frame: feet at y = 1, about 2 units tall, the head nearly half of that."""
    child = who.category in _CHILDREN
    head_y, head_r = (-0.28, 0.6) if child else (-0.42, 0.5)
    if pose == "sitting":
        head_y += 0.16
    skirt = who.category in ("woman", "girl")
    shift = -0.14 if pose == "jumping" else 0.0
    body = pen.moved(0.0, shift)
    neck = head_y + head_r * 0.8
    if who.hair_style == "long":
        _long_hair(body.moved(0, head_y, scale=head_r), who)
    _limbs(body, who, pose, shirt, neck)
    _torso(body, shirt, neck, pose, skirt)
    return draw_head(body.moved(0, head_y, scale=head_r), who, expression)


def _limbs(pen: Pen, who: Person, pose: str, shirt: str, neck: float) -> None:
    skin, sleeve = skin_color(who), COLORS[shirt]
    trousers = (70, 80, 110)
    feet = {"standing": (-0.2, 0.2), "jumping": (-0.46, 0.46), "sitting": (-0.44, 0.44)}[pose]
    for side, x in zip((-1, 1), feet, strict=True):
        start = (side * 0.16, 0.62 if pose != "sitting" else 0.86)
        end = (x, 0.94)
        pen.line([start, end], 0.25, outline(trousers))
        pen.line([start, end], 0.17, trousers)
        blob(pen, x + side * 0.04, 0.95, 0.15, 0.07, INK)
        hand = (side * 0.62, neck + 0.02) if pose == "jumping" else (side * 0.5, neck + 0.42)
        shoulder = (side * 0.22, neck + 0.14)
        pen.line([shoulder, hand], 0.22, outline(sleeve))
        pen.line([shoulder, hand], 0.14, sleeve)
        blob(pen, hand[0], hand[1], 0.08, 0.08, skin)


def _torso(pen: Pen, shirt: str, neck: float, pose: str, skirt: bool) -> None:
    color = COLORS[shirt]
    bottom = 0.72 if pose != "sitting" else 0.92
    wide = 0.52 if skirt else 0.3
    points = np.array([(-0.26, neck), (0.26, neck), (wide, bottom), (-wide, bottom)])
    middle = points.mean(axis=0)
    pen.polygon((points - middle) * 1.1 + middle, outline(color))
    pen.polygon(points, color)


def draw_head(pen: Pen, who: Person, expression: str) -> FaceMarks:
    """Draw a head of radius 1 around the origin and return the place of its face."""
    width, gap, eye_r, eye_y, nose, mouth, brows, chin = who.face
    skin, hair = skin_color(who), HAIR_COLORS[who.hair_color]
    w, h = 0.74 + 0.16 * (width - 1) * 2, 0.9 + 0.12 * (chin - 1) * 2
    for side in (-1, 1):
        pen.ellipse(side * w, 0.08, 0.16, 0.2, outline(skin))
        pen.ellipse(side * w, 0.08, 0.12, 0.16, skin)
    pen.ellipse(0, 0, w + 0.06, h + 0.06, outline(skin))
    pen.ellipse(0, 0, w, h, skin)
    x, y = 0.31 * gap, -0.02 - 0.16 * (eye_y - 1)
    if who.beard:
        _beard(pen, w, h, hair)
    _eyes(pen, who, x, y, 0.15 * eye_r)
    _brows(pen, x, y - 0.26, brows, shade(hair, 0.7), expression)
    nose_y = 0.26 + 0.1 * (nose - 1)
    pen.ellipse(0, nose_y, 0.075 * nose, 0.1 * nose, shade(skin, 0.78))
    if who.freckles:
        for dx, dy in ((-0.42, 0.24), (-0.3, 0.32), (-0.48, 0.36), (0.42, 0.24), (0.3, 0.32), (0.48, 0.36)):
            pen.ellipse(dx, dy, 0.036, 0.036, shade(skin, 0.62))
    mouth_y, mouth_w = 0.53, 0.27 * mouth
    _mouth(pen, mouth_y, mouth_w, expression)
    _fringe(pen, who, w, h, hair)
    if who.glasses:
        _glasses(pen, x, y)
    marks = [(-x, y), (x, y), (0, nose_y), (-mouth_w, mouth_y), (mouth_w, mouth_y)]
    return _face_marks(pen, marks, w, h)


def _face_marks(pen: Pen, marks: list[tuple[float, float]], w: float, h: float) -> FaceMarks:
    points = np.array([pen.at(*p) for p in marks])
    if points[0, 0] > points[1, 0]:
        points = points[[1, 0, 2, 4, 3]]
    corners = np.array([pen.at(sx * w, sy) for sx in (-1, 1) for sy in (-0.62, h)])
    low, high = corners.min(axis=0), corners.max(axis=0)
    return FaceMarks((float(low[0]), float(low[1]), float(high[0]), float(high[1])), points)


def _eyes(pen: Pen, who: Person, x: float, y: float, r: float) -> None:
    for side in (-1, 1):
        pen.ellipse(side * x, y, r * 1.25, r, (252, 252, 252))
        pen.ellipse(side * x, y, r * 0.72, r * 0.86, EYE_COLORS[who.eye_color])
        pen.ellipse(side * x, y, r * 0.34, r * 0.42, INK)


def _brows(pen: Pen, x: float, y: float, thick: float, color: Color, expression: str) -> None:
    tilt = {"smiling": 0.0, "sad": 0.1, "surprised": 0.0}[expression]
    lift = -0.08 if expression == "surprised" else 0.0
    for side in (-1, 1):
        inner, outer = (side * (x - 0.14), y + lift - tilt), (side * (x + 0.16), y + lift + tilt)
        pen.line([inner, outer], 0.085 * thick, color)


def _mouth(pen: Pen, y: float, w: float, expression: str) -> None:
    red = (176, 52, 58)
    if expression == "smiling":
        pen.polygon([(-w, y - 0.06), (w, y - 0.06), (0.6 * w, y + 0.14), (0, y + 0.2), (-0.6 * w, y + 0.14)], red)
        pen.rect(-0.62 * w, y - 0.06, 0.62 * w, y, (252, 252, 252))
    elif expression == "sad":
        pen.arc(0, y + 0.16, w, 0.2, 200, 340, 0.085, red)
    else:
        pen.ellipse(0, y + 0.04, 0.55 * w, 0.19, red)
        pen.ellipse(0, y + 0.05, 0.36 * w, 0.12, (70, 20, 26))


def _beard(pen: Pen, w: float, h: float, hair: Color) -> None:
    angles = np.radians(np.linspace(8, 172, 13))
    rim = np.stack([np.cos(angles) * (w + 0.02), np.sin(angles) * (h + 0.05)], 1)
    inner = np.stack([np.cos(angles[::-1]) * 0.66 * w, 0.2 + np.sin(angles[::-1]) * 0.26 * h], 1)
    pen.polygon(np.concatenate([rim, inner]), hair)


def _glasses(pen: Pen, x: float, y: float) -> None:
    for side in (-1, 1):
        pen.arc(side * x, y, 0.25, 0.23, 0, 360, 0.085, INK)
    pen.rect(-x + 0.24, y - 0.04, x - 0.24, y + 0.04, INK)


def _long_hair(pen: Pen, who: Person) -> None:
    hair = HAIR_COLORS[who.hair_color]
    for grow, color in ((0.06, outline(hair)), (0.0, hair)):
        pen.ellipse(0, -0.05, 1.02 + grow, 1.06 + grow, color)
        box(pen, -0.98, 0.0, 0.98, 1.35, color) if grow else pen.rect(-0.98, 0.0, 0.98, 1.35, color)


def _fringe(pen: Pen, who: Person, w: float, h: float, hair: Color) -> None:
    if who.hair_style == "curly":
        for a in np.radians(np.linspace(175, 365, 9)):
            pen.ellipse(np.cos(a) * (w + 0.06), -0.22 + np.sin(a) * (h * 0.8), 0.27, 0.27, outline(hair))
        for a in np.radians(np.linspace(175, 365, 9)):
            pen.ellipse(np.cos(a) * (w + 0.06), -0.22 + np.sin(a) * (h * 0.8), 0.22, 0.22, hair)
        return
    angles = np.radians(np.linspace(188, 352, 13))
    rim = np.stack([np.cos(angles) * (w + 0.07), np.sin(angles) * (h + 0.12)], 1)
    parting = [(0.62 * w, -0.4), (0.2 * w, -0.56), (-0.4 * w, -0.46), (-0.8 * w, -0.2)]
    pen.polygon(np.concatenate([rim, parting]), hair)
    if who.hair_style == "spiky":
        for x in np.linspace(-0.62, 0.62, 5):
            top = -(h + 0.42) + 0.3 * abs(x)
            pen.polygon([(x - 0.2, -0.62), (x + 0.2, -0.62), (x, top)], hair)
