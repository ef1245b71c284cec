"""Draw the demo's album: reference photos of three individuals, and photos of them, look-alikes and strangers."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from engine.storybook.photos import HEIGHT, DrawnPhoto, save_photo
from engine.storybook.world.individuals import Figure, Individual, Person, draw_individual, draw_lookalike
from engine.storybook.world.scenes import compose

REX = Figure("dog", "orange", "spotted", "white", "scarf", "blue", "muzzle", (1.0, 1.0, 1.05))
MUG = Figure("mug", "green", "plain", "white", "star", "yellow", "tip", (1.05, 1.0, 1.0))
ANNA = Person("girl", 0.12, "red", "curly", "green", False, False, True, (1.0, 0.95, 1.15, 1.0, 0.9, 1.05, 0.9, 1.0))

CAST: dict[str, Individual] = {"Rex": REX, "Mug": MUG, "Anna": ANNA}
CATEGORIES = {"Rex": "dog", "Mug": "mug", "Anna": "girl"}
_FIRST_DAY = datetime(2026, 6, 12, 10, 15)
_HARBOUR, _HOME = (54.3233, 10.1394), (54.3321, 10.1352)
_WIDE = HEIGHT * 4 // 3


@dataclass(frozen=True)
class Album:
    """The demo's photos with their ground truth.

    concept_folders: by name, the folder of a concept's reference photos. folder: of the album's photos.
    truth: by path, the names of the concepts that a photo shows.
    """

    concept_folders: dict[str, Path]
    folder: Path
    photos: tuple[DrawnPhoto, ...]
    truth: dict[Path, tuple[str, ...]]


def draw_album(folder: Path, seed: int = 7) -> Album:
    """Draw four reference photos of each concept into `folder/<name>`, and fourteen photos into `folder/album`."""
    rng = np.random.default_rng(seed)
    concept_folders = {}
    for name, individual in CAST.items():
        concept_folders[name] = folder / name.lower()
        _draw_references(concept_folders[name], individual, rng)
    photos, truth = [], {}
    for i, (place, cast, equal) in enumerate(_plan_photos(rng)):
        photo = save_photo(
            compose(rng, cast, place=place, equal=equal),
            folder / "album" / f"IMG_{1001 + i}.jpg",
            taken=_FIRST_DAY + timedelta(days=3 * i, minutes=37 * i),
            place=_HARBOUR if place == "beach" else _HOME if place in ("kitchen", "sofa") else None,
            orientation=(6, 1, 1, 8, 1, 1, 3)[i % 7],
            width=_WIDE if i % 3 == 1 else HEIGHT,
        )
        photos.append(photo)
        truth[photo.path] = tuple(name for name, individual in CAST.items() if individual in cast)
    return Album(concept_folders, folder / "album", tuple(photos), truth)


def _plan_photos(rng: np.random.Generator) -> tuple[tuple[str, tuple[Individual, ...], bool | None], ...]:
    """Draw the album's other individuals; return each photo's place, cast, and whether all are equally large.

    Where the last value is None, `compose` draws it.
    """
    stranger = draw_individual(rng, "rabbit")
    other_dog = replace(REX, pattern="plain", accessory="hat", accessory_color="green")
    other_mug = replace(MUG, accessory="heart", accessory_color="red", pattern="striped")
    sister = draw_lookalike(rng, ANNA)
    cat, bear, car, teapot = (draw_individual(rng, c) for c in ("cat", "bear", "car", "teapot"))
    return (
        ("beach", (REX,), None),
        ("garden", (REX, cat), True),
        ("forest", (stranger, REX), False),
        ("snow", (REX, other_dog), True),
        ("city", (other_dog,), None),
        ("kitchen", (MUG,), None),
        ("sofa", (MUG, teapot), True),
        ("desert", (other_mug, bear), True),
        ("garden", (ANNA,), None),
        ("sofa", (ANNA, REX), True),
        ("beach", (ANNA, sister), True),
        ("city", (sister, cat), True),
        ("kitchen", (ANNA, REX, MUG), True),
        ("snow", (bear, car), False),
    )


def _draw_references(folder: Path, individual: Individual, rng: np.random.Generator) -> None:
    """Draw four reference photos: two of the individual alone, two beside an individual of another category."""
    places = rng.permutation(("beach", "forest", "garden", "city", "snow", "bedroom", "kitchen"))
    for i in range(4):
        other = draw_individual(rng, "bear" if isinstance(individual, Person) else "woman" if i == 2 else "elephant")
        cast = (individual,) if i < 2 else (individual, other)
        taken = _FIRST_DAY - timedelta(days=30 - i)
        scene = compose(rng, cast, place=str(places[i]), equal=None if i < 2 else False)
        save_photo(scene, folder / f"{folder.name}_{i + 1}.jpg", taken=taken, orientation=6 if i == 1 else 1)
