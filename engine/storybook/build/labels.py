"""Encode the attributes of a scene's characters as numbers, the targets of the vision stages."""

import numpy as np

from engine.storybook.world import attributes as words
from engine.storybook.world.individuals import Person
from engine.storybook.world.scenes import Character, Scene

MAX_CHARACTERS = 3
_YES_NO = ("no", "yes")

VALUES: dict[str, tuple[str, ...]] = {
    "category": words.CATEGORIES,
    "color": tuple(words.COLORS),
    "pattern": words.PATTERNS,
    "pattern_color": words.PATTERN_COLORS,
    "accessory": words.ACCESSORIES,
    "accessory_color": words.ACCESSORY_COLORS,
    "detail": words.DETAILS,
    "pose": words.POSES,
    "holds": ("none", *words.OBJECTS),
    "hair_color": tuple(words.HAIR_COLORS),
    "hair_style": words.HAIR_STYLES,
    "glasses": _YES_NO,
    "beard": _YES_NO,
    "freckles": _YES_NO,
    "shirt": words.SHIRT_COLORS,
    "expression": words.EXPRESSIONS,
}
"""Attributes of a character with their values; in labels, -1 stands for an attribute that does not apply."""
COLUMNS = tuple(VALUES)


def attribute_values(c: Character) -> dict[str, str]:
    """Return the attributes that apply to a character, by name."""
    values = {"category": c.who.category, "pose": c.pose, "holds": c.holds or "none"}
    if isinstance(c.who, Person):
        values |= {"hair_color": c.who.hair_color, "hair_style": c.who.hair_style}
        values |= {n: _YES_NO[getattr(c.who, n)] for n in ("glasses", "beard", "freckles")}
        return values | {"shirt": c.shirt, "expression": c.expression}
    values |= {n: getattr(c.who, n) for n in ("color", "pattern", "accessory", "detail")}
    if c.who.pattern != "plain":
        values["pattern_color"] = c.who.pattern_color
    if c.who.accessory != "none":
        values["accessory_color"] = c.who.accessory_color
    return values


def encode_scene(scene: Scene) -> np.ndarray:
    """Return the labels of a scene's characters: (3, 16) int8, -1 where an attribute does not apply."""
    labels = np.full((MAX_CHARACTERS, len(COLUMNS)), -1, np.int8)
    for i, c in enumerate(scene.characters):
        for name, value in attribute_values(c).items():
            labels[i, COLUMNS.index(name)] = VALUES[name].index(value)
    return labels
