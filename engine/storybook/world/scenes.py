"""Compose scenes of individuals, and draw them as pictures with their full ground truth."""

from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from engine.storybook.world import attributes as words
from engine.storybook.world.animals import draw_animal
from engine.storybook.world.canvas import Canvas, Pen
from engine.storybook.world.individuals import Individual, Person, Rng, pick
from engine.storybook.world.objects import HELD_AT, draw_object
from engine.storybook.world.people import FaceMarks, draw_person
from engine.storybook.world.places import draw_place
from engine.storybook.world.things import draw_thing

_REACH = {"mug": 0.95, "car": 1.1, "robot": 1.0, "teapot": 1.15, "backpack": 0.85}
_CROWDING = {1: (0.17, 0.33), 2: (0.15, 0.25), 3: (0.13, 0.185), 4: (0.11, 0.15)}
"""Range of the characters' half-heights (page heights) by their number; one alone is 44 to 84 px tall of 128."""


@dataclass(frozen=True)
class Character:
    """One individual in one scene, with everything that changes from picture to picture."""

    who: Individual
    x: float  # page heights, middle of the figure
    ground: float  # page heights, where it stands
    size: float  # half its height, page heights
    flip: bool
    pose: str
    shirt: str  # people only
    expression: str  # people only
    holds: str | None = None


@dataclass(frozen=True)
class Scene:
    """The plan of a picture. `characters` are in order of size, the main one first."""

    place: str
    characters: tuple[Character, ...]
    light: float
    seed: int


@dataclass(frozen=True)
class Picture:
    """A drawn scene. Boxes are xyxy pixels of `image`, in the order of `scene.characters`."""

    scene: Scene
    image: Image.Image
    boxes: tuple[tuple[float, float, float, float], ...]
    faces: tuple[FaceMarks | None, ...] = field(repr=False)
    owners: np.ndarray = field(repr=False)  # (64, W) uint8: character index + 1; 0 background; 250 + index its object


def pose_for(rng: Rng, who: Individual) -> str:
    """Draw a pose that individuals of this kind can take."""
    kind = words.kind_of(who.category)
    return pick(rng, {"pet": words.ANIMAL_POSES, "thing": words.THING_POSES, "person": words.PERSON_POSES}[kind])


def _half_width(who: Individual, pose: str) -> float:
    if isinstance(who, Person):
        return 0.85 if pose == "jumping" else 0.75
    if who.category in words.THINGS:
        return 1.05 if pose == "lying" else _REACH[who.category]
    return 0.8 if pose == "sitting" else 1.12


def compose(
    rng: Rng,
    individuals: tuple[Individual, ...],
    *,
    place: str | None = None,
    equal: bool | None = None,
    width: float = 1.0,
    holding: float = 0.55,
) -> Scene:
    """Place one to four individuals on a page of `width` page heights.

    The first individual is the largest unless `equal` gives all the same size (None: drawn, each in half of the
    scenes); `holding` is the probability that one of them holds an object.
    """
    n = len(individuals)
    equal = bool(rng.random() < 0.5) if equal is None else equal
    sizes = _draw_sizes(rng, n, equal)
    poses = [pose_for(rng, who) for who in individuals]
    holder = int(rng.choice(n, p=_holder_odds(n))) if rng.random() < holding else -1
    needs = [
        s * (2 * _half_width(w, p) + (0.55 if i == holder else 0.0))
        for i, (w, p, s) in enumerate(zip(individuals, poses, sizes, strict=True))
    ]
    if sum(needs) > 0.98 * width:
        shrink = 0.98 * width / sum(needs)
        sizes, needs = sizes * shrink, [v * shrink for v in needs]
    characters = _line_up(rng, individuals, sizes, poses, needs, holder, width)
    return Scene(
        place=place or pick(rng, words.PLACES),
        characters=characters,
        light=round(float(rng.uniform(0.88, 1.08)), 3),
        seed=int(rng.integers(2**31)),
    )


def _draw_sizes(rng: Rng, n: int, equal: bool) -> np.ndarray:
    """Draw half-heights, (n,), largest first; if not `equal`, the first is at least 1.25 times the last."""
    low, high = _CROWDING[n]
    sizes = np.sort(rng.uniform(low, high, n))[::-1]
    if equal:
        return np.full(n, rng.uniform(low + 0.3 * (high - low), high))
    if n > 1 and sizes[0] < 1.25 * sizes[-1]:
        sizes[0], sizes[1:] = max(sizes[0], 0.92 * high), np.minimum(sizes[1:], 0.72 * high)
    return sizes


