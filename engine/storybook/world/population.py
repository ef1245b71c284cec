"""Draw scenes for training: individuals that recur (heroes), their companions and look-alikes."""

from collections.abc import Iterator

import numpy as np

from engine.storybook.world.individuals import (
    Figure,
    Individual,
    Rng,
    draw_category,
    draw_individual,
    draw_lookalike,
    draw_twin,
    shuffle,
)
from engine.storybook.world.scenes import Scene, compose

SCENES_PER_HERO = 4
_HEADCOUNT = (1, 2, 3)
_HEADCOUNT_ODDS = (0.36, 0.46, 0.18)


def draw_companion(rng: Rng, hero: Individual) -> Individual:
    """Draw an individual to stand beside the hero: a look-alike in 15 % of cases, of the same category in 25 %."""
    luck = rng.random()
    if luck < 0.15:
        return draw_lookalike(rng, hero)
    if luck < 0.4:
        return draw_individual(rng, hero.category)
    return draw_individual(rng, draw_category(rng))


def draw_hero_scenes(rng: Rng, hero: Individual, n: int = SCENES_PER_HERO) -> Iterator[Scene]:
    """Draw n scenes in which one individual appears, as the main character or a smaller one."""
    for _ in range(n):
        count = int(rng.choice(_HEADCOUNT, p=_HEADCOUNT_ODDS))
        cast = [hero] + [draw_companion(rng, hero) for _ in range(count - 1)]
        shuffle(rng, cast)
        yield compose(rng, tuple(cast))


def draw_population(seed: int | tuple[int, ...], n: int) -> Iterator[tuple[Scene, Individual]]:
    """Draw n training scenes with their heroes; each hero appears in four consecutive scenes.

    Every sixth hero is a twin of the hero before it, if that is a figure: the same words describe both, and only
    details differ.
    """
    rng = np.random.default_rng(seed)
    hero: Individual | None = None
    for k in range(0, n, SCENES_PER_HERO):
        if k % (6 * SCENES_PER_HERO) == 0 and isinstance(hero, Figure):
            hero = draw_twin(rng, hero)
        else:
            hero = draw_individual(rng, draw_category(rng))
        for scene in draw_hero_scenes(rng, hero, min(SCENES_PER_HERO, n - k)):
            yield scene, hero


def draw_crowds(seed: int | tuple[int, ...], n: int) -> Iterator[Scene]:
    """Draw n scenes of four individuals; companions are drawn as in all other scenes."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        hero = draw_individual(rng, draw_category(rng))
        cast = [hero, *(draw_companion(rng, hero) for _ in range(3))]
        shuffle(rng, cast)
        yield compose(rng, tuple(cast))
