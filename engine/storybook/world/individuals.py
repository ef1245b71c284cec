"""Draw individuals, their look-alikes, twins and siblings from a random generator."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from engine.storybook.world import attributes as words

Rng = np.random.Generator


@dataclass(frozen=True)
class Figure:
    """An animal or a thing. All fields belong to its identity: they are the same in every picture."""

    category: str
    color: str
    pattern: str
    pattern_color: str
    accessory: str
    accessory_color: str
    detail: str
    shape: tuple[float, float, float]  # ears, width, head: factors around 1.0


@dataclass(frozen=True)
class Person:
    """A person. These fields are the same in every picture; clothes, expression and pose belong to a `Character`."""

    category: str
    skin: float  # 0 light .. 1 dark
    hair_color: str
    hair_style: str
    eye_color: str
    glasses: bool
    beard: bool
    freckles: bool
    face: tuple[float, ...]  # width, eye distance, eye size, eye height, nose, mouth, brows, chin: factors around 1.0


Individual = Figure | Person


def pick(rng: Rng, values: Iterable[str]) -> str:
    """Draw one of the values (of a dict: one of its keys)."""
    options = tuple(values)
    return options[int(rng.integers(len(options)))]


def shuffle(rng: Rng, cast: list[Individual]) -> None:
    """Shuffle a list of individuals in place."""
    rng.shuffle(cast)  # type: ignore[arg-type]  # numpy's stub admits arrays only, its documentation also lists


def _factors(rng: Rng, n: int, low: float, high: float) -> tuple[float, ...]:
    return tuple(round(float(v), 3) for v in rng.uniform(low, high, n))


def _draw_shape(rng: Rng) -> tuple[float, float, float]:
    ears, width, head = _factors(rng, 3, 0.85, 1.2)
    return ears, width, head


def draw_figure(rng: Rng, category: str) -> Figure:
    """Draw an animal or a thing of a category."""
    color = pick(rng, words.COLORS)
    accessories = words.ANIMAL_ACCESSORIES if category in words.ANIMALS else words.THING_ACCESSORIES
    accessory = "none" if rng.random() < 0.35 else pick(rng, accessories[1:])
    return Figure(
        category=category,
        color=color,
        pattern="plain" if rng.random() < 0.4 else pick(rng, words.PATTERNS[1:]),
        pattern_color=pick(rng, tuple(c for c in words.PATTERN_COLORS if c != color)),
        accessory=accessory,
        accessory_color=pick(rng, tuple(c for c in words.ACCESSORY_COLORS if c != color)),
        detail=pick(rng, words.DETAILS),
        shape=_draw_shape(rng),
    )


def draw_person(rng: Rng, category: str) -> Person:
    """Draw a person of a category."""
    grown = category in ("man", "woman")
    long_haired = category in ("woman", "girl")
    styles = ("long", "curly", "long") if long_haired else ("short", "curly", "spiky")
    hair = pick(rng, words.HAIR_COLORS if grown else tuple(c for c in words.HAIR_COLORS if c != "gray"))
    return Person(
        category=category,
        skin=round(float(rng.random()), 3),
        hair_color=hair,
        hair_style=pick(rng, styles),
        eye_color=pick(rng, words.EYE_COLORS),
        glasses=bool(rng.random() < 0.3),
        beard=bool(category == "man" and rng.random() < 0.5),
        freckles=bool(rng.random() < 0.25),
        face=_factors(rng, 8, 0.75, 1.25),
    )


def draw_individual(rng: Rng, category: str) -> Individual:
    """Draw an individual of a category."""
    return draw_person(rng, category) if category in words.PEOPLE else draw_figure(rng, category)


def draw_category(rng: Rng) -> str:
    """Draw a category: animals half of the time, things and people a quarter each."""
    return pick(rng, (words.ANIMALS, words.ANIMALS, words.THINGS, words.PEOPLE)[int(rng.integers(4))])


def draw_lookalike(rng: Rng, individual: Individual) -> Individual:
    """Draw another individual that is easily mistaken for this one: a sibling, or a figure of the same colour."""
    return draw_sibling(rng, individual) if isinstance(individual, Person) else _draw_similar(rng, individual)


def draw_sibling(rng: Rng, person: Person) -> Person:
    """Draw a sibling: same category, skin, hair colour and eye colour, another face."""
    other = draw_person(rng, person.category)
    return replace(other, skin=person.skin, hair_color=person.hair_color, eye_color=person.eye_color)


def _draw_similar(rng: Rng, figure: Figure) -> Figure:
    """Draw a figure of the same category and main colour that differs in at least one other nameable attribute."""
    while True:
        other = replace(draw_figure(rng, figure.category), color=figure.color)
        pattern_colors = tuple(c for c in words.PATTERN_COLORS if c != other.color)
        other = replace(other, pattern_color=pick(rng, pattern_colors))
        if nameable(other) != nameable(figure) and other.accessory_color != other.color:
            return other


def draw_twin(rng: Rng, individual: Figure) -> Figure:
    """Draw a figure that words cannot tell apart from this one: only its detail and proportions differ."""
    details = tuple(d for d in words.DETAILS if d != individual.detail)
    return replace(individual, detail=pick(rng, details), shape=_draw_shape(rng))


def main_color(individual: Individual) -> str:
    """Return the main colour word of an individual: a person's is that of the hair."""
    return individual.hair_color if isinstance(individual, Person) else individual.color


def nameable(individual: Individual) -> tuple[str, ...]:
    """Return the attributes that have words: a look-alike differs in at least one of them, a twin in none."""
    if isinstance(individual, Person):
        extras = tuple(n for n in ("glasses", "beard", "freckles") if getattr(individual, n))
        return (individual.category, individual.hair_color, individual.hair_style, *extras)
    pattern = () if individual.pattern == "plain" else (individual.pattern, individual.pattern_color)
    accessory = () if individual.accessory == "none" else (individual.accessory, individual.accessory_color)
    return (individual.category, individual.color, *pattern, *accessory)