def _holder_odds(n: int) -> list[float]:
    return {1: [1.0], 2: [0.6, 0.4], 3: [0.5, 0.25, 0.25], 4: [0.4, 0.2, 0.2, 0.2]}[n]


def _line_up(
    rng: Rng,
    individuals: tuple[Individual, ...],
    sizes: np.ndarray,
    poses: list[str],
    needs: list[float],
    holder: int,
    width: float,
) -> tuple[Character, ...]:
    order = rng.permutation(len(individuals))
    gaps = rng.dirichlet(np.ones(len(individuals) + 1)) * (width - sum(needs))
    placed: dict[int, Character] = {}
    x = 0.0
    for slot, i in enumerate(order):
        x += gaps[slot]
        flip = bool(rng.random() < 0.5)
        reach = _half_width(individuals[i], poses[i]) * sizes[i]
        middle = x + (needs[i] - reach if flip and i == holder else reach)
        x += needs[i]
        lowest = 0.97
        highest = max(0.7, 2.15 * sizes[i] + 0.04)
        placed[i] = Character(
            who=individuals[i],
            x=round(float(middle), 4),
            ground=round(float(rng.uniform(min(highest, lowest - 0.01), lowest)), 4),
            size=round(float(sizes[i]), 4),
            flip=flip,
            pose=poses[i],
            shirt=pick(rng, words.SHIRT_COLORS),
            expression=pick(rng, words.EXPRESSIONS),
            holds=pick(rng, words.OBJECTS) if i == holder else None,
        )
    return tuple(placed[i] for i in range(len(individuals)))


def render(scene: Scene, width: int = 128, height: int = 128, supersample: int = 2) -> Picture:
    """Draw a scene at `width` × `height` pixels; on a wide page all characters stand in the middle square."""
    shift = (width / height - 1) / 2
    canvas = Canvas(width, height, supersample)
    rng = np.random.default_rng(scene.seed)
    page = Pen(canvas, np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), light=scene.light)
    draw_place(page, scene.place, width / height, rng)
    faces: dict[int, FaceMarks | None] = {}
    for i in sorted(range(len(scene.characters)), key=lambda i: scene.characters[i].ground):
        c = scene.characters[i]
        faces[i] = _draw_character(canvas, replace(c, x=c.x + shift), i, scene.light)
    return Picture(
        scene=scene,
        image=canvas.finish(),
        boxes=tuple(canvas.box(i + 1) for i in range(len(scene.characters))),
        faces=tuple(_in_pixels(faces[i], height) for i in range(len(scene.characters))),
        owners=canvas.owner_map(),
    )


def _draw_character(canvas: Canvas, c: Character, index: int, light: float) -> FaceMarks | None:
    middle = c.ground - c.size
    shadow = Pen(canvas, np.array([[c.size, 0, c.x], [0, c.size, c.ground]]), light=light)
    shadow.ellipse(0, 0.0, 0.72, 0.07, (112, 106, 100))
    lift = 0.1 if c.pose == "jumping" else 0.0
    pen = Pen.placed(canvas, x=c.x, y=middle - lift * c.size, size=c.size, flip=c.flip, owner=index + 1, light=light)
    face = None
    if isinstance(c.who, Person):
        face = draw_person(pen, c.who, c.pose, c.shirt, c.expression)
    elif c.who.category in words.ANIMALS:
        draw_animal(pen, c.who, c.pose)
    else:
        draw_thing(pen, c.who, c.pose)
    if c.holds:
        out, y = HELD_AT[c.holds]
        side = -1 if c.flip else 1
        reach = _half_width(c.who, c.pose) + 0.18 + out
        hand = Pen.placed(canvas, x=c.x + side * reach * c.size, y=middle + y * c.size, size=c.size, light=light)
        hand.owner = 250 + index
        draw_object(hand, c.holds)
    return face


def _in_pixels(face: FaceMarks | None, height: int) -> FaceMarks | None:
    if face is None:
        return None
    x0, y0, x1, y1 = face.box
    return FaceMarks((x0 * height, y0 * height, x1 * height, y1 * height), face.landmarks * height)
